//! Counting a prompt, where a call near a limit hangs on it.
//!
//! Policies are asked with a bound made from bytes, which costs nothing. Only a call that would not
//! pass with it, and might with fewer tokens, is worth a tokenizer's work, which goes on beside the
//! threads that serve connections and is bounded in size, number and time.

use std::sync::Arc;
use std::time::Duration;

use hyper::Request;

use super::Exchange;
use crate::llm::tokens::{self, Counted, Encoding, MOST};
use crate::upstream::Outgoing;

/// How long a call waits to be counted; the vocabulary's first use is the longest part of it.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether the input of a call is bounded from bytes, and could be counted instead. Where more is
/// read than the body holds there is nothing to count.
pub(super) fn is_countable(exchange: &Exchange, request: &Request<Outgoing>) -> bool {
    let Some(ask) = &exchange.ask else { return false };
    let whole = matches!(request.body(), Outgoing::Whole(_));
    whole && !ask.input_open && encoding(exchange).is_some()
}

/// Counts the prompt. Where that cannot be done the bound stays what it was; the record says either.
pub(super) async fn count(exchange: &mut Exchange, request: &Request<Outgoing>) {
    let (Outgoing::Whole(body), Some(encoding)) = (request.body(), encoding(exchange)) else {
        return;
    };
    let most = exchange.ask.as_ref().map_or(0, |ask| ask.input_estimate);
    let counted = if body.len() > MOST {
        Err(format!("not counted, the bytes' {most} tokens stand: the body is over {MOST} bytes"))
    } else {
        let counting = within_patience(exchange, encoding, body.clone()).await;
        counting.map_err(|why| format!("not counted, the bytes' {most} tokens stand: {why}"))
    };
    match counted {
        Ok(counted) => {
            let detail = format!("counted {} tokens (bytes said at most {most})", counted.tokens);
            exchange.decide("tokens", "count".to_owned(), detail);
            if let Some(ask) = &mut exchange.ask {
                ask.counted = Some(counted);
            }
        }
        Err(why) => exchange.decide("tokens", "skip".to_owned(), why),
    }
}

async fn within_patience(
    exchange: &Exchange,
    encoding: Encoding,
    body: bytes::Bytes,
) -> Result<Counted, &'static str> {
    let counting = async {
        // Never closed: it lives as long as the policies do.
        let counting = Arc::clone(&exchange.rules.policies.counting);
        let permit = counting.acquire_owned().await.ok();
        let work = move || {
            let counted = tokens::count(encoding, &body);
            // Held by the work itself, which goes on where nobody waits for it any more.
            drop(permit);
            counted
        };
        let counted = exchange.context.drain.spawn_blocking(work).await;
        counted.ok().flatten().ok_or("it has parts that cannot be")
    };
    tokio::time::timeout(PATIENCE, counting).await.unwrap_or(Err("too many others are being"))
}

fn encoding(exchange: &Exchange) -> Option<Encoding> {
    let model = exchange.ask.as_ref()?.model.as_deref()?;
    Encoding::of(&exchange.context.parties.provider, model)
}
