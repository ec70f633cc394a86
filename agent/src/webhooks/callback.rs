//! The callback: what a delivery came to, posted to where its webhook says.
//!
//! It goes the way of alerts: addresses are looked at before they are dialled, redirects are not
//! followed, what fails is tried again under the same id, and given up in the end. Each attempt is
//! signed anew with the time it is made at.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinError;

use super::lane::Lane;
use super::run::{Callback, Run};
use super::signature::{Key, SIGNATURE, TIMESTAMP};
use super::{Counted, Webhooks};
use crate::alerts::Status;
use crate::alerts::delivery::{Again, Failed};
use crate::alerts::post;

/// The delivery's id.
const ID: HeaderName = HeaderName::from_static("x-webhook-id");
/// The same id under the name that receivers know for "take this once".
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How every callback of a webhook begins. A request that begins so is none: whoever has seen a
/// callback, which is signed with the same secret, could otherwise post it to the webhook itself.
pub(super) fn beginning(webhook: &str) -> String {
    format!("{{\"webhook\":\"{webhook}\",\"delivery_id\":\"")
}

/// What is posted.
pub(super) fn body(run: &Run, content: Option<&str>) -> Bytes {
    let call = run.call.as_ref();
    let usage = call.map(|call| {
        let usage = &call.usage;
        json!({
            "input_tokens": usage.input,
            "cache_read_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write_5m.saturating_add(usage.cache_write_1h),
            "output_tokens": usage.output,
            "reasoning_tokens": usage.reasoning,
            "total_tokens": usage.total(),
        })
    });
    let rest = json!({
        "call_id": call.map(|call| call.call_id.to_string()),
        "status": run.status.word(),
        "model": call.and_then(|call| call.model.as_deref()),
        "content": content,
        "usage": usage,
        "cost_usd": call.and_then(|call| call.cost).map(|cost| cost.to_string()),
        "error": run.error,
    });
    // The beginning is not left to the order in which a map is written.
    let rest = rest.to_string();
    let rest = rest.strip_prefix('{').unwrap_or(&rest);
    format!("{}{}\",{rest}", beginning(&run.webhook), run.id).into()
}

impl Webhooks {
    /// Lets an answer be posted, in a task of its own.
    pub(super) fn post(self: &Arc<Self>, run: Run, body: Bytes) {
        let webhooks = Arc::clone(self);
        let lane = self.lane(&run.webhook);
        let place = lane.as_ref().and_then(Lane::callback);
        self.means.drain.spawn(async move {
            match (lane, place) {
                (Some(lane), Some(place)) => webhooks.deliver(run, body, (lane, place)).await,
                (Some(_), None) => {
                    let why = "too many callbacks of this webhook wait".to_owned();
                    webhooks.posted(run, Status::Dead, Some(why)).await;
                }
                (None, _) => {
                    let why = "the webhook is no longer configured".to_owned();
                    webhooks.posted(run, Status::Dead, Some(why)).await;
                }
            }
        });
    }

    /// Tries until it is delivered or given up; or until the agent stops, and then it stays queued.
    async fn deliver(
        self: &Arc<Self>,
        mut run: Run,
        body: Bytes,
        (lane, _place): (Lane, OwnedSemaphorePermit),
    ) {
        let (pace, drain) = (self.pace, self.means.drain.clone());
        for number in next(&run, pace.attempts)..=pace.attempts {
            let told = tokio::select! {
                biased;
                told = self.attempt(&run, &body, &lane) => told,
                () = drain.hurried() => return,
            };
            let callback = run.callback.get_or_insert_with(Callback::queued);
            callback.attempts = callback.attempts.saturating_add(1);
            let Err(failed) = told else {
                return self.posted(run, Status::Delivered, None).await;
            };
            if failed.again == Again::Never || number == pace.attempts {
                return self.posted(run, Status::Dead, Some(failed.what)).await;
            }
            self.count(&run.webhook, Counted::Callback, "retried");
            callback.error = Some(failed.what);
            let (keeping, kept) = (Arc::clone(self), run.clone());
            complain(drain.spawn_blocking(move || keeping.spool.put(&kept)).await);
            tokio::select! {
                () = tokio::time::sleep(pace.wait(number, failed.again, fastrand::f64())) => {}
                () = drain.signalled() => return,
            }
        }
    }

