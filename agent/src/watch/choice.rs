//! Which rules a call falls under. Selectors are asked once for calls of one kind: what they said
//! is kept by a hash of all they can ask for. The hash has a key of its own in every process, so
//! that nobody can choose names that meet in it.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;

use super::seen::Seen;
use super::settings::{Settings, Whom};
use crate::policy::selector::Selector;

/// Kinds of calls remembered; then all are forgotten, for they are quickly asked about again.
const MOST: usize = 16_384;

/// The rules that a call falls under, by their places in the settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) budget: Option<usize>,
    pub(super) sla: Option<usize>,
    pub(super) spikes: bool,
}

/// Choices made before.
#[derive(Debug, Default)]
pub(super) struct Choices {
    made: HashMap<u64, Choice>,
    hasher: RandomState,
}

impl Choices {
    pub(super) fn of(&mut self, seen: &Seen<'_>, settings: &Settings) -> Choice {
        if settings.budgets.is_empty() && settings.sla.is_empty() {
            // Most configurations: nothing needs remembering.
            match &settings.spikes {
                None => return Choice::default(),
                Some(spikes) if spikes.whom.is_none() => {
                    return Choice { spikes: true, ..Choice::default() };
                }
                Some(_) => {}
            }
        }
        let hash = self.hasher.hash_one(seen.facts());
        if let Some(choice) = self.made.get(&hash) {
            return *choice;
        }
        let choice = choose(seen, settings);
        if self.made.len() >= MOST {
            self.made.clear();
        }
        self.made.insert(hash, choice);
        choice
    }

    /// The rules have changed.
    pub(super) fn clear(&mut self) {
        self.made.clear();
    }
}

fn choose(seen: &Seen<'_>, settings: &Settings) -> Choice {
    let budgets = settings.budgets.iter().map(|rule| (&rule.whom, rule.target));
    let sla = settings.sla.iter().map(|rule| (&rule.whom, rule.p95));
    Choice {
        budget: strictest(seen, budgets, listed(seen, settings)),
        sla: strictest(seen, sla, listed(seen, settings)),
        spikes: settings.spikes.as_ref().is_some_and(|spikes| {
            spikes.whom.as_ref().is_none_or(|whom| selects(whom, seen, false))
        }),
    }
}

/// Of those that mean the call the one with the smallest limit; of those for all others the
/// smallest only where none means it.
fn strictest<'r, T: Ord>(
    seen: &Seen<'_>,
    rules: impl Iterator<Item = (&'r Whom, T)>,
    listed: bool,
) -> Option<usize> {
    let meant = rules.enumerate().filter_map(|(place, (whom, limit))| {
        let is_rest = match whom {
            Whom::Rest => true,
            Whom::Operation(operation) => (**operation == **seen.operation).then_some(false)?,
            Whom::Selected(selector) => selects(selector, seen, listed).then_some(false)?,
        };
        Some((is_rest, limit, place))
    });
    meant.min().map(|(.., place)| place)
}

/// Whether a rule lists the workload, so that it goes by no other name.
fn listed(seen: &Seen<'_>, settings: &Settings) -> bool {
    let stems = seen.subject.workload.stems();
    let budgets = settings.budgets.iter().map(|rule| &rule.whom);
    let mut all = budgets.chain(settings.sla.iter().map(|rule| &rule.whom));
    all.any(|whom| match whom {
        Whom::Selected(selector) => selector.lists(seen.workload(), &stems),
        Whom::Rest | Whom::Operation(_) => false,
    })
}

fn selects(selector: &Selector, seen: &Seen<'_>, listed: bool) -> bool {
    selector.selects(&seen.call(), seen.team, listed)
}
