//! Alerts: from the configuration to what tells people, and what those who ask see of it.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context as _;
use jiff::Timestamp;

use super::agent::Running;
use crate::admin::alerts::{
    Deliveries, DeliveryQuery, DeliveryRow, DeliveryStatus, EscalationQuery, EscalationRate,
    EscalationRow, EscalationState, Escalations,
};
use crate::admin::{self, Failure, SCHEMA_VERSION};
use crate::alerts::settings::{Channel, Means, Settings};
use crate::alerts::{Alerts, Delivery, Escalation, Pace, Parts, State, Status, TestError, Worker};
use crate::clock::Clock;
use crate::config::{self, Config, SecretSource};

/// Opens what is kept. A channel whose secret cannot be read stays, and says so: budgets must hold
/// whether or not someone can be told.
pub(super) fn open(
    config: &Config,
    state: &Path,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<(Alerts, Worker)> {
    let settings = settings(&config.alerts);
    let parts = Parts { settings, clock, host: host(), pace: Pace::default() };
    let (alerts, worker) = Alerts::open(state, parts)
        .with_context(|| format!("alerts and escalations in {}", state.display()))?;
    for (channel, why) in alerts.broken() {
        tracing::error!(channel = &*channel, why, "an alert channel can tell nobody");
    }
    Ok((alerts, worker))
}

/// The name by which this machine is told from others.
pub(super) fn host() -> Arc<str> {
    rustix::system::uname().nodename().to_string_lossy().into()
}

/// With the secrets, read from where they are.
pub(super) fn settings(from: &config::Alerts) -> Settings<crate::secret::Secret> {
    let read = |means: &Means<SecretSource>| {
        means.read(SecretSource::read).map_err(|error| error.to_string())
    };
    let channel = |channel: &Channel<SecretSource>| Channel {
        name: Arc::clone(&channel.name),
        means: channel.means.as_ref().map_err(Clone::clone).and_then(read),
        template: channel.template.clone(),
        allow_private: channel.allow_private,
    };
    Settings { channels: from.channels.iter().map(channel).collect(), routes: from.routes.clone() }
}

impl admin::Alerts for Running {
    fn escalations(&self, query: &EscalationQuery) -> Result<Escalations, Failure> {
        let found = self.alerts.escalations(query.uid).into_iter();
        let wanted = |one: &Escalation| query.all || one.state != State::Resolved;
        let rate = query.uid.is_none().then(|| {
            let health = self.alerts.health(None);
            let rate = health.rate();
            EscalationRate { calls: health.calls, escalated: health.escalated, rate }
        });
        let rows = found.filter(wanted).map(escalation).collect();
        Ok(Escalations { schema_version: SCHEMA_VERSION, rows, rate })
    }

    fn set_escalation(
        &self,
        id: &str,
        state: EscalationState,
        by: Option<u32>,
    ) -> Result<Option<EscalationRow>, Failure> {
        let Ok(id) = ulid::Ulid::from_string(id) else { return Ok(None) };
        let state = match state {
            EscalationState::Open => State::Open,
            EscalationState::Acked => State::Acked,
            EscalationState::Resolved => State::Resolved,
        };
        let set = self.alerts.set_escalation(id, state, by);
        let set =
            set.map_err(|error| Failure::Unavailable(format!("it cannot be kept: {error}")))?;
        Ok(set.map(escalation))
    }

    fn deliveries(&self, query: &DeliveryQuery) -> Result<Deliveries, Failure> {
        let rows = self.alerts.deliveries(query.uid).iter().map(delivery).collect();
        Ok(Deliveries { schema_version: SCHEMA_VERSION, rows })
    }

    fn test_channel(&self, channel: &str) -> Result<DeliveryRow, Failure> {
        self.alerts.test(channel).map(|sent| delivery(&sent)).map_err(|error| match error {
            TestError::Unknown(_) => Failure::Refused {
                what: error.to_string(),
                fix: Some("see alerts.channels: weir config show".to_owned()),
            },
            TestError::Full(_) => Failure::Unavailable(error.to_string()),
        })
    }
}

fn at(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or_default()
}

fn escalation(from: Escalation) -> EscalationRow {
    EscalationRow {
        id: from.id.to_string(),
        at: at(from.at),
        last_at: at(from.last_at),
        count: from.count,
        policy: from.policy.to_string(),
        workload: from.subject.to_string(),
        uid: from.uid,
        class: from.class.map(|class| class.to_string()),
        call_id: from.call_id,
        message: from.message,
        state: match from.state {
            State::Open => EscalationState::Open,
            State::Acked => EscalationState::Acked,
            State::Resolved => EscalationState::Resolved,
        },
        by: from.by,
        changed_at: from.changed_at.map(at),
    }
}

fn delivery(from: &Delivery) -> DeliveryRow {
    DeliveryRow {
        id: from.id.to_string(),
        at: at(from.at),
        channel: from.channel.to_string(),
        topic: from.topic().to_owned(),
        policy: from.notice.policy.to_string(),
        subject: from.notice.subject.to_string(),
        message: from.notice.message.clone(),
        status: match from.status {
            Status::Queued => DeliveryStatus::Queued,
            Status::Delivered => DeliveryStatus::Delivered,
            Status::Dead => DeliveryStatus::Dead,
        },
        attempts: from.attempts,
        error: from.error.clone(),
        ended_at: from.ended_at.map(at),
    }
}
