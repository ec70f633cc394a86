//! The engine as calls meet it; tests are named after what they show or prevent.

use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;

use super::*;
use crate::llm::usage::NanoUsd;
use crate::policy::selector::Pattern;
use crate::policy::settings::{
    Cap, Guard, GuardAction, Limit, Loops, OnBreach, Over, Quantity, Rule as Set, Team, Watch,
};
use crate::policy::testing::{self, HOUR, MINUTE, bound, cap, daily_usd, per_minute, rule};
use crate::policy::{Amount, Denied, Reason, Verdict};
use crate::record::{Billing, Topic};

mod budgets;
mod restored;
mod further;
mod limits;
mod waits;
mod rollout;
mod hinge;
mod races;

/// A clock under the test's control: both kinds of time.
#[derive(Debug, Clone, Copy)]
struct Time(Now);

impl Time {
    #[expect(clippy::disallowed_methods, reason = "an instant can be had from the clock only")]
    fn noon() -> Self {
        let wall = "2026-11-22T12:00:00Z".parse::<Timestamp>().unwrap().into();
        Self(Now { mono: Instant::now(), wall })
    }

    fn pass(&mut self, time: Duration) {
        self.0.mono += time;
        self.0.wall += time;
    }
}

fn engine(rules: Vec<Set>) -> (Engine, Time) {
    let time = Time::noon();
    (Engine::new(Settings { rules, ..Settings::default() }, time.0), time)
}

fn limited(section: &str, name: &str, caps: &[Cap]) -> Set {
    let silent = Watch { alert_at: Vec::new(), forecast: false, spike_percent: None };
    let watch = (section == "budgets").then_some(silent);
    rule(section, name, Says::Limit(Limit { watch, ..testing::limit(caps) }))
}

fn with(section: &str, name: &str, limit: Limit) -> Set {
    rule(section, name, Says::Limit(limit))
}

fn agent(name: &str) -> Subject {
    testing::subject(&format!("exe:python3:{name}.py"), 1000, "alice")
}

fn passes(admission: Admission) -> Ticket {
    match admission.verdict {
        Verdict::Pass { ticket, .. } => ticket,
        other => panic!("not let through: {other:?}"),
    }
}

fn refused(admission: Admission) -> Denied {
    match admission.verdict {
        Verdict::Refuse(denied) => *denied,
        other => panic!("not refused: {other:?}"),
    }
}

/// Lets a call through and settles it at once.
fn spend(engine: &mut Engine, call: &Call<'_>, cost: i64, time: Time) -> Vec<Notice> {
    let ticket = passes(engine.admit(call, true, time.0));
    engine.settle(ticket, &cost_of(cost), time.0)
}

fn cost_of(cost: i64) -> Actual {
    Actual { sent: true, tokens: 1000, cost: Some(NanoUsd(cost)), failed: false }
}

fn actions(decisions: &[Decision]) -> String {
    let words: Vec<_> =
        decisions.iter().map(|said| format!("{} {}", said.rule, said.action)).collect();
    words.join(", ")
}
