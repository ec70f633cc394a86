//! Another configuration while calls go on: read whole, checked whole, and taken over at once or
//! not at all.
//!
//! Everything that can fail is made before anything is changed. What is replaced then is replaced
//! in an order in which a call that comes in between finds a way: how providers are verified, the
//! snapshot of all calls together with the limits, and last where the kernel leads connections.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::agent::Running;
use super::{alerts, restore, rules, service, telemetry, webhooks};
use crate::admin::SCHEMA_VERSION;
use crate::admin::reload::Reloaded;
use crate::config::{self, Change, Effective, OnUntrusted, Problem};
use crate::pipeline::Rules;
use crate::record::Sink as _;
use crate::upstream::Tls;

/// What is made of a configuration before it takes effect.
struct Ready {
    rules: Rules,
    tls: Tls,
}

impl Running {
    /// Reads the configuration again and takes it over. Blocks on files and the ledger.
    pub(super) fn take_config(&self) -> Reloaded {
        // One at a time: the second sees what the first has taken.
        let mut held = self.config.lock();
        service::reloading();
        let read = config::effective(&self.paths).map_err(|problems| problems.0);
        let done = read.and_then(|new| {
            let changes = held.changes(&new);
            let taken = held.taking(new);
            let ready = self.prepare(&taken).map_err(|error| vec![problem(&error)])?;
            self.put_into_effect(&taken, ready);
            *held = taken;
            Ok(changes)
        });
        let done = match done {
            Ok(changes) => taken_over(changes, &held),
            Err(problems) => refused(problems),
        };
        self.metrics.reloaded(done.ok, self.front.runtime.clock.now().wall);
        drop(held);
        service::ready(&service::status(self));
        self.teller.config(&done);
        told(&done);
        done
    }

    /// All that may fail, changing nothing.
    fn prepare(&self, new: &Effective) -> anyhow::Result<Ready> {
        let now = self.front.rules.load();
        let config = &new.config;
        let rules = rules::rules(config, Arc::clone(&now.policies), now.room.clone())?;
        let leaves = self.front.client.leaves.as_ref();
        let root = leaves.map(|leaves| leaves.authority().root().certificate());
        Ok(Ready { rules, tls: rules::tls(config, root)? })
    }

    fn put_into_effect(&self, new: &Effective, Ready { rules, tls }: Ready) {
        let (config, front) = (&new.config, &self.front);
        let policies = Arc::clone(&rules.policies);
        // What new limits have to know of is at hand when they begin to act.
        let asked = front.runtime.clock.now();
        let horizon = policies.engine.lock().horizon_of(&config.policy, asked);
        let spent = horizon.map(|since| restore::spent(&self.ledger, since, asked));

        let (hosts, networks) = rules::wanted(config, &rules.providers);
        front.upstream.pool.verify_by(tls);
        let now = front.runtime.clock.now();
        let settings = (config.policy.clone(), config.reliability.clone());
        policies.replace(settings, now, || front.rules.store(Arc::new(rules)));
        self.toggles.apply(&policies);
        restore::count(&policies, &spent.unwrap_or_default(), now);

        self.alerts.replace(alerts::settings(&config.alerts));
        for notice in self.takers.watched().replace(&config.watching, now.wall) {
            self.takers.notice(notice);
        }
        for (channel, why) in self.alerts.broken() {
            tracing::error!(channel = &*channel, why, "an alert channel can tell nobody");
        }
        webhooks::replace(config, front);
        self.telemetry.replace(telemetry::state(config, front));
        let block = config.on_untrusted == OnUntrusted::Block;
        front.client.block_untrusted.store(block, Relaxed);
        if let Some(kernel) = &self.kernel {
            kernel.want(hosts, networks);
        }
        self.modes.take(config.mode);
        self.log.configure(config.log.level);
    }
}

fn problem(error: &anyhow::Error) -> Problem {
    Problem { place: None, path: String::new(), what: format!("{error:#}"), hint: None }
}

fn taken_over(changes: Vec<Change>, held: &Effective) -> Reloaded {
    let (needs_restart, changes) = changes.into_iter().partition(Change::needs_restart);
    let warnings = held.config.warnings.iter().map(ToString::to_string).collect();
    let (ok, problems) = (true, Vec::new());
    Reloaded { schema_version: SCHEMA_VERSION, ok, problems, changes, needs_restart, warnings }
}

fn refused(problems: Vec<Problem>) -> Reloaded {
    Reloaded {
        schema_version: SCHEMA_VERSION,
        ok: false,
        problems,
        changes: Vec::new(),
        needs_restart: Vec::new(),
        warnings: Vec::new(),
    }
}

/// The same for the log: whoever sent a signal reads it there.
fn told(done: &Reloaded) {
    for problem in &done.problems {
        tracing::error!("configuration: {problem}");
    }
    for change in &done.changes {
        tracing::info!("configuration: {change}");
    }
    for change in &done.needs_restart {
        tracing::warn!("configuration: needs a restart: {change}");
    }
    for warning in &done.warnings {
        tracing::warn!("configuration: {warning}");
    }
    match (done.ok, done.changes.len()) {
        (false, _) => tracing::error!("the configuration has problems: the old one holds"),
        (true, 0) => tracing::info!("configuration read again: nothing new"),
        (true, count) => tracing::info!(count, "configuration taken over"),
    }
}
