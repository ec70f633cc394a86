//! `OpenAI` responses, as a client speaks them.

mod read;
mod reply;
mod client;

pub(super) use self::client::Client;
pub(super) use self::read::request as read_request;
pub(super) use self::reply::write as write_reply;
