//! From one provider's wire format to another's: requests, responses, errors and streams.
//!
//! A failed call may go on to a provider that speaks another format. What the client sent is read
//! into one typed form and written anew; the answer goes the other way. Nothing is lost silently:
//! a request that uses what the other side can't express is refused with the list of it, unless
//! the configuration allows that loss.

mod feature;
mod doc;
mod json;
mod ir;
mod model;
mod ids;
mod turns;
mod usage;
mod fault;
mod chat;
mod responses;
mod messages;
mod gemini;
mod stream;
pub mod grammar;

use bytes::Bytes;

use self::doc::Node;
pub use self::feature::Feature;
use self::ir::{Piece, Reply, Request};
pub use self::stream::Stream;
use super::call::{Operation, path_model};
use super::dialect::Dialect;
use super::reading::Facts;

/// The wire format of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    /// `OpenAI` chat completions.
    Chat,
    /// `OpenAI` responses; only as the client's.
    Responses,
    /// Anthropic messages.
    Messages,
    /// Gemini `generateContent`.
    Gemini,
}

impl Wire {
    /// The format in which an operation is asked for and answered; `None` where it can't be
    /// translated.
    pub fn of(operation: Operation) -> Option<Self> {
        match operation {
            Operation::Chat => Some(Self::Chat),
            Operation::Responses => Some(Self::Responses),
            Operation::Messages => Some(Self::Messages),
            Operation::Generate => Some(Self::Gemini),
            _ => None,
        }
    }

    fn dialect(self) -> Dialect {
        match self {
            Self::Chat => Dialect::Chat,
            Self::Responses => Dialect::Responses,
            Self::Messages => Dialect::Messages,
            Self::Gemini => Dialect::Gemini,
        }
    }
}

/// A request as another provider takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Path and query, as the provider's public API has them, without the base's prefix.
    pub path: String,
    /// A JSON document.
    pub body: Bytes,
}

/// What is to become of a request.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// The client's format.
    pub from: Wire,
    /// The provider's format.
    pub to: Wire,
    /// The model to ask, in the provider's words.
    pub model: &'a str,
    /// What may get lost.
    pub allow_loss: &'a [Feature],
}

/// Why something is not translated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not the JSON it should be.
    #[error("the body is not what its format promises")]
    NotJson,
    /// The other side can't express all of it.
    #[error("the other provider can't do: {}", names(.0))]
    Loses(Vec<Feature>),
    /// There is no way between the two formats, or none for this.
    #[error("{0}")]
    Unsupported(&'static str),
}

fn names(features: &[Feature]) -> String {
    features.iter().map(|feature| feature.as_str()).collect::<Vec<_>>().join(", ")
}

/// Translates a request; `body` is what the client sent, untouched by any earlier attempt. A Gemini
/// client asks for a stream in the path: see [`request_at`].
pub fn request(plan: &Plan<'_>, body: &[u8]) -> Result<Sent, Refused> {
    request_at(plan, "", body)
}

/// As [`request`], for a client whose path (with its query) says more than the body: Gemini's.
pub fn request_at(plan: &Plan<'_>, path: &str, body: &[u8]) -> Result<Sent, Refused> {
    let Plan { from, to, model, allow_loss } = *plan;
    if from == to {
        return Err(Refused::Unsupported("both sides speak the same format"));
    }
    let body = Node::parse(body).filter(|body| body.is_object()).ok_or(Refused::NotJson)?;
    let mut request = read(from, body).ok_or(Refused::NotJson)?;
    if from == Wire::Gemini && path_model(path).is_some_and(|asked| asked.is_stream()) {
        if !path.contains("alt=sse") {
            return Err(Refused::Unsupported("a Gemini stream as a JSON array"));
        }
        request.stream = true;
    }
    let streams = request.stream;
    let (body, lost) = match to {
        Wire::Chat => chat::write_request(request, model),
        Wire::Messages => messages::write_request(request, model),
        Wire::Gemini => gemini::write_request(request, model),
        Wire::Responses => return Err(Refused::Unsupported("responses is only a client's format")),
    };
    let lost = lost.beyond(allow_loss);
    if !lost.is_empty() {
        return Err(Refused::Loses(lost));
    }
    let path = match to {
        Wire::Chat | Wire::Responses => "/v1/chat/completions".to_owned(),
        Wire::Messages => "/v1/messages".to_owned(),
        Wire::Gemini => {
            // Some have the name as the list of models gives it.
            let model = model.strip_prefix("models/").unwrap_or(model);
            let method = if streams { "streamGenerateContent?alt=sse" } else { "generateContent" };
            format!("/v1beta/models/{model}:{method}")
        }
    };
    Ok(Sent { path, body: body.to_string().into() })
}

fn read(from: Wire, body: Node<'_>) -> Option<Request> {
    match from {
        Wire::Chat => chat::read_request(body),
        Wire::Responses => responses::read_request(body),
        Wire::Messages => messages::read_request(body),
        Wire::Gemini => gemini::read_request(body),
    }
}

/// Translates a whole answer from the provider's format (`from`) to the client's (`to`).
pub fn response(from: Wire, to: Wire, body: &[u8]) -> Result<Bytes, Refused> {
    let document = Node::parse(body).filter(|body| body.is_object()).ok_or(Refused::NotJson)?;
    let reply = match from {
        Wire::Chat => chat::read_reply(document),
        Wire::Messages => messages::read_reply(document),
        Wire::Gemini => gemini::read_reply(document),
        Wire::Responses => return Err(Refused::Unsupported("responses is only a client's format")),
    };
    let mut reply = reply.ok_or(Refused::NotJson)?;
    let mut facts = Facts::default();
    let dialect = from.dialect();
    if dialect.read(body, &mut facts).is_ok() {
        let reading = facts.reading(dialect.normalise());
        reply.usage = reading.usage.unwrap_or(reading.estimate);
    }
    Ok(written(to, &tidied(reply)).to_string().into())
}

/// Calls without arguments have empty ones: no text is no JSON.
fn tidied(mut reply: Reply) -> Reply {
    for piece in &mut reply.pieces {
        if let Piece::Call(call) = piece
            && call.arguments.trim().is_empty()
        {
            "{}".clone_into(&mut call.arguments);
        }
    }
    reply
}

fn written(to: Wire, reply: &Reply) -> json::Json {
    match to {
        Wire::Chat => chat::write_reply(reply),
        Wire::Responses => responses::write_reply(reply),
        Wire::Messages => messages::write_reply(reply),
        Wire::Gemini => gemini::write_reply(reply),
    }
}

/// Translates the body of an error response; see [`status`] for its status. A body that can't be
/// read becomes an error that only says what the status does.
pub fn error(_from: Wire, to: Wire, status: u16, body: &[u8]) -> Bytes {
    let fault = match Node::parse(body) {
        Some(document) => fault::read(document, Some(status)),
        None => ir::Fault {
            kind: ir::FaultKind::of_status(status),
            message: format!("the provider answered with status {status}"),
        },
    };
    fault::write(to, &fault).to_string().into()
}

/// The status with which a client is told of an error: Anthropic has one of its own, which the
/// other SDKs don't know.
pub fn status(to: Wire, status: u16) -> u16 {
    match (to, status) {
        (Wire::Chat | Wire::Responses | Wire::Gemini, 529) => 503,
        _ => status,
    }
}
