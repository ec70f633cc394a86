//! Calls translated between formats: requests, answers, errors and streams, by golden cases and by
//! properties; and the grammar of streams on what real providers send.

mod requests;
mod answers;
mod streams;
mod arbitrary;

use agent::llm::translate::{Feature, Plan, Refused, Wire, request_at};
use serde_json::Value;

/// A request translated, as JSON.
fn sent(from: Wire, to: Wire, model: &str, body: &Value) -> Result<Value, Refused> {
    allowing(from, to, model, &[], body)
}

fn allowing(
    from: Wire,
    to: Wire,
    model: &str,
    allow_loss: &[Feature],
    body: &Value,
) -> Result<Value, Refused> {
    let plan = Plan { from, to, model, allow_loss };
    let sent = request_at(&plan, "", body.to_string().as_bytes())?;
    Ok(serde_json::from_slice(&sent.body).unwrap())
}

/// What is refused as lost.
fn lost(from: Wire, to: Wire, model: &str, body: &Value) -> Vec<Feature> {
    match sent(from, to, model, body) {
        Ok(_) => Vec::new(),
        Err(Refused::Loses(lost)) => lost,
        Err(other) => panic!("{other}"),
    }
}
