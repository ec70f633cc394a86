//! How a refusal is said on a socket: as an error event of the API that is spoken there.
//!
//! Responses: an error with the status it has over HTTP, and the fields that go with that; clients
//! take it for the answer to their request. Realtime: an error that names the client's event; most
//! errors there leave the session open.
//! <https://developers.openai.com/api/reference/resources/realtime/server-events>.

use std::future::poll_fn;
use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::session::Session;
use crate::llm::live::{Api, Event};
use crate::llm::providers::Format;
use crate::pipeline::exchange::Exchange;
use crate::pipeline::headers::CALL_ID;
use crate::pipeline::reject::Reject;
use crate::pipeline::wait::Settling;
use crate::record::CallId;

impl Session {
    /// Tells the client that a call is not made. The socket stays open.
    pub(super) async fn refuse(&self, mut exchange: Exchange, reject: &Reject, asked: &Event) {
        let told = reject.told();
        exchange.note(|record| {
            record.status.get_or_insert(told.status.as_u16());
            record.error = Some(reject.to_string());
        });
        let message = event(self.api, reject, asked, exchange.call_id());
        if let Some(answer) = exchange.settle(told.outcome, None) {
            let mut settling = Settling::new(answer, Arc::clone(&exchange.context.sink));
            poll_fn(|cx| settling.poll(cx)).await;
        }
        self.tell(&message);
    }
}

/// The error event of a refusal.
pub(super) fn event(api: Api, reject: &Reject, asked: &Event, call: Option<CallId>) -> String {
    let body: Value = serde_json::from_slice(&reject.body(Format::OpenAi)).unwrap_or_default();
    let mut fields = reject.headers();
    if let Some(call) = call.and_then(|call| call.to_string().parse().ok()) {
        fields.insert(CALL_ID, call);
    }
    let status = reject.told().status.as_u16();
    shaped(api, body["error"].clone(), asked, (status, &fields)).to_string()
}

/// The error event with which a response ends that may not go on.
pub(super) fn cut(api: Api, said: &Event, message: &str) -> String {
    let error = json!({
        "type": "rate_limit_exceeded",
        "code": "budget_exceeded",
        "message": message,
        "param": null,
    });
    shaped(api, error, said, (429, &HeaderMap::new())).to_string()
}

fn shaped(api: Api, mut error: Value, about: &Event, http: (u16, &HeaderMap)) -> Value {
    let (status, fields) = http;
    match api {
        Api::Responses => {
            let fields = fields.iter().filter_map(|(name, value)| {
                Some((name.as_str().to_owned(), value.to_str().ok()?.into()))
            });
            let mut event = json!({
                "type": "error",
                "status": status,
                "error": error,
                "headers": fields.collect::<Map<_, _>>(),
            });
            if let Some(stream) = &about.stream {
                event["stream_id"] = json!(&**stream);
            }
            event
        }
        Api::Realtime => {
            error["event_id"] = json!(about.id.as_deref());
            let id = format!("event_weir_{:016x}", fastrand::u64(..));
            json!({ "type": "error", "event_id": id, "error": error })
        }
    }
}
