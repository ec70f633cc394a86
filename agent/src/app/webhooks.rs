//! Webhooks: from the configuration to what answers them, and what those who ask see of it.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::Timestamp;

use super::agent::Running;
use crate::admin::alerts::DeliveryStatus;
use crate::admin::money::{Tokens, Usd};
use crate::admin::webhooks::{CallbackRow, Inbound, PosterRow, RunQuery, RunRow, RunStatus, Runs};
use crate::admin::{Failure, SCHEMA_VERSION};
use crate::alerts::{self, Dial, Pace};
use crate::config::{Config, SecretSource};
use crate::downstream::Front;
use crate::webhooks::{Callback, Called, Parts, Run, Status, Webhooks};

/// Makes them. Nothing is answered before the listener is open, nothing taken up before they run.
pub(super) fn open(config: &Config, state: &Path, front: &Front, dial: Dial) {
    let parts = Parts {
        settings: config.webhooks.read(SecretSource::read),
        rules: Arc::clone(&front.rules),
        pool: Arc::clone(&front.upstream.pool),
        sink: Arc::clone(&front.sink),
        clock: Arc::clone(&front.runtime.clock),
        drain: front.runtime.drain.clone(),
        dial,
        pace: Pace::default(),
    };
    let webhooks = front.webhooks.get_or_init(|| Arc::new(Webhooks::new(state, parts)));
    complain(webhooks);
}

/// What was taken before is known before the first request is answered.
pub(super) async fn remember(front: &Front) {
    let Some(webhooks) = front.webhooks.get().cloned() else { return };
    let remembering = front.runtime.drain.spawn_blocking(move || webhooks.remember_all());
    match remembering.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "deliveries to webhooks cannot be read"),
        Err(_) => tracing::error!("webhooks: reading what was taken before panicked"),
    }
}

/// Takes up what is there, from here on.
pub(super) fn begin(front: &Front) {
    if let Some(webhooks) = front.webhooks.get() {
        front.runtime.drain.spawn(Arc::clone(webhooks).run());
    }
}

/// Takes another configuration over.
pub(super) fn replace(config: &Config, front: &Front) {
    if let Some(webhooks) = front.webhooks.get() {
        webhooks.replace(config.webhooks.read(SecretSource::read));
        complain(webhooks);
    }
}

fn complain(webhooks: &Webhooks) {
    for (webhook, why) in webhooks.broken() {
        tracing::error!(webhook = &*webhook, why, "a webhook cannot be called: no secret");
    }
}

impl Inbound for Running {
    fn runs(&self, query: &RunQuery) -> Result<Runs, Failure> {
        let Some(webhooks) = self.front.webhooks.get() else {
            return Err(Failure::Unavailable("the agent is starting".to_owned()));
        };
        let found = webhooks.runs(query.uid);
        let found = found.map_err(|error| {
            Failure::Unavailable(format!("deliveries to webhooks cannot be read: {error}"))
        })?;
        let rows = found.iter().map(run).collect();
        Ok(Runs { schema_version: SCHEMA_VERSION, rows })
    }
}

fn at(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or_default()
}

fn run(from: &Run) -> RunRow {
    let call = from.call.as_ref();
    let poster = &from.poster;
    RunRow {
        id: from.id.to_string(),
        at: at(from.at),
        webhook: from.webhook.to_string(),
        workload: format!("webhook:{}", from.webhook),
        poster: PosterRow {
            pid: poster.pid,
            exe: poster.exe.to_string(),
            uid: poster.uid,
            user: poster.user.as_deref().map(str::to_owned),
        },
        status: match from.status {
            Status::Queued => RunStatus::Queued,
            Status::Running => RunStatus::Running,
            Status::Ok => RunStatus::Ok,
            Status::Refused => RunStatus::Refused,
            Status::Failed => RunStatus::Failed,
            Status::Interrupted => RunStatus::Interrupted,
        },
        call_id: call.map(|call| call.call_id),
        model: call.and_then(|call| call.model.as_deref().map(str::to_owned)),
        tokens: call.map(|Called { usage, .. }| Tokens::from(*usage)),
        cost_usd: call.and_then(|call| call.cost).map(Usd),
        error: from.error.clone(),
        callback: from.callback.as_ref().map(callback),
        ended_at: from.ended_at.map(at),
    }
}

fn callback(from: &Callback) -> CallbackRow {
    CallbackRow {
        status: match from.status {
            alerts::Status::Queued => DeliveryStatus::Queued,
            alerts::Status::Delivered => DeliveryStatus::Delivered,
            alerts::Status::Dead => DeliveryStatus::Dead,
        },
        attempts: from.attempts,
        error: from.error.clone(),
        ended_at: from.ended_at.map(at),
    }
}
