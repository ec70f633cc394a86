//! Error budgets, latencies and spikes: from names and figures to rules.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::Check;
use super::limits::Known;
use crate::config::amount::Count;
use crate::config::problem::Trail;
use crate::config::raw::{Raw, RawErrorBudget, RawMatch, RawSla, RawSpikes, Short};
use crate::llm::call::Operation;
use crate::llm::usage::NanoUsd;
use crate::policy::settings::Per;
use crate::watch::settings::{
    ErrorBudget, MINIMUM_CALLS, Settings, Share, Sla, Spikes, WINDOW, Whom,
};

/// The keys for what no other rule of a section is about.
const REST: [&str; 2] = ["default", "*"];
/// Operations whose requests can be calls.
const OPERATIONS: [Operation; 9] = [
    Operation::Chat,
    Operation::Responses,
    Operation::Completions,
    Operation::Embeddings,
    Operation::Messages,
    Operation::Generate,
    Operation::Images,
    Operation::Audio,
    Operation::Realtime,
];
/// The usual longest time, in milliseconds.
const P95: u64 = 10_000;
/// The longest that can be held against.
const LONGEST: Duration = Duration::from_hours(1);

pub(super) fn settings(check: &mut Check<'_>, raw: &Raw) -> Settings {
    let root = Trail::default();
    let known = Known::new(raw);
    let budgets = root.key("error_budgets");
    let sla = root.key("sla");
    check.one_rest(&budgets, raw.error_budgets.keys());
    check.one_rest(&sla, raw.sla.keys());
    let mut settings = Settings::default();
    for (key, Short(rule)) in &raw.error_budgets {
        settings.budgets.extend(check.error_budget(key, rule, (&budgets.key(key), &known)));
    }
    for (key, Short(rule)) in &raw.sla {
        settings.sla.extend(check.sla(key, rule, (&sla.key(key), &known)));
    }
    settings.spikes = check.spikes(&raw.spikes, (&root.key("spikes"), &known));
    settings
}

impl Check<'_> {
    fn error_budget(
        &mut self,
        key: &str,
        raw: &RawErrorBudget,
        (trail, known): (&Trail, &Known),
    ) -> Option<ErrorBudget> {
        let whom = self.watched(key, raw.matching.as_ref(), (trail, known));
        let minimum = raw.minimum_calls.map_or(MINIMUM_CALLS, |Count(calls)| {
            let fits = (2..=WINDOW as u64).contains(&calls);
            u32::try_from(calls).ok().filter(|_| fits).unwrap_or_else(|| {
                self.problem(&trail.key("minimum_calls"), format!("must be 2 to {WINDOW}"));
                MINIMUM_CALLS
            })
        });
        let Some(target) = raw.target_percent else {
            let what = "needs `target_percent`, the share that may fail";
            self.missing(trail, &["target_percent"], what);
            return None;
        };
        let target = Share::of_millionths(target.0)?;
        Some(ErrorBudget {
            policy: format!("error_budgets.{key}").into(),
            task: (whom != Whom::Rest).then(|| Arc::from(key)),
            whom,
            target,
            minimum_calls: NonZeroU32::new(minimum)?,
        })
    }

    fn sla(&mut self, key: &str, raw: &RawSla, (trail, known): (&Trail, &Known)) -> Option<Sla> {
        let whom = self.watched(key, raw.matching.as_ref(), (trail, known));
        let p95 = Duration::from_millis(raw.p95_ms.map_or(P95, |Count(ms)| ms));
        if p95.is_zero() || p95 > LONGEST {
            let most = LONGEST.as_millis();
            self.problem(&trail.key("p95_ms"), format!("must be 1 to {most} milliseconds"));
            return None;
        }
        Some(Sla { policy: format!("sla.{key}").into(), whom, p95 })
    }

    fn spikes(&mut self, raw: &RawSpikes, (trail, known): (&Trail, &Known)) -> Option<Spikes> {
        if raw.factor.0 <= 100 {
            let what = "must be more than 1: an hour that costs what it always does is no spike";
            self.problem(&trail.key("factor"), what.to_owned());
        }
        let floor = raw.floor_usd.0;
        if floor == NanoUsd(0) {
            let what = "must be more than 0: without it, the first cent at night is a spike";
            self.problem(&trail.key("floor_usd"), what.to_owned());
        }
        // The key is none of a rule's: only the selector says whom.
        let whom = raw.matching.as_ref().and_then(|matching| {
            match self.watched("spikes", Some(matching), (trail, known)) {
                Whom::Selected(selector) => Some(selector),
                Whom::Rest | Whom::Operation(_) => None,
            }
        });
        raw.enabled.then_some(Spikes { percent: raw.factor.0, floor, whom })
    }

    /// Which calls a rule is about: all others, those of an operation, or as rules of limits have it.
    fn watched(
        &mut self,
        key: &str,
        matching: Option<&RawMatch>,
        (trail, known): (&Trail, &Known),
    ) -> Whom {
        let is_rest = REST.contains(&key);
        let operation = OPERATIONS.into_iter().find(|known| known.as_str() == key);
        if matching.is_some() && (is_rest || operation.is_some()) {
            let what = if is_rest {
                format!(
                    "`{key}` is about all other calls: a rule with a `match` needs another name"
                )
            } else {
                format!("`{key}` is an operation: a rule with a `match` needs another name")
            };
            self.problem(&trail.key("match"), what);
        }
        match operation {
            _ if is_rest => return Whom::Rest,
            Some(operation) => return Whom::Operation(Arc::from(operation.as_str())),
            None => {}
        }
        let (selector, per) = self.whom(key, (matching, None), (trail, known));
        if per != Per::All {
            let what = format!("`{key}`: each workload is watched by itself, write `default`");
            self.problem(trail, what);
        }
        if selector.hours.is_some() {
            let what = "says nothing here: a window of calls has no time of day".to_owned();
            self.problem(&trail.key("match").key("time_of_day"), what);
        }
        Whom::Selected(Box::new(selector))
    }

    /// Both keys mean the same.
    fn one_rest<'k>(&mut self, trail: &Trail, keys: impl Iterator<Item = &'k String>) {
        let rest: Vec<_> = keys.filter(|key| REST.contains(&key.as_str())).collect();
        if let [_, second] = &rest[..] {
            let what = format!("`{}` and `{}` mean the same calls", REST[0], REST[1]);
            self.problem(&trail.key(second), what);
        }
    }
}
