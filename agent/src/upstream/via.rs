//! The way through a proxy that stands between this host and the provider: opened with the words
//! in which the client asked for it, its credentials among them.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest head of a proxy's answer. Those of a negotiated login carry tokens of some kilobytes.
const MOST: usize = 64 * 1024;
/// How long a proxy may take to open a tunnel, or to refuse.
const PATIENCE: Duration = Duration::from_mins(1);

/// A host as reached through a proxy. Equal where the proxy, the host and the client's own words
/// are: nobody gets into a tunnel that was opened with another's credentials.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Proxied {
    /// The proxy.
    pub proxy: SocketAddr,
    /// The host beyond it.
    pub host: Arc<str>,
    /// The host's port.
    pub port: u16,
    /// The client's `CONNECT` with all its fields; holds credentials.
    request: Bytes,
}

impl fmt::Debug for Proxied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxied")
            .field("proxy", &self.proxy)
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Proxied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} through the proxy {}", self.host, self.port, self.proxy)
    }
}

impl Proxied {
    /// What `request`, a whole `CONNECT` of the client's, asked `proxy` for.
    pub fn new(proxy: SocketAddr, (host, port): (Arc<str>, u16), request: Bytes) -> Self {
        Self { proxy, host, port, request }
    }

    /// Opens the tunnel on a connection to the proxy.
    pub(super) async fn open(&self, proxy: &mut TcpStream) -> io::Result<()> {
        proxy.write_all(&self.request).await?;
        let mut read = BytesMut::new();
        let answer = loop {
            let answer = answer(proxy, &mut read).await?;
            if !answer.is_interim() {
                break answer;
            }
        };
        if !answer.is_tunnel() {
            let what = format!("the proxy refused the tunnel: status {}", answer.status);
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, what));
        }
        if !read.is_empty() {
            return Err(invalid("the proxy spoke before TLS began"));
        }
        Ok(())
    }
}

/// The head of a proxy's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// All of it, with the empty line at its end.
    pub head: Bytes,
    /// Its status.
    pub status: u16,
    /// The length of the body that follows, and nothing else after it; `None` where the head does
    /// not say, or where the connection ends with the body.
    pub length: Option<u64>,
}

impl Answer {
    /// Another head follows.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// From here on the connection leads to the host.
    pub fn is_tunnel(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Reads a head; what came after it stays in `read`.
pub async fn answer(
    from: &mut (impl AsyncRead + Unpin),
    read: &mut BytesMut,
) -> io::Result<Answer> {
    let head = async {
        loop {
            if let Some(end) = memchr::memmem::find(read, b"\r\n\r\n") {
                return Ok(read.split_to(end + 4).freeze());
            }
            if read.len() > MOST {
                return Err(invalid("the proxy's answer is too long"));
            }
            if from.read_buf(read).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
    };
    let head = timeout(PATIENCE, head)
        .await
        .map_err(|_elapsed| io::Error::new(io::ErrorKind::TimedOut, "the proxy is silent"))??;
    parse(head).ok_or_else(|| invalid("the proxy does not answer in HTTP"))
}

fn parse(head: Bytes) -> Option<Answer> {
    let text = String::from_utf8_lossy(&head);
    let mut lines = text.split("\r\n");
    let (version, rest) = lines.next()?.split_once(' ')?;
    let status = rest.get(..3)?.parse().ok().filter(|_| version.starts_with("HTTP/1."))?;
    let (mut length, mut ends) = (None, version == "HTTP/1.0");
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().ok();
        } else if name.eq_ignore_ascii_case("connection")
            || name.eq_ignore_ascii_case("proxy-connection")
        {
            let has = |word: &str| value.split(',').any(|it| it.trim().eq_ignore_ascii_case(word));
            ends = has("close") || (ends && !has("keep-alive"));
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            ends = true;
        }
    }
    drop(text);
    Some(Answer { head, status, length: length.filter(|_| !ends) })
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_read_to_its_end_and_no_further() {
        for (said, status, length, rest) in [
            ("HTTP/1.1 200 OK\r\n\r\n", 200, None, ""),
            ("HTTP/1.0 200 Connection established\r\nvia: x\r\n\r\n\x16", 200, None, "\x16"),
            ("HTTP/1.1 407 No\r\nContent-Length: 3\r\n\r\nabc", 407, Some(3), "abc"),
            (
                "HTTP/1.1 407 No\r\ncontent-length: 3\r\nConnection: close\r\n\r\nabc",
                407,
                None,
                "abc",
            ),
            ("HTTP/1.0 407 No\r\ncontent-length: 3\r\n\r\n", 407, None, ""),
            (
                "HTTP/1.0 407 No\r\ncontent-length: 3\r\nproxy-connection: Keep-Alive\r\n\r\n",
                407,
                Some(3),
                "",
            ),
            ("HTTP/1.1 407 No\r\ntransfer-encoding: chunked\r\n\r\n", 407, None, ""),
        ] {
            let mut read = BytesMut::new();
            let answer = answer(&mut said.as_bytes(), &mut read).await.unwrap();
            assert_eq!((answer.status, answer.length), (status, length), "{said:?}");
            assert_eq!(read, rest.as_bytes(), "{said:?}");
        }
        for said in ["220 smtp\r\n\r\n", "HTTP/1.1 200", ""] {
            assert!(answer(&mut said.as_bytes(), &mut BytesMut::new()).await.is_err(), "{said:?}");
        }
    }

    #[test]
    fn a_tunnel_is_its_opener_s_alone_and_its_credentials_are_not_shown() {
        let with = |secret: &str| {
            let request =
                format!("CONNECT a:443 HTTP/1.1\r\nproxy-authorization: {secret}\r\n\r\n");
            Proxied::new("192.0.2.1:3128".parse().unwrap(), (Arc::from("a"), 443), request.into())
        };
        assert_eq!(with("Basic one"), with("Basic one"));
        assert_ne!(with("Basic one"), with("Basic two"));
        let shown = format!("{:?} {}", with("Basic one"), with("Basic one"));
        assert!(!shown.contains("Basic"), "{shown}");
    }
}
