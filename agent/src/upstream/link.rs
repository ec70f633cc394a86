//! A downstream connection's way to its provider.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Request, Response, Uri, Version, header};
use parking_lot::Mutex;

use super::body::Outgoing;
use super::connect::Io;
use super::failure::Failure;
use super::pool::{Pool, Sender, Target};
use super::tls::Protocol;

/// Sends requests to one target on one connection at a time, opening a new one when it must.
#[derive(Debug)]
pub struct Link {
    pool: Arc<Pool>,
    target: Target,
    slot: Mutex<Option<Sender>>,
}

impl Link {
    /// A link with a live connection at hand: the caller may promise the client that the provider
    /// can be reached, in the protocol that is returned.
    pub async fn open(pool: Arc<Pool>, target: Target) -> Result<(Self, Protocol), Failure> {
        let sender = match pool.take(&target) {
            Some(sender) => sender,
            None => pool.dial(&target).await?,
        };
        let protocol = sender.protocol();
        Ok((Self { pool, target, slot: Mutex::new(Some(sender)) }, protocol))
    }

    /// A link on a connection to the target's destination that is open already.
    pub async fn over(
        pool: Arc<Pool>,
        target: Target,
        io: Io,
    ) -> Result<(Self, Protocol), Failure> {
        let sender = pool.greet(io, &target).await?;
        let protocol = sender.protocol();
        Ok((Self { pool, target, slot: Mutex::new(Some(sender)) }, protocol))
    }

    /// A link that connects when the first request comes.
    pub fn lazy(pool: Arc<Pool>, target: Target) -> Self {
        Self { pool, target, slot: Mutex::new(None) }
    }

    /// Where it leads.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Where its connections come from, for links to other targets.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Sends a request and waits for the response's head, without a limit of its own.
    pub async fn send(&self, request: Request<Outgoing>) -> Result<Response<Incoming>, Failure> {
        self.send_within(request, None).await
    }

    /// Sends a request and waits for the response's head; a connection that has to be opened first
    /// may take as long as `connect` says.
    ///
    /// A request of which nothing was written, or which an HTTP/2 provider says that it did not
    /// process, is sent once more, on a new connection; any other failure is the caller's to judge. The request's form (version, absolute or relative target)
    /// is set to fit the connection.
    pub async fn send_within(
        &self,
        request: Request<Outgoing>,
        connect: Option<Duration>,
    ) -> Result<Response<Incoming>, Failure> {
        let kept = self.kept().or_else(|| self.pool.take(&self.target));
        let request = match kept {
            None => request,
            Some(mut sender) => {
                if sender.ready().await {
                    let spare = spare(&sender, &request);
                    match self.send_on(sender, request).await {
                        Err((_closed_before_sending, Some(request))) => request,
                        Err((failure, None)) => match spare.filter(|_| failure.is_unprocessed()) {
                            Some(request) => request,
                            None => return Err(failure),
                        },
                        Ok(response) => return Ok(response),
                    }
                } else {
                    request
                }
            }
        };
        // Boxed: every call would carry the room for what few need.
        let sender = Box::pin(self.dial(connect)).await?;
        self.send_on(sender, request).await.map_err(|(failure, _request)| failure)
    }

    async fn dial(&self, limit: Option<Duration>) -> Result<Sender, Failure> {
        let dialling = self.pool.dial(&self.target);
        let Some(limit) = limit else { return dialling.await };
        tokio::time::timeout(limit, dialling).await.unwrap_or_else(|_elapsed| {
            let to = self.target.destination.to_string();
            let what = format!("no connection within {limit:?}");
            Err(Failure::Connect { to, source: io::Error::new(io::ErrorKind::TimedOut, what) })
        })
    }

    /// The connection at hand: an HTTP/1.1 one is taken, an HTTP/2 one shared.
    fn kept(&self) -> Option<Sender> {
        let mut slot = self.slot.lock();
        match &*slot {
            Some(Sender::Http2(shared)) => Some(Sender::Http2(shared.clone())),
            _ => slot.take(),
        }
    }

