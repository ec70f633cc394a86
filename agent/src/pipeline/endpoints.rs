//! Several endpoints of one provider: where a try goes, and whose credential goes with it.
//!
//! A client's credential belongs to its provider: it goes to the provider's own hosts, and to others
//! only where the configuration says so. Any other endpoint gets its own key or none.

use std::collections::HashMap;
use std::sync::Arc;

use http::uri::PathAndQuery;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{HeaderMap, Request, Uri};

use super::credentials;
use crate::llm::providers::{Base, Provider};
use crate::secret::Secret;
use crate::upstream::{Destination, Offer, SocketOptions, Target};

/// Fields that are sent to whoever is not to have the client's credential. Everything else may be
/// one, or be about one.
pub(super) const KEPT: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::ACCEPT,
    header::USER_AGENT,
    HeaderName::from_static("anthropic-version"),
    HeaderName::from_static("anthropic-beta"),
];

/// Of the same request, these besides: they are about its body and its answer.
const KEPT_OF_BODY: [HeaderName; 5] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::ACCEPT_ENCODING,
    HeaderName::from_static("openai-beta"),
    HeaderName::from_static("idempotency-key"),
];

/// Where calls for a provider can go.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Its name, one of its kind in its provider.
    pub name: Arc<str>,
    /// Where it is.
    pub base: Base,
    /// What it is sent as a credential.
    pub credential: Credential,
}

/// What an endpoint is sent as a credential.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A key of its own.
    Own(Secret),
    /// What the client sends.
    Client,
    /// Nothing.
    Nothing,
}

/// The endpoints of providers that have several.
#[derive(Debug, Clone, Default)]
pub struct Endpoints(HashMap<Arc<str>, Vec<Arc<Endpoint>>>);

impl Endpoints {
    /// From providers' names and their endpoints.
    pub fn new(all: impl IntoIterator<Item = (Arc<str>, Vec<Endpoint>)>) -> Self {
        let shared = |(provider, endpoints): (_, Vec<Endpoint>)| {
            (provider, endpoints.into_iter().map(Arc::new).collect())
        };
        Self(all.into_iter().map(shared).collect())
    }

    /// Those of a provider; empty where it is only reached where it always is.
    pub fn of(&self, provider: &str) -> &[Arc<Endpoint>] {
        self.0.get(provider).map_or(&[], Vec::as_slice)
    }

    /// Whether some of them need no credential of the client's.
    pub(crate) fn stand_alone(&self, provider: &str) -> bool {
        self.of(provider).iter().any(|endpoint| endpoint.stands_alone())
    }
}

impl Endpoint {
    /// Whether it needs no credential of the client's.
    pub(super) fn stands_alone(&self) -> bool {
        !matches!(self.credential, Credential::Client)
    }

    /// Makes a request for its provider one for this endpoint. False where that can't be: its path
    /// is none with this endpoint's before it.
    pub(super) fn address<B>(&self, request: &mut Request<B>, provider: &Provider) -> bool {
        let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        let below = path
            .strip_prefix(&*provider.base.prefix)
            .filter(|below| below.starts_with('/'))
            .unwrap_or(path);
        let Ok(uri) = format!("{}{below}", self.base.prefix).parse::<Uri>() else { return false };
        let Ok(host) = HeaderValue::from_str(&authority(&self.base)) else { return false };
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        if self.stands_alone() {
            let kept = KEPT.into_iter().chain(KEPT_OF_BODY);
            let kept: HeaderMap =
                kept.filter_map(|name| Some((name.clone(), headers.remove(&name)?))).collect();
            *headers = kept;
        }
        if let Credential::Own(key) = &self.credential {
            credentials::present(key, provider.format, headers);
        }
        headers.insert(header::HOST, host);
        true
    }

    /// Where it is, for people.
    pub(super) fn shown(&self) -> String {
        let scheme = if self.base.tls { "https" } else { "http" };
        format!("{scheme}://{}{}", authority(&self.base), self.base.prefix)
    }
}

/// Where requests below a base go.
pub fn target(base: &Base, options: SocketOptions) -> Target {
    Target {
        destination: Destination::Name(Arc::clone(&base.host), base.port),
        host: Arc::clone(&base.host),
        tls: base.tls,
        offer: Offer::Http1,
        options,
    }
}

/// The host as a request names it.
pub fn authority(base: &Base) -> String {
    let default = if base.tls { 443 } else { 80 };
    if base.port == default {
        base.host.to_string()
    } else {
        format!("{}:{}", base.host, base.port)
    }
}
