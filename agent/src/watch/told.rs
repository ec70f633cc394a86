//! What people are told, in words.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::budget::Level;
use super::series::{Budget, Model, Owner, Task};
use super::spike::{Spike, Turn};
use super::{Key, ModelKey};
use crate::llm::usage::NanoUsd;
use crate::record::{CallId, Finding, Notice, Topic};

/// When something came to be so, and with which call; with none where it is not watched any more.
pub(super) type When = (SystemTime, Option<CallId>);

/// Where what was told is over.
const AGAIN: &str = ": well again";
/// The same where nobody goes on looking.
const UNWATCHED: &str = ": not watched any more";
/// The name of the one rule about spikes.
const SPIKES: &str = "spikes";

/// A task came to another level than `before`.
pub(super) fn task(
    key: &Key,
    (task, before): (&Task, Level),
    (at, call_id): When,
) -> Option<Notice> {
    let budget = task.budget.as_ref().filter(|_| task.level != before)?;
    let topic = match task.level {
        Level::Ok => Topic::ErrorBudgetRecovered,
        Level::Warning => Topic::ErrorBudgetThreshold,
        Level::Breached => Topic::ErrorBudgetExceeded,
    };
    let class = task.outcomes.mostly().filter(|_| task.level > before);
    let more = match class {
        Some(class) => format!(", most of them {class}"),
        None => over(call_id).to_owned(),
    };
    let message = format!("{}{more}", standing(key, task, budget));
    Some(Notice {
        at,
        topic,
        policy: Arc::clone(&budget.policy),
        subject: Arc::clone(&key.0),
        uid: task.owner.uid(),
        call_id,
        message,
        spent: None,
        limit: None,
        class: class.map(|class| Arc::from(class.word())),
        finding: Some(Finding {
            task: Some(Arc::clone(&key.1)),
            measured: rate(task),
            target: budget.target.to_string(),
        }),
    })
}

/// `exe:curl, task chat: 6 of its last 40 calls failed (15.0%), 300% of its error budget of 5%`.
pub(super) fn standing((workload, name): &Key, task: &Task, budget: &Budget) -> String {
    let (failed, calls) = (task.outcomes.failed(), task.outcomes.calls());
    let used = budget.target.used(failed, calls) * 100.0;
    format!(
        "{workload}, task {name}: {failed} of its last {calls} calls failed ({}), {used:.0}% of \
         its error budget of {}",
        rate(task),
        budget.target
    )
}

fn rate(task: &Task) -> String {
    let (failed, calls) = (task.outcomes.failed(), task.outcomes.calls().max(1));
    format!("{:.1}%", f64::from(failed) / f64::from(calls) * 100.0)
}

/// A model became too slow, or is so no more.
pub(super) fn model(
    (workload, name, _): &ModelKey,
    (model, before): (&Model, bool),
    (at, call_id): When,
) -> Option<Notice> {
    let (policy, limit) = model.sla.as_ref().filter(|_| model.breached != before)?;
    let topic = if model.breached { Topic::SlaBreached } else { Topic::SlaRecovered };
    let p95 = model.latencies.percentiles()?.p95;
    let more = if model.breached { "" } else { over(call_id) };
    Some(Notice {
        at,
        topic,
        policy: Arc::clone(policy),
        subject: Arc::clone(workload),
        uid: model.owner.uid(),
        call_id,
        message: latency((workload, name), p95, *limit) + more,
        spent: None,
        limit: None,
        class: None,
        finding: Some(Finding {
            task: Some(Arc::clone(name)),
            measured: seconds(p95),
            target: seconds(*limit),
        }),
    })
}

/// `exe:curl, model gpt-4o: P95 is 12.40s of 10.00s`.
pub(super) fn latency((workload, model): (&str, &str), p95: Duration, limit: Duration) -> String {
    format!("{workload}, model {model}: P95 is {} of {}", seconds(p95), seconds(limit))
}

fn over(call_id: Option<CallId>) -> &'static str {
    if call_id.is_some() { AGAIN } else { UNWATCHED }
}

fn seconds(span: Duration) -> String {
    match span {
        span if span < Duration::from_secs(1) => format!("{}ms", span.as_millis()),
        span => format!("{:.2}s", span.as_secs_f64()),
    }
}

/// A workload's spending became unusual, or usual again.
pub(super) fn spike(workload: &Arc<str>, owner: Owner, turn: Turn, at: SystemTime) -> Notice {
    let (topic, spike, more) = match turn {
        Turn::Began(spike) => (Topic::CostSpike, spike, ""),
        Turn::Ended(spike) => (Topic::CostSpikeOver, spike, AGAIN),
    };
    Notice {
        at,
        topic,
        policy: Arc::from(SPIKES),
        subject: Arc::clone(workload),
        uid: owner.uid(),
        call_id: None,
        message: spending(workload, &spike) + more,
        spent: None,
        limit: None,
        class: None,
        finding: Some(Finding {
            task: None,
            measured: format!("${}/h", cents(spike.rate)),
            target: format!("${}/h", cents(spike.usual)),
        }),
    }
}

/// `exe:curl spends $12.00 an hour, usually $1.00`.
pub(super) fn spending(workload: &str, spike: &Spike) -> String {
    format!("{workload} spends ${} an hour, usually ${}", cents(spike.rate), cents(spike.usual))
}

/// Rounded to the cent; below a dollar to the hundredth of one.
fn cents(amount: NanoUsd) -> NanoUsd {
    let unit = if amount.0.abs() < NanoUsd::DOLLAR.0 { 100_000 } else { 10_000_000 };
    NanoUsd(amount.0.saturating_add(unit / 2) / unit * unit)
}
