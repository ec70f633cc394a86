//! From one provider's wire format to another's: requests, responses, errors and streams.
//!
//! A failed call may go on to a provider that speaks another format. What the client sent is read
//! into one typed form and written anew; the answer goes the other way. Nothing is lost silently:
//! a request that uses what the other side can't express is refused with the list of it, unless
//! the configuration allows that loss.

mod feature;

use bytes::Bytes;

pub use self::feature::Feature;
use super::call::Operation;

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
            _ => None,
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

/// Translates a request; `body` is what the client sent, untouched by any earlier attempt.
pub fn request(_plan: &Plan<'_>, _body: &[u8]) -> Result<Sent, Refused> {
    Err(Refused::Unsupported("translation is not there yet"))
}

/// Translates a whole answer from the provider's format (`from`) to the client's (`to`).
pub fn response(_from: Wire, _to: Wire, _body: &[u8]) -> Result<Bytes, Refused> {
    Err(Refused::Unsupported("translation is not there yet"))
}

/// Translates the body of an error response; the status stays what it is.
pub fn error(_from: Wire, _to: Wire, _status: u16, body: &[u8]) -> Bytes {
    Bytes::copy_from_slice(body)
}

/// Translates a stream of events on its way.
#[derive(Debug)]
pub struct Stream {
    _to: Wire,
}

impl Stream {
    /// Begins. `include_usage`: whether a client of chat completions asked for the chunk with the
    /// usage.
    pub fn new(_from: Wire, to: Wire, _include_usage: bool) -> Self {
        Self { _to: to }
    }

    /// Takes the next piece of the provider's stream, which may end anywhere; returns what can go
    /// to the client.
    pub fn feed(&mut self, _bytes: &[u8]) -> Bytes {
        Bytes::new()
    }

    /// The provider's stream is over; returns the rest. A stream that was cut off ends in an error
    /// of the client's protocol.
    pub fn end(&mut self) -> Bytes {
        Bytes::new()
    }
}
