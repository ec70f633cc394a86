//! Connections on which a test says whatever it likes.

use agent::clock::{Clock as _, System};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use harness::Stage;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The explicit port.
pub(super) const PROXY: SocketAddr = SocketAddr::new(LOCALHOST, 4180);
/// Metrics and health.
pub(super) const ADMIN: SocketAddr = SocketAddr::new(LOCALHOST, 4181);
const LOCALHOST: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
/// What has not been answered or closed by then hangs.
const LONGEST: Duration = Duration::from_secs(20);

/// A connection of any kind.
pub(super) trait Talk: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Talk for T {}

/// Where something can be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// The explicit port.
    Proxy,
    /// The admin listener.
    Admin,
    /// The unix socket.
    Socket,
    /// HTTP/1.1 inside TLS that the agent terminates.
    Inside,
}

impl Door {
    pub(super) const ALL: [Self; 4] = [Self::Proxy, Self::Admin, Self::Socket, Self::Inside];

    /// Its word in metrics: what is inside came by the explicit port.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Proxy | Self::Inside => "proxy",
            Self::Admin => "admin",
            Self::Socket => "socket",
        }
    }

    pub(super) async fn open(self, stage: &Stage) -> anyhow::Result<Box<dyn Talk>> {
        Ok(match self {
            Self::Proxy => Box::new(TcpStream::connect(PROXY).await?),
            Self::Admin => Box::new(TcpStream::connect(ADMIN).await?),
            Self::Socket => {
                Box::new(UnixStream::connect(stage.daemon()?.home().join("run/weir.sock")).await?)
            }
            Self::Inside => Box::new(tls(stage, "http/1.1").await?),
        })
    }
}

/// A tunnel to OpenAI through the explicit port.
pub(super) async fn tunnel() -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(PROXY).await?;
    stream.set_nodelay(true)?;
    stream
        .write_all(b"CONNECT api.openai.com:443 HTTP/1.1\r\nhost: api.openai.com\r\n\r\n")
        .await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head);
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    Ok(stream)
}

/// TLS that the agent terminates in the place of OpenAI.
pub(super) async fn tls(stage: &Stage, alpn: &str) -> anyhow::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("api.openai.com")?;
    let config = trusting(&stage.daemon()?.root(), alpn)?;
    Ok(TlsConnector::from(config).connect(name, tunnel().await?).await?)
}

/// Trusts the certificates of a file.
pub(super) fn trusting(file: &Path, alpn: &str) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    Ok(Arc::new(config))
}

/// Says it, and returns all that is answered until the other side closes. That it closed before
/// all was said is an end like any other.
pub(super) async fn say<T: Talk + ?Sized>(stream: &mut T, said: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut heard = Vec::new();
    let talk = async {
        let (mut reads, mut writes) = tokio::io::split(stream);
        let speak = async {
            if writes.write_all(said).await.is_ok() {
                drop(writes.flush().await);
            }
        };
        let listen = async {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = reads.read(&mut piece).await {
                heard.extend_from_slice(&piece[..count]);
            }
        };
        tokio::join!(speak, listen);
    };
    timeout(LONGEST, talk).await.context("neither answered nor closed")?;
    Ok(heard)
}

/// Reads until the other side closes; what it read.
pub(super) async fn end<T: Talk + ?Sized>(stream: &mut T) -> anyhow::Result<Vec<u8>> {
    say(stream, b"").await
}

/// The status of the first answer; `None` where the connection was just closed.
pub(super) fn status(answer: &[u8]) -> Option<u16> {
    let line = String::from_utf8_lossy(answer.get(..12)?).into_owned();
    line.strip_prefix("HTTP/1.")?.get(2..)?.trim().parse().ok()
}

/// Sends a byte now and then until the other side has had enough; how long that took.
pub(super) async fn drip<T: Talk + ?Sized>(
    stream: &mut T,
    start: &[u8],
    every: Duration,
) -> anyhow::Result<Duration> {
    let begun = System.now().mono;
    let talk = async {
        stream.write_all(start).await?;
        stream.flush().await?;
        let mut piece = [0; 512];
        loop {
            match timeout(every, stream.read(&mut piece)).await {
                Ok(Ok(0) | Err(_)) => return Ok(()),
                Ok(Ok(_)) => {}
                Err(_elapsed) => {
                    if stream.write_all(b"x").await.is_err() || stream.flush().await.is_err() {
                        return Ok::<_, io::Error>(());
                    }
                }
            }
        }
    };
    timeout(LONGEST, talk).await.context("never had enough")??;
    Ok(begun.elapsed())
}
