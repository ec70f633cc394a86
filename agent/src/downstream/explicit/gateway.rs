//! Base URLs: `http://127.0.0.1:4180/openai/v1` in place of the provider's own, or plain `/v1`,
//! where the path and the model tell the provider.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri};
use parking_lot::Mutex;

use super::{Client, refuse};
use crate::llm::call::{Ask, classify};
use crate::llm::providers::Provider;
use crate::pipeline::{self, Body, Context, Parties};
use crate::record::Via;
use crate::upstream::{Destination, Link, Offer, Outgoing, SocketOptions, Target};

/// The providers that one client connection has called, each with its link.
#[derive(Debug, Default)]
pub(super) struct Links(Mutex<HashMap<Target, Arc<Context>>>);

impl Links {
    /// What calls to a provider over this connection's link to it share.
    pub(super) fn context(
        &self,
        client: &Client,
        provider: &Arc<Provider>,
        via: Via,
        target: Target,
    ) -> Arc<Context> {
        let front = &client.front;
        let mut links = self.0.lock();
        let context = links.entry(target).or_insert_with_key(|target| {
            Arc::new(Context {
                parties: Parties {
                    subject: Arc::clone(&client.subject),
                    via,
                    host: Arc::clone(&target.host),
                    provider: Arc::clone(provider),
                },
                link: Link::lazy(Arc::clone(&front.upstream.pool), target.clone()),
                rules: Arc::clone(&front.rules),
                sink: Arc::clone(&front.sink),
                clock: Arc::clone(&front.runtime.clock),
                drain: front.runtime.drain.clone(),
                permit: Some(Arc::clone(&client.permit)),
            })
        });
        Arc::clone(context)
    }
}

/// Answers a request to a base URL.
pub(super) async fn answer(client: &Client, request: Request<Incoming>) -> Response<Body> {
    if !is_local(&request) {
        // A web page that has a name of ours point here must not spend anybody's money.
        let why = "the gateway answers only to 127.0.0.1, [::1] and localhost";
        return refuse(StatusCode::FORBIDDEN, why);
    }
    let path = request.uri().path().to_owned();
    let providers = client.front.rules.load_full();
    let prefix = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    if let Some(provider) = providers.providers.by_name(prefix) {
        let rest = &path[1 + prefix.len()..];
        return pass(client, provider, rest, request.map(Outgoing::through)).await;
    }
    if !path.starts_with("/v1/") && !path.starts_with("/v1beta/") {
        let known: Vec<&str> = providers.providers.iter().map(|known| &*known.name).collect();
        let hint = format!(
            "no such path; base URLs are /PROVIDER/v1 (one of {}) and /v1",
            known.join(", ")
        );
        return refuse(StatusCode::NOT_FOUND, &hint);
    }
    let tells = path.starts_with("/v1/messages") || path.starts_with("/v1beta/");
    if let Some(provider) = providers.providers.for_gateway(&path, None).filter(|_| tells) {
        return pass(client, provider, &path, request.map(Outgoing::through)).await;
    }
    // The model is in the body.
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, providers.request_body).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            let hint =
                format!("the body cannot be read ({error}); name the provider in the base URL");
            return refuse(StatusCode::BAD_REQUEST, &hint);
        }
    };
    let model = model(&parts.method, &path, &body);
    let Some(provider) = providers.providers.for_gateway(&path, model.as_deref()) else {
        let hint = "cannot tell the provider from the model; name it in the base URL (/openai/v1)";
        return refuse(StatusCode::BAD_REQUEST, hint);
    };
    let request = Request::from_parts(parts, Outgoing::whole(body));
    pass(client, provider, &path, request).await
}

async fn pass(
    client: &Client,
    provider: &Arc<Provider>,
    rest: &str,
    mut request: Request<Outgoing>,
) -> Response<Body> {
    let base = &provider.base;
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let Ok(uri) = format!("{}{rest}{query}", base.prefix).parse::<Uri>() else {
        return refuse(StatusCode::BAD_REQUEST, "the path is not valid behind the provider's own");
    };
    *request.uri_mut() = uri;
    let default = if base.tls { 443 } else { 80 };
    let host = if base.port == default {
        base.host.to_string()
    } else {
        format!("{}:{}", base.host, base.port)
    };
    match HeaderValue::from_str(&host) {
        Ok(host) => request.headers_mut().insert(header::HOST, host),
        Err(_not_a_header) => request.headers_mut().remove(header::HOST),
    };
    let target = Target {
        destination: Destination::Name(Arc::clone(&base.host), base.port),
        host: Arc::clone(&base.host),
        tls: base.tls,
        offer: Offer::Http1,
        options: SocketOptions::default(),
    };
    let context = client.gateway.context(client, provider, Via::Gateway, target);
    pipeline::handle(context, request).await
}

fn model(method: &hyper::Method, path: &str, body: &Bytes) -> Option<Arc<str>> {
    use crate::llm::providers::Format;
    let route = classify(Format::OpenAi, method, path);
    Ask::parse(route, body).ok().and_then(|ask| ask.model)
}

/// Whether the request names us as this host's own and comes from no web page of another site.
fn is_local<B>(request: &Request<B>) -> bool {
    let local = |authority: &str| {
        let host = authority.rsplit_once(':').map_or(authority, |(host, port)| {
            if port.bytes().all(|digit| digit.is_ascii_digit()) { host } else { authority }
        });
        matches!(host, "127.0.0.1" | "[::1]" | "localhost")
    };
    let text = |name| request.headers().get(name).map(HeaderValue::to_str);
    let host = matches!(text(header::HOST), Some(Ok(host)) if local(host));
    let origin = match text(header::ORIGIN) {
        None => true,
        Some(Ok(origin)) => {
            origin.split_once("://").is_some_and(|(_scheme, authority)| local(authority))
        }
        Some(Err(_illegible)) => false,
    };
    host && origin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_that_name_this_host_and_no_foreign_page_are_local() {
        for (host, origin, expected) in [
            ("127.0.0.1:4180", None, true),
            ("localhost:4180", None, true),
            ("[::1]:4180", None, true),
            ("rebound.example", None, false),
            ("rebound.example:4180", None, false),
            ("127.0.0.1:4180", Some("http://localhost:3000"), true),
            ("127.0.0.1:4180", Some("https://evil.example"), false),
            ("127.0.0.1:4180", Some("null"), false),
        ] {
            let mut request = Request::get("/v1/models").header(header::HOST, host);
            if let Some(origin) = origin {
                request = request.header(header::ORIGIN, origin);
            }
            let request = request.body(()).unwrap();
            assert_eq!(is_local(&request), expected, "{host} {origin:?}");
        }
    }
}
