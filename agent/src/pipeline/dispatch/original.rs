//! The request as it was handed in, and what becomes of it for each try.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{HeaderMap, Method, Request, Uri, Version};

use crate::llm::call::{
    Kind, Operation, Route, cap_output, inject_usage, path_model, replace_model,
};
use crate::llm::providers::{Base, Format, Provider};
use crate::llm::translate::{self, Feature, Plan, Wire};
use crate::pipeline::admit::change;
use crate::pipeline::credentials;
use crate::pipeline::endpoints::{KEPT, authority, target};
use crate::pipeline::exchange::Exchange;
use crate::pipeline::reservation::Place;
use crate::pipeline::tries::Serving;
use crate::policy::reliability::Hop;
use crate::record::Flag;
use crate::upstream::{Link, Outgoing, SocketOptions};

/// A request, kept whole where it may have to be sent again.
#[derive(Debug)]
pub(super) struct Original {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    body: Outgoing,
    /// The body, where it is at hand.
    bytes: Option<Bytes>,
}

/// How a try reaches its target.
#[derive(Debug)]
pub(super) struct Way {
    /// Leads to another provider than the call's own.
    pub(super) link: Option<Link>,
    /// The request, where it is not the original.
    request: Option<Request<Outgoing>>,
    /// What the answer is read as.
    pub(super) route: Route,
    /// The provider's format and the client's, where they differ.
    pub(super) wires: Option<(Wire, Wire)>,
    /// Who answers, where it is another than was asked.
    pub(super) serving: Option<Serving>,
}

impl Way {
    /// Writes the most output the call may be given into its request. The limit is for all choices
    /// together.
    pub(super) fn cap(&mut self, exchange: &mut Exchange, tokens: u64) {
        let (Some(request), Some(serving)) = (&mut self.request, &self.serving) else { return };
        let choices = exchange.ask.as_ref().map_or(1, |ask| ask.choices);
        let each = (tokens / choices).max(1);
        let (provider, operation) = (&serving.provider, self.route.operation);
        if change(request, |body| cap_output(body, provider, operation, each)) {
            exchange.flag(Flag::OutputCapped);
        }
    }
}

impl Original {
    pub(super) fn new(request: Request<Outgoing>) -> Self {
        let (parts, body) = request.into_parts();
        let bytes = match &body {
            Outgoing::Whole(bytes) => Some(bytes.clone()),
            Outgoing::Empty | Outgoing::Through { .. } => None,
        };
        let (method, uri, version, headers) =
            (parts.method, parts.uri, parts.version, parts.headers);
        Self { method, uri, version, headers, body, bytes }
    }

    /// The way the client itself asked for.
    pub(super) fn asked(exchange: &Exchange) -> Way {
        Way { link: None, request: None, route: exchange.route, wires: None, serving: None }
    }

    /// Where a try on this way goes, as policies see it.
    pub(super) fn place(&self, exchange: &Exchange, way: &Way, moved: bool) -> Place {
        let host = match &way.link {
            Some(link) => Arc::clone(&link.target().host),
            None => Arc::clone(&exchange.context.parties.host),
        };
        let path = way.request.as_ref().map_or(&self.uri, Request::uri).path();
        Place { host, path: Arc::from(path), moved }
    }

