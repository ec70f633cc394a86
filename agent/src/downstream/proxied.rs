//! Clients that reach providers through a proxy of their network: led here on their way to it.
//!
//! The client's `CONNECT` goes to the real proxy as it is, and what that answers goes back as it
//! is: a login of several steps works as without us. Once there is a tunnel to a provider, the TLS
//! inside it is terminated like that of any other connection, and the provider is asked through
//! this same tunnel. Whatever else a client says to its proxy is passed on untouched.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::Front;
use super::hello::{self, Opening};
use super::session::{self, Arrival, End, HELLO_WAIT, Label};
use super::treat::{self, Treat};
use crate::llm::providers::Provider;
use crate::record::{Treatment, Via};
use crate::upstream::Destination;
use crate::upstream::via::{self, Proxied};

/// Longest head of a `CONNECT` that is waited for.
const MOST: usize = 64 * 1024;
/// Steps of a login; those in use take three.
const STEPS: usize = 8;
const METHOD: &[u8] = b"CONNECT ";

/// Whether a connection that began with `read` may be one that asks a proxy for a tunnel.
pub(super) fn is_meant(front: &Front, arrival: &Arrival, opening: &Opening, read: &[u8]) -> bool {
    let Destination::Address(address) = arrival.destination else { return false };
    *opening == Opening::NotTls
        && arrival.via == Via::Intercept
        && front.upstream.proxies.contains(&address.port())
        && read.iter().zip(METHOD).all(|(read, method)| read == method)
}

/// Deals with a connection to a proxy.
pub(super) async fn run(
    front: Arc<Front>,
    arrival: Arrival,
    mut client: TcpStream,
    mut buffer: BytesMut,
) {
    let asked = ask(&mut client, &mut buffer).await;
    let Some(Ask { host, port, length }) = asked else {
        let label = Label::of(None, None, &arrival.destination);
        return session::relay(&front, &arrival, (client, buffer), (None, label), "not_tls").await;
    };
    let Some(provider) = front.rules.load().providers.by_host(&host).cloned() else {
        let label = Label::of(None, Some(host), &arrival.destination);
        return session::relay(&front, &arrival, (client, buffer), (None, label), "not_llm").await;
    };
    let label = || Label::of(Some(&provider), Some(Arc::clone(&host)), &arrival.destination);
    match reluctance(&front, &arrival, &provider, &host) {
        None => {}
        Some(Treat::Block { .. }) => {
            session::reset(client);
            let end = End { treatment: Treatment::Blocked, reason: "untrusted", failed: false };
            return session::finish(&front, &arrival, label(), end, (0, 0));
        }
        Some(Treat::Relay { reason, .. }) => {
            let way = (None, label());
            return session::relay(&front, &arrival, (client, buffer), way, reason).await;
        }
        Some(Treat::Terminate { .. }) => return,
    }
    let proxy = match front.upstream.tcp.open(&arrival.destination, arrival.options).await {
        Ok(proxy) => proxy,
        Err(error) => {
            tracing::debug!(%error, to = %arrival.destination, "the proxy cannot be reached");
            session::reset(client);
            let end = End { treatment: Treatment::Opaque, reason: "connect", failed: true };
            return session::finish(&front, &arrival, label(), end, (0, 0));
        }
    };
    let mut talk = Talk { client, proxy, buffer, up: 0, down: 0 };
    let opened = talk.open((&host, port), length).await;
    let Talk { mut client, proxy, mut buffer, up, down } = talk;
    let request = match opened {
        Ok(Opened::Tunnel(request)) => request,
        Ok(Opened::Unclear) => {
            let way = (Some(proxy), label());
            return session::relay(&front, &arrival, (client, buffer), way, "proxied").await;
        }
        Ok(Opened::Refused) | Err(_) => {
            if opened.is_err() {
                session::reset(client);
            }
            let end = End { treatment: Treatment::Opaque, reason: "proxied", failed: true };
            return session::finish(&front, &arrival, label(), end, (up, down));
        }
    };
    let deadline = Instant::now() + HELLO_WAIT;
    let Ok(opening) = hello::peek(&mut client, &mut buffer, hello::LIMIT, deadline).await else {
        let end = End { treatment: Treatment::Opaque, reason: "proxied", failed: true };
        return session::finish(&front, &arrival, label(), end, (up, down));
    };
    let Destination::Address(address) = arrival.destination else { return };
    let way = Proxied::new(address, (host, port), request);
    let arrival = Arrival { destination: Destination::Proxied(Arc::new(way)), ..arrival };
    session::go_on(front, arrival, (client, buffer), &opening, Some(proxy)).await;
}

/// Why the tunnel would not be looked into; `None` where it would.
fn reluctance(
    front: &Front,
    arrival: &Arrival,
    provider: &Arc<Provider>,
    host: &Arc<str>,
) -> Option<Treat> {
    session::known(front, arrival, &Opening::NotTls, |known| {
        treat::reluctance(known, provider, host)
    })
}

