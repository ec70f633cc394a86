//! WebSocket connections on which models are asked: `OpenAI`'s Responses and Realtime.
//!
//! Each `response.create` is a call like any other: it is admitted before the provider sees it, a
//! refused one is answered in the API's own form while the socket stays open, and the message that
//! ends a response goes to the client only when its record is safe. Everything else passes
//! as it came, byte for byte. The socket itself has a record too, of a request that is no call.
//!
//! <https://developers.openai.com/api/docs/guides/websocket-mode>,
//! <https://developers.openai.com/api/docs/guides/realtime-websocket>.

mod frame;
mod pipe;
mod session;
mod ask;
mod answer;
mod calls;
mod refuse;

use std::sync::Arc;
use std::time::Duration;

use hyper::http::request::Parts;
use tokio::io::{AsyncRead, AsyncWrite};

use self::pipe::{Side, relay};
use self::session::Session;
use super::Exchange;
use crate::llm::live::Api;
use crate::record::Outcome;

/// How long one side may go on once the other has ended: for the answer to a close frame, and for
/// what a slow client has still to read.
const LINGER: Duration = Duration::from_secs(10);
/// Close code of a server that goes away (RFC 6455 §7.4.1): clients open another socket.
const GOING_AWAY: u16 = 1001;

/// Relays a socket to its end. `socket` is the record of the socket itself, `head` the request
/// that opened it.
pub(super) async fn run<C, P>(socket: Exchange, api: Api, head: Parts, ends: (C, P))
where
    C: AsyncRead + AsyncWrite,
    P: AsyncRead + AsyncWrite,
{
    let drain = socket.context.drain.clone();
    let (client_in, client_out) = tokio::io::split(ends.0);
    let (provider_in, provider_out) = tokio::io::split(ends.1);
    // Dropped in the middle (a panic, the end of the runtime), it settles what is open.
    let session = Arc::new(Session::new(socket, api, head));
    let both = async {
        let up = relay(&session, Side::Client, client_in, provider_out);
        let down = relay(&session, Side::Provider, provider_in, client_out);
        let (mut up, mut down) = (Box::pin(up), Box::pin(down));
        // What the slower one comes to no longer matters after that.
        tokio::select! {
            () = &mut up => drop(tokio::time::timeout(LINGER, down).await),
            () = &mut down => drop(tokio::time::timeout(LINGER, up).await),
        }
    };
    let mut both = Box::pin(both);
    let goodbye = async {
        drain.signalled().await;
        session.quiet().await;
    };
    let stopped = tokio::select! {
        () = &mut both => false,
        () = goodbye => {
            session.close(GOING_AWAY, "the agent is stopping");
            drop(tokio::time::timeout(Duration::from_secs(1), &mut both).await);
            false
        }
        () = drain.hurried() => true,
    };
    session.finish(stopped.then_some(Outcome::Lost));
}