    /// The request to send on this way. Where there is `more` that can be tried after it, the
    /// original is kept.
    pub(super) fn request(&mut self, way: &mut Way, more: bool) -> Request<Outgoing> {
        if let Some(request) = way.request.take() {
            return request;
        }
        let (headers, body) = match &self.bytes {
            Some(bytes) if more => (self.headers.clone(), Outgoing::whole(bytes.clone())),
            _ => (std::mem::take(&mut self.headers), std::mem::take(&mut self.body)),
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = headers;
        request
    }

    /// The way to another model. The error says in a few words what is in the way.
    pub(super) fn elsewhere(
        &self,
        exchange: &mut Exchange,
        hop: &Hop,
        loss: &[Feature],
    ) -> Result<Way, String> {
        let body = self.bytes.as_ref().ok_or("the request's body is not at hand")?;
        let providers = &exchange.rules.providers;
        let provider = providers.by_name(&hop.provider).ok_or("there is no such provider")?;
        let provider = Arc::clone(provider);
        let serving = Serving { provider: Arc::clone(&provider), model: Arc::clone(&hop.model) };
        if provider.name == exchange.context.parties.provider.name {
            let request = Some(self.renamed(body, &hop.model)?);
            let route = exchange.route;
            return Ok(Way { link: None, request, route, wires: None, serving: Some(serving) });
        }
        let client = Wire::of(exchange.route.operation).ok_or("the call can't be moved")?;
        let wire = speaks(&provider, client);
        let (path, body) = if wire != client {
            let plan = Plan { from: client, to: wire, model: &hop.model, allow_loss: loss };
            let sent = translate::request_at(&plan, self.path(), body);
            let sent = sent.map_err(|refused| refused.to_string())?;
            (sent.path, sent.body)
        } else if let Some(public) = path_of(wire) {
            let body = replace_model(body, &hop.model).ok_or("the request names no model")?;
            let query = self.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            (format!("{public}{query}"), with_usage(exchange, &provider, body))
        } else {
            let path = self.path_to(&hop.model).ok_or("the request names no model")?;
            (path, body.clone())
        };
        let mut request = Request::new(Outgoing::whole(body));
        *request.method_mut() = self.method.clone();
        let uri = format!("{}{path}", provider.base.prefix);
        *request.uri_mut() = uri.parse().map_err(|_| "its path is not valid".to_owned())?;
        *request.headers_mut() = self.headers_for(exchange, &provider, wire == client)?;
        Ok(Way {
            link: Some(link_to(&provider.base, exchange)),
            request: Some(request),
            route: route_of(wire),
            wires: (wire != client).then_some((wire, client)),
            serving: Some(serving),
        })
    }

    /// The same request for another model of the same provider.
    fn renamed(&self, body: &Bytes, model: &str) -> Result<Request<Outgoing>, String> {
        let (uri, body) = if let Some(path) = self.path_to(model) {
            (path.parse().map_err(|_| "its path is not valid".to_owned())?, body.clone())
        } else {
            let body = replace_model(body, model).ok_or("the request names no model")?;
            (self.uri.clone(), body)
        };
        let length = HeaderValue::from(body.len());
        let mut request = Request::new(Outgoing::whole(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(header::CONTENT_LENGTH, length);
        Ok(request)
    }

    fn path(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// The path with another model in it; `None` where it names none.
    fn path_to(&self, model: &str) -> Option<String> {
        let named = path_model(self.uri.path())?.model;
        Some(self.path().replacen(&format!("/{named}:"), &format!("/{model}:"), 1))
    }

    /// The fields of a request to another provider: none of the client's credentials or cookies.
    fn headers_for(
        &self,
        exchange: &Exchange,
        provider: &Provider,
        same_format: bool,
    ) -> Result<HeaderMap, String> {
        let kept = KEPT.into_iter().filter(|name| same_format || *name == header::USER_AGENT);
        let mut headers: HeaderMap = kept
            .filter_map(|name| self.headers.get(&name).cloned().map(|value| (name, value)))
            .collect();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // Has to be legible, for metering and for translation.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let host = HeaderValue::from_str(&authority(&provider.base))
            .map_err(|_| "its host is not valid".to_owned())?;
        headers.insert(header::HOST, host);
        match exchange.rules.credentials.get(&provider.name) {
            Some(secret) => credentials::present(secret, provider.format, &mut headers),
            // A local model asks for no key.
            None if provider.free => {}
            // Its endpoints have keys of their own, or want none.
            None if exchange.rules.endpoints.stand_alone(&provider.name) => {}
            None => return Err(format!("there is no api_key for {}", provider.name)),
        }
        Ok(headers)
    }
}

/// Asks a stream for its usage, where this provider has to be asked.
fn with_usage(exchange: &mut Exchange, provider: &Provider, body: Bytes) -> Bytes {
    let wanted = exchange.ask.as_ref().is_some_and(|ask| ask.stream && !ask.usage_wanted);
    match inject_usage(&body).filter(|_| wanted && provider.inject_usage) {
        Some(changed) => {
            exchange.flag(Flag::UsageInjected);
            changed
        }
        None => body,
    }
}

pub(super) fn link_to(base: &Base, exchange: &Exchange) -> Link {
    let first = exchange.context.link.target();
    // No other provider is a way out either for a client that has none.
    let options = SocketOptions { netns: first.options.netns, ..SocketOptions::default() };
    Link::lazy(Arc::clone(exchange.context.link.pool()), target(base, options))
}

/// The format in which a provider is asked for a client of another one.
fn speaks(provider: &Provider, client: Wire) -> Wire {
    match provider.format {
        Format::Anthropic => Wire::Messages,
        Format::Gemini => Wire::Gemini,
        // Those that speak OpenAI's format rarely have its newer API.
        Format::OpenAi if client == Wire::Responses && provider.name.starts_with("openai") => {
            Wire::Responses
        }
        Format::OpenAi => Wire::Chat,
    }
}

fn path_of(wire: Wire) -> Option<&'static str> {
    match wire {
        Wire::Chat => Some("/v1/chat/completions"),
        Wire::Responses => Some("/v1/responses"),
        Wire::Messages => Some("/v1/messages"),
        // The model is in the path.
        Wire::Gemini => None,
    }
}

fn route_of(wire: Wire) -> Route {
    let operation = match wire {
        Wire::Chat => Operation::Chat,
        Wire::Responses => Operation::Responses,
        Wire::Messages => Operation::Messages,
        Wire::Gemini => Operation::Generate,
    };
    Route { operation, kind: Kind::Call }
}