    async fn attempt(&self, run: &Run, body: &Bytes, lane: &Lane) -> Result<(), Failed> {
        // Never closed.
        let Ok(_turn) = lane.posts.acquire().await else {
            return Err(Failed::later("the agent stops"));
        };
        // As it is set now: a secret may have been replaced, or the receiver have moved.
        let gone = || Failed::never("the webhook no longer has a callback");
        let definition = self.definition(&run.webhook).ok_or_else(gone)?;
        let callback = definition.callback.as_ref().ok_or_else(gone)?;
        let unset = |why: &String| Failed::never(why.clone());
        let url = callback.url.as_ref().map_err(unset)?;
        let key = Key::new(definition.secret.as_ref().map_err(unset)?);
        let now = self.means.clock.now().wall.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = now.unwrap_or_default().as_secs();
        let unfit = |_| Failed::never("its headers cannot be written");
        let id = HeaderValue::from_str(&run.id.to_string()).map_err(unfit)?;
        let signature = HeaderValue::from_str(&key.sign(seconds, body)).map_err(unfit)?;
        let mut headers = HeaderMap::new();
        headers.insert(ID, id.clone());
        headers.insert(IDEMPOTENCY_KEY, id);
        headers.insert(TIMESTAMP, HeaderValue::from(seconds));
        headers.insert(SIGNATURE, signature);
        let posting = post::json(&self.dial, url, (headers, body.clone()), callback.allow_private);
        match tokio::time::timeout(self.pace.timeout, posting).await {
            Ok(told) => told,
            Err(_elapsed) => {
                Err(Failed::later(format!("no answer within {:?}", self.pace.timeout)))
            }
        }
    }

    /// The end of a callback.
    async fn posted(self: &Arc<Self>, mut run: Run, status: Status, error: Option<String>) {
        self.count(&run.webhook, Counted::Callback, status.word());
        if let Some(why) = &error {
            tracing::warn!(webhook = &*run.webhook, id = %run.id, why, "a callback was given up");
        }
        let callback = run.callback.get_or_insert_with(Callback::queued);
        callback.status = status;
        callback.error = error.or_else(|| callback.error.take());
        callback.ended_at = Some(self.means.clock.now().wall);
        let keeping = Arc::clone(self);
        let kept = move || keeping.spool.posted(&run);
        complain(self.means.drain.spawn_blocking(kept).await);
    }
}

/// The number of the next attempt: those before a restart count.
fn next(run: &Run, most: u32) -> u32 {
    let made = run.callback.as_ref().map_or(0, |callback| callback.attempts);
    made.saturating_add(1).min(most)
}

fn complain(kept: Result<io::Result<()>, JoinError>) {
    if let Ok(Err(error)) = kept {
        tracing::error!(%error, "how a callback stands cannot be kept");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;
    use ulid::Ulid;

    use super::*;
    use crate::llm::usage::{NanoUsd, Usage};
    use crate::record::CallId;
    use crate::subject::Process;
    use crate::webhooks::run::{self, Callback};

    fn run() -> Run {
        let poster = Process {
            pid: 0,
            start_ticks: 0,
            exe: Arc::from(""),
            command: Arc::from(""),
            uid: 0,
            user: None,
            verified: true,
        };
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let name = Arc::from("a-b_C9");
        Run::new((Ulid::from_parts(1, 2), at), &name, poster, ([0; 16], at))
    }

    #[test]
    fn attempts_go_on_where_they_were() {
        let mut run = run();
        assert_eq!(next(&run, 8), 1);
        for (made, expected) in [(0, 1), (5, 6), (7, 8), (8, 8)] {
            run.callback = Some(Callback { attempts: made, ..Callback::queued() });
            assert_eq!(next(&run, 8), expected, "after {made}");
        }
    }

    #[test]
    fn a_callback_says_all_and_begins_as_no_request_may() {
        let mut run = run();
        run.status = run::Status::Ok;
        run.call = Some(run::Called {
            call_id: CallId(Ulid::from_parts(3, 4)),
            model: Some(Arc::from("gpt-4o-mini")),
            usage: Usage { input: 10, output: 5, cache_write_5m: 1, ..Usage::default() },
            cost: Some(NanoUsd(14_500_000)),
        });
        let text = body(&run, Some("say \"hi\""));
        assert!(text.starts_with(beginning("a-b_C9").as_bytes()));
        let document: Value = serde_json::from_slice(&text).unwrap();
        let expected = json!({
            "webhook": "a-b_C9",
            "delivery_id": Ulid::from_parts(1, 2).to_string(),
            "call_id": Ulid::from_parts(3, 4).to_string(),
            "status": "ok",
            "model": "gpt-4o-mini",
            "content": "say \"hi\"",
            "usage": {
                "input_tokens": 10, "cache_read_tokens": 0, "cache_write_tokens": 1,
                "output_tokens": 5, "reasoning_tokens": 0, "total_tokens": 16,
            },
            "cost_usd": "0.0145",
            "error": null,
        });
        assert_eq!(document, expected);
    }
}
