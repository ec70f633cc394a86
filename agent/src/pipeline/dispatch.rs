//! Asking the provider.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response};

use super::{Exchange, Reject};
use crate::record::Outcome;
use crate::upstream::Outgoing;

/// Sends the request and waits for the head of the answer.
pub async fn send(
    exchange: &mut Exchange,
    request: Request<Outgoing>,
) -> Result<Response<Incoming>, Reject> {
    exchange.attempt();
    // Ends with the last byte of the response, or with the call.
    exchange.wait_begins();
    let context = Arc::clone(&exchange.context);
    let response = context.link.send(request).await.inspect_err(|failure| {
        let unsent = failure.is_unsent();
        exchange.note(|record| {
            if let Some(attempt) = record.attempts.last_mut().filter(|_| unsent) {
                attempt.outcome = Outcome::ConnectError;
            }
        });
    })?;
    exchange.claim = None;
    let status = response.status().as_u16();
    exchange.note(|record| {
        record.status = Some(status);
        if let Some(attempt) = record.attempts.last_mut() {
            attempt.status = Some(status);
        }
    });
    Ok(response)
}
