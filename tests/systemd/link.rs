//! A connection as clients keep it: used for several calls, and opened again when it was closed.

use std::sync::Arc;

use agent::drain::Drain;
use anyhow::{Context, ensure};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::provider::NAMES;
use crate::weir::BUNDLE;

/// Calls over one connection: new ones are needed all the time.
const USES: u32 = 10;
/// A stream of two seconds.
const PACED: &str = "chunks=20 pace=100ms";

/// Whom the clients of this host trust.
pub(crate) fn trusting() -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(BUNDLE)? {
        // One that is in an old form is nobody's loss.
        drop(roots.add(certificate?));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// What a call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Whether the agent gave it an id.
    pub(crate) metered: bool,
    /// Whether the connection that it was to go over was closed under it.
    pub(crate) again: bool,
}

/// Keeps one connection, where it can.
pub(crate) struct Link {
    tls: TlsConnector,
    kept: Option<(http1::SendRequest<Full<Bytes>>, u32)>,
    drain: Drain,
}

impl Link {
    pub(crate) fn new(tls: TlsConnector) -> Self {
        Self { tls, kept: None, drain: Drain::new() }
    }

    /// One call, or stream, to its end. What was sent over a connection that others had used before
    /// and that ended without a word of an answer is sent again, once: that is what clients do, since
    /// whoever serves may close an idle connection at any time.
    pub(crate) async fn call(&mut self, stream: bool) -> anyhow::Result<Answer> {
        if let Some((mut sender, uses)) = self.kept.take()
            && uses < USES
            && sender.ready().await.is_ok()
        {
            match self.ask(sender, uses, stream).await {
                Err(error) if is_closed(&error) => {}
                ended => return Ok(Answer { metered: ended?, again: false }),
            }
            let sender = self.open().await?;
            return Ok(Answer { metered: self.ask(sender, 0, stream).await?, again: true });
        }
        let sender = self.open().await?;
        Ok(Answer { metered: self.ask(sender, 0, stream).await?, again: false })
    }

    async fn open(&self) -> anyhow::Result<http1::SendRequest<Full<Bytes>>> {
        let tcp = TcpStream::connect((NAMES[0], 443)).await.context("connect")?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(NAMES[0])?;
        let tls = self.tls.connect(name, tcp).await.context("TLS")?;
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
        self.drain.spawn(connection);
        Ok(sender)
    }

    /// Whether the agent answered.
    async fn ask(
        &mut self,
        mut sender: http1::SendRequest<Full<Bytes>>,
        uses: u32,
        stream: bool,
    ) -> anyhow::Result<bool> {
        let body = serde_json::json!({"model": "gpt-4o-mini", "messages": [], "stream": stream});
        let mut request = Request::post("/v1/chat/completions")
            .header("host", NAMES[0])
            .header("authorization", "Bearer sk-load")
            .header("content-type", "application/json");
        if stream {
            request = request.header("x-mock", PACED);
        }
        let request = request.body(Full::new(Bytes::from(body.to_string())))?;
        let (head, body) = sender.send_request(request).await.context("send")?.into_parts();
        let body = body.collect().await.context("the answer breaks off")?.to_bytes();
        ensure!(head.status == 200, "{}: {}", head.status, String::from_utf8_lossy(&body));
        let ending: &[u8] = if stream { b"[DONE]" } else { b"\"prompt_tokens\"" };
        ensure!(memchr::memmem::find(&body, ending).is_some(), "an answer without its end");
        self.kept = Some((sender, uses + 1));
        Ok(head.headers.contains_key("x-weir-call-id"))
    }
}

/// Whether the connection was closed before any answer.
fn is_closed(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<hyper::Error>();
    error.is_some_and(|error| {
        error.is_canceled() || error.is_closed() || error.is_incomplete_message()
    })
}
