//! A plain HTTPS client over one connection, for tests that want to see every byte.

use std::net::SocketAddr;
use std::sync::Arc;

use agent::drain::Drain;
use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A connection to a provider, or to whatever stands in for it.
#[derive(Debug)]
pub struct Connection {
    sender: Sender,
    name: String,
    drain: Drain,
}

#[derive(Debug)]
enum Sender {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

/// What a test asks with.
#[derive(Debug, Clone, Copy)]
pub enum Version {
    /// Offers only HTTP/1.1.
    H1,
    /// Offers only HTTP/2.
    H2,
}

impl Connection {
    /// Connects to `address` as to `name`, trusting only `ca_pem`.
    pub async fn open(
        address: SocketAddr,
        name: &str,
        ca_pem: &str,
        version: Version,
    ) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let server = ServerName::try_from(name.to_owned())?;
        let stream = TlsConnector::from(Arc::new(trusting(ca_pem, version)?))
            .connect(server, stream)
            .await?;
        let drain = Drain::new();
        let io = TokioIo::new(stream);
        let sender = match version {
            Version::H1 => {
                let (sender, connection) = http1::handshake(io).await?;
                drain.spawn(connection);
                Sender::H1(sender)
            }
            Version::H2 => {
                let (sender, connection) = http2::handshake(drain.clone(), io).await?;
                drain.spawn(connection);
                Sender::H2(sender)
            }
        };
        Ok(Self { sender, name: name.to_owned(), drain })
    }

    /// Sends a request with a key; the answer's body is still to be read.
    pub async fn send(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&serde_json::Value>,
    ) -> anyhow::Result<Response<Incoming>> {
        let method = if body.is_some() { "POST" } else { "GET" };
        let mut request = Request::builder().method(method).header("authorization", "Bearer sk-t");
        for (key, value) in headers {
            request = request.header(*key, *value);
        }
        let body = Full::new(body.map_or_else(Bytes::new, |body| body.to_string().into()));
        Ok(match &mut self.sender {
            Sender::H1(sender) => {
                let request = request.uri(path).header("host", &self.name).body(body)?;
                sender.send_request(request).await?
            }
            Sender::H2(sender) => {
                let uri = format!("https://{}{path}", self.name);
                sender.send_request(request.uri(uri).body(body)?).await?
            }
        })
    }

    /// Sends a request and reads the whole answer.
    pub async fn ask(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&serde_json::Value>,
    ) -> anyhow::Result<Response<Bytes>> {
        let (head, body) = self.send(path, headers, body).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.drain.signal();
    }
}

fn trusting(ca_pem: &str, version: Version) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.context("a PEM certificate")?)?;
    }
    if roots.is_empty() {
        bail!("no certificate to trust");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![match version {
        Version::H1 => b"http/1.1".to_vec(),
        Version::H2 => b"h2".to_vec(),
    }];
    Ok(config)
}