/// What a `CONNECT` asks for.
#[derive(Debug, PartialEq, Eq)]
struct Ask {
    /// Lower case, without a trailing dot.
    host: Arc<str>,
    port: u16,
    /// Bytes of its head.
    length: usize,
}

/// Reads until a `CONNECT` is whole; `None` where it is none. All that was read is in `buffer`.
async fn ask(client: &mut TcpStream, buffer: &mut BytesMut) -> Option<Ask> {
    let deadline = Instant::now() + HELLO_WAIT;
    loop {
        if let Some(end) = memchr::memmem::find(buffer, b"\r\n\r\n") {
            return parse(&buffer[..end + 4]);
        }
        if buffer.len() > MOST || buffer.iter().zip(METHOD).any(|(read, method)| read != method) {
            return None;
        }
        match timeout_at(deadline, client.read_buf(buffer)).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) | Err(_) => return None,
        }
    }
}

fn parse(head: &[u8]) -> Option<Ask> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let rest = std::str::from_utf8(line.strip_prefix(METHOD)?).ok()?;
    let (authority, version) = rest.split_once(' ')?;
    if !version.starts_with("HTTP/1.") {
        return None;
    }
    let (host, port) = authority.rsplit_once(':')?;
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    Some(Ask { host: Arc::from(host), port: port.parse().ok()?, length: head.len() })
}

/// A client and its proxy, who come to terms.
struct Talk {
    client: TcpStream,
    proxy: TcpStream,
    /// What the client said and the proxy has not heard yet.
    buffer: BytesMut,
    /// Bytes passed on.
    up: u64,
    down: u64,
}

/// How it ended.
enum Opened {
    /// With a tunnel, which this request opened.
    Tunnel(Bytes),
    /// The client had no wish to go on.
    Refused,
    /// Not yet: but where one answer ends and the next begins can't be told any more.
    Unclear,
}

impl Talk {
    async fn open(&mut self, to: (&Arc<str>, u16), first: usize) -> io::Result<Opened> {
        let mut length = first;
        for _ in 0..STEPS {
            let request = self.buffer.split_to(length).freeze();
            self.proxy.write_all(&request).await?;
            self.up += request.len() as u64;
            let mut read = BytesMut::new();
            let answer = loop {
                let answer = via::answer(&mut self.proxy, &mut read).await?;
                self.tell(&answer.head).await?;
                if !answer.is_interim() {
                    break answer;
                }
            };
            if answer.is_tunnel() {
                if read.is_empty() {
                    return Ok(Opened::Tunnel(request));
                }
                // Whoever is at the other end speaks first, and so speaks no TLS.
                self.tell(&read).await?;
                return Ok(Opened::Unclear);
            }
            let Some(body) = answer.length else {
                self.tell(&read).await?;
                return Ok(Opened::Unclear);
            };
            self.pass(read, body).await?;
            match self.next().await? {
                None if self.buffer.is_empty() => return Ok(Opened::Refused),
                Some(ask) if (&ask.host, ask.port) == to => length = ask.length,
                _ => return Ok(Opened::Unclear),
            }
        }
        Ok(Opened::Unclear)
    }

    /// What the client says next, however long it thinks: a user may be asked for a password.
    async fn next(&mut self) -> io::Result<Option<Ask>> {
        if self.buffer.is_empty() {
            self.client.readable().await?;
        }
        Ok(ask(&mut self.client, &mut self.buffer).await)
    }

    async fn tell(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.client.write_all(bytes).await?;
        self.down += bytes.len() as u64;
        Ok(())
    }

    /// Passes a body on of which `read` has been read.
    async fn pass(&mut self, read: BytesMut, length: u64) -> io::Result<()> {
        self.tell(&read).await?;
        let left = length.saturating_sub(read.len() as u64);
        let body = (&mut self.proxy).take(left);
        let copied = tokio::io::copy(&mut { body }, &mut self.client).await?;
        self.down += copied;
        if copied < left { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_connect_is_one() {
        for (head, asked) in [
            (
                "CONNECT api.openai.com:443 HTTP/1.1\r\nhost: x\r\n\r\n",
                Some(("api.openai.com", 443)),
            ),
            ("CONNECT API.OpenAI.com.:8443 HTTP/1.0\r\n\r\n", Some(("api.openai.com", 8443))),
            ("CONNECT [2001:db8::1]:443 HTTP/1.1\r\n\r\n", Some(("[2001:db8::1]", 443))),
            ("CONNECT api.openai.com HTTP/1.1\r\n\r\n", None),
            ("CONNECT api.openai.com:https HTTP/1.1\r\n\r\n", None),
            ("CONNECT api.openai.com:443 HTTP/2\r\n\r\n", None),
            ("CONNECT  HTTP/1.1\r\n\r\n", None),
            ("GET http://api.openai.com/ HTTP/1.1\r\n\r\n", None),
        ] {
            let parsed = parse(head.as_bytes());
            let found = parsed.as_ref().map(|ask| (&*ask.host, ask.port));
            assert_eq!(found, asked, "{head:?}");
            assert!(parsed.is_none_or(|ask| ask.length == head.len()));
        }
    }
}
