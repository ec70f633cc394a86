//! Connections that the kernel half redirected here.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::net::TcpStream;

use super::accept::Permit;
use super::{Front, session};
use crate::capture::origin::Origins;
use crate::record::Via;
use crate::upstream::{Destination, SocketOptions};

/// A connection, as it came from a listener.
#[derive(Debug)]
pub struct Accepted {
    /// The connection.
    pub stream: TcpStream,
    /// Its other end.
    pub client: SocketAddr,
    /// What it counts as.
    pub permit: Permit,
}

/// Deals with one redirected connection.
///
/// Without a kernel record nobody was redirected here: whoever connected on their own is reset,
/// or the listener would be an open proxy.
pub async fn serve(front: Arc<Front>, origins: Arc<dyn Origins>, accepted: Accepted) {
    let Accepted { stream, client, permit } = accepted;
    let Some(origin) = origins.take(client) else {
        tracing::warn!(%client, "reset: no record of this connection being redirected");
        front.sink.fault("intercept", "not_redirected");
        session::reset(stream);
        return;
    };
    // Asked now, while the client waits for us and so cannot have gone.
    let subject = front.resolve(origin.caller).await;
    let own = SocketOptions { device: origin.device, mark: origin.mark, netns: None };
    let (options, bystander) = match origins.elsewhere() {
        None => (own, false),
        Some(number) => {
            let rules = front.rules.load();
            let bystander = !rules.containers.meters(&subject);
            let from_host = !bystander && rules.containers.dials_from_host(&subject);
            // Marks and interfaces are those of its namespace.
            let there = SocketOptions { netns: Some(number), ..own };
            (if from_host { SocketOptions::default() } else { there }, bystander)
        }
    };
    let arrival = session::Arrival {
        via: Via::Intercept,
        subject,
        destination: Destination::Address(origin.destination),
        options,
        bystander,
        opened: front.runtime.clock.now(),
        permit,
    };
    session::run(front, arrival, stream, BytesMut::new()).await;
    // Until here: it is the way into the client's namespace.
    drop(origins);
}