    async fn send_on(
        &self,
        mut sender: Sender,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, (Failure, Option<Request<Outgoing>>)> {
        shape(&mut request, sender.protocol(), &self.target);
        if let Sender::Http2(shared) = &sender {
            // Streams of one connection run side by side: put a handle back before waiting.
            *self.slot.lock() = Some(Sender::Http2(shared.clone()));
        }
        let answer = sender.send(request).await.map_err(|(source, request)| {
            (Failure::Broken { host: self.target.host.to_string(), source }, request)
        })?;
        if let Sender::Http1(_) = sender {
            *self.slot.lock() = Some(sender);
        }
        Ok(answer)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(sender) = self.slot.lock().take() {
            self.pool.keep(&self.target, sender);
        }
    }
}

/// A copy of a request that the provider may refuse before it comes to it, where one can be made:
/// a body that is read whole is shared, not copied.
fn spare(sender: &Sender, request: &Request<Outgoing>) -> Option<Request<Outgoing>> {
    let body = match (sender, request.body()) {
        (Sender::Http1(_), _) | (_, Outgoing::Through { .. }) => return None,
        (Sender::Http2(_), Outgoing::Empty) => Outgoing::Empty,
        (Sender::Http2(_), Outgoing::Whole(bytes)) => Outgoing::Whole(bytes.clone()),
    };
    let mut spare = Request::new(body);
    spare.method_mut().clone_from(request.method());
    spare.uri_mut().clone_from(request.uri());
    spare.headers_mut().clone_from(request.headers());
    Some(spare)
}

/// Gives a request the form its connection needs (RFC 9112 §3.2, RFC 9113 §8.3.1).
fn shape(request: &mut Request<Outgoing>, protocol: Protocol, target: &Target) {
    let path =
        request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    match protocol {
        Protocol::Http1 => {
            *request.version_mut() = Version::HTTP_11;
            // RFC 9112 §3.2.2: what the request target names replaces the field.
            let named = request.uri().authority().is_some();
            if (named || !request.headers().contains_key(header::HOST))
                && let Some(host) = authority(request, target)
                && let Ok(host) = host.as_str().parse()
            {
                request.headers_mut().insert(header::HOST, host);
            }
            *request.uri_mut() = Uri::from(path);
        }
        Protocol::Http2 => {
            *request.version_mut() = Version::HTTP_2;
            let authority = authority(request, target);
            request.headers_mut().remove(header::HOST);
            let mut parts = http::uri::Parts::default();
            parts.path_and_query = Some(path);
            if authority.is_some() {
                parts.scheme = Some(if target.tls { Scheme::HTTPS } else { Scheme::HTTP });
                parts.authority = authority;
            }
            if let Ok(uri) = Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
        }
    }
}

/// The authority the client named, or the target's host.
fn authority(request: &Request<Outgoing>, target: &Target) -> Option<Authority> {
    request.uri().authority().cloned().or_else(|| {
        let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        named.and_then(|host| host.parse().ok()).or_else(|| target.host.parse().ok())
    })
}

#[cfg(test)]
mod streams;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{Destination, Offer, SocketOptions};

    fn target() -> Target {
        Target {
            destination: Destination::Name(Arc::from("api.openai.com"), 443),
            host: Arc::from("api.openai.com"),
            tls: true,
            offer: Offer::Http2First,
            options: SocketOptions::default(),
        }
    }

    #[test]
    fn http1_gets_origin_form_and_a_host() {
        let mut request = Request::get("https://api.openai.com/v1/models?x=1")
            .body(Outgoing::Empty)
            .expect("valid request");
        shape(&mut request, Protocol::Http1, &target());
        assert_eq!(request.uri(), "/v1/models?x=1");
        assert_eq!(request.headers()[header::HOST], "api.openai.com");
    }

    #[test]
    fn http2_gets_absolute_form_and_no_host() {
        let mut request = Request::get("/v1/models")
            .header(header::HOST, "api.openai.com")
            .body(Outgoing::Empty)
            .expect("valid request");
        shape(&mut request, Protocol::Http2, &target());
        assert_eq!(request.uri(), "https://api.openai.com/v1/models");
        assert!(!request.headers().contains_key(header::HOST));
    }
}
