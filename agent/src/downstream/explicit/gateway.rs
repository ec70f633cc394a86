//! Base URLs: `http://127.0.0.1:4180/openai/v1` in place of the provider's own, or plain `/v1`,
//! where the path and the model tell the provider.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri};
use parking_lot::Mutex;

use super::model::{Search, Told};
use super::{Client, refuse};
use crate::llm::providers::Provider;
use crate::pipeline::accounts::First;
use crate::pipeline::endpoints::{authority, target};
use crate::pipeline::{self, Body, Context, Parties, Place, Rules};
use crate::record::Via;
use crate::upstream::{Link, Outgoing, SocketOptions, Target};

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
                account: First::default(),
                link: Link::lazy(Arc::clone(&front.upstream.pool), target.clone()),
                rules: Arc::clone(&front.rules),
                sink: Arc::clone(&front.sink),
                clock: Arc::clone(&front.runtime.clock),
                drain: front.runtime.drain.clone(),
                permit: Some(Arc::clone(&client.permit) as Place),
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
    if let Some(name) = path.strip_prefix("/v1/webhooks/")
        && let Some(webhooks) = client.front.webhooks.get()
    {
        return webhooks.answer(&client.subject, name, request).await;
    }
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
    // The model is in the body: as much of it is read as it takes.
    let (parts, body) = request.into_parts();
    let start = match read(body, &providers).await {
        Ok(start) => start,
        Err(error) => {
            return refuse(StatusCode::BAD_REQUEST, &format!("the body cannot be read ({error})"));
        }
    };
    let known = &providers.providers;
    let provider = match &start.told {
        Told::Model(model) => known.for_gateway(&path, Some(model)),
        Told::Nothing => known.for_gateway(&path, None),
        Told::More if is_openais_own(&path) => known.by_name("openai"),
        Told::More => None,
    };
    let Some(provider) = provider else {
        let (status, why) = match &start.told {
            Told::Model(model) => {
                (StatusCode::BAD_REQUEST, format!("cannot tell the provider of model {model:?}"))
            }
            Told::More | Told::Nothing => {
                let read = start.read;
                let why = format!("cannot tell the provider: no model in the first {read} bytes");
                (StatusCode::PAYLOAD_TOO_LARGE, why)
            }
        };
        let names: Vec<_> = known.iter().map(|known| format!("/{}/v1", known.name)).collect();
        let hint = format!("{why}; name it in the base URL (one of {})", names.join(", "));
        return refuse(status, &hint);
    };
    pass(client, provider, &path, Request::from_parts(parts, start.body)).await
}

/// A body of which some has been read.
struct Start {
    body: Outgoing,
    /// How much.
    read: usize,
    told: Told,
}

/// Reads until the model is known, but no more than may be held.
async fn read(mut body: Incoming, rules: &Rules) -> hyper::Result<Start> {
    let mut search = Search::default();
    let mut claim = rules.room.claim();
    let mut head = BytesMut::new();
    let mut told = Told::More;
    while told == Told::More {
        let Some(frame) = body.frame().await else {
            // What ends before it names a model, names none.
            let (read, body) = (head.len(), Outgoing::whole(head.freeze()));
            return Ok(Start { body, read, told: Told::Nothing });
        };
        let Ok(data) = frame?.into_data() else { continue };
        told = search.feed(&data);
        head.extend_from_slice(&data);
        if head.len() > rules.request_body || !claim.extend(head.len()) {
            break;
        }
    }
    let read = head.len();
    let body = if body.is_end_stream() {
        Outgoing::whole(head.freeze())
    } else {
        Outgoing::Through { head: Some(head.freeze()), rest: body }
    };
    Ok(Start { body, read, told })
}

/// Whether no other provider has such a path, whatever the model.
fn is_openais_own(path: &str) -> bool {
    const OWN: [&str; 12] = [
        "responses",
        "conversations",
        "images",
        "audio",
        "videos",
        "files",
        "uploads",
        "batches",
        "fine_tuning",
        "assistants",
        "threads",
        "vector_stores",
    ];
    let rest = path.strip_prefix("/v1/").unwrap_or_default();
    let first = rest.split('/').next().unwrap_or_default();
    OWN.contains(&first)
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
    match HeaderValue::from_str(&authority(base)) {
        Ok(host) => request.headers_mut().insert(header::HOST, host),
        Err(_not_a_header) => request.headers_mut().remove(header::HOST),
    };
    let target = target(base, SocketOptions::default());
    let context = client.gateway.context(client, provider, Via::Gateway, target);
    pipeline::handle(context, request).await
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
    fn paths_that_only_one_provider_has() {
        for (path, expected) in [
            ("/v1/responses", true),
            ("/v1/audio/transcriptions", true),
            ("/v1/chat/completions", false),
            ("/v1/embeddings", false),
            ("/v1/responsesx", false),
            ("/v2/responses", false),
        ] {
            assert_eq!(is_openais_own(path), expected, "{path}");
        }
    }

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
