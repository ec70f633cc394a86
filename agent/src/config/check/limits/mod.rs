//! Limits, budgets and guardrails: from names and figures to rules.

mod whom;
mod caps;
mod guards;
mod standard;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;

pub(super) use self::whom::Known;
use super::Check;
use crate::config::problem::{Problem, Trail, did_you_mean};
use crate::config::raw::{Raw, RawTeam, UnknownPrice};
use crate::llm::usage::NanoUsd;
use crate::policy::settings::{self, Team};
use crate::policy::{Enforcement, Settings};

/// What a million tokens of a model without a price are taken to cost under `assume-max`: as much
/// as those of the dearest model of the catalogue (`o1-pro`; a test holds this against it).
const DEAREST: (NanoUsd, NanoUsd) = (NanoUsd(150_000_000_000), NanoUsd(600_000_000_000));

pub(super) fn settings(check: &mut Check<'_>, raw: &Raw) -> Settings {
    let root = Trail::default();
    let known = Known::new(raw);
    let mut rules = Vec::new();
    for (key, guard) in &raw.guardrails {
        let trail = root.key("guardrails").key(key);
        rules.extend(check.guardrail(key, guard, (&trail, &known)));
    }
    for (key, budget) in &standard::budgets(raw) {
        let trail = root.key("budgets").key(key);
        rules.extend(check.budget(key, budget, (&trail, &known)));
    }
    for (key, limit) in &standard::rate_limits(raw) {
        let trail = root.key("rate_limits").key(key);
        rules.extend(check.rate_limit(key, limit, (&trail, &known)));
    }
    rules.extend(check.loops(&raw.loop_protection, (&root.key("loop_protection"), &known)));
    Settings {
        teams: check.teams(&raw.teams),
        rules,
        unknown_price: match raw.unknown_price {
            UnknownPrice::AllowAndFlag => settings::UnknownPrice::AllowAndFlag,
            UnknownPrice::Deny => settings::UnknownPrice::Deny,
            UnknownPrice::AssumeMax => {
                settings::UnknownPrice::AssumeMax { input: DEAREST.0, output: DEAREST.1 }
            }
        },
        zone: check.zone(&raw.timezone, &root.key("timezone")),
    }
}

impl Check<'_> {
    /// A problem with a name that may be misspelt.
    pub(in crate::config::check) fn unknown<'n>(
        &mut self,
        trail: &Trail,
        (name, what): (&str, String),
        known: impl IntoIterator<Item = &'n str>,
    ) {
        self.problem(trail, what);
        if let Some(Problem { hint, .. }) = self.problems.last_mut() {
            *hint = did_you_mean(name, known);
        }
    }

    fn zone(&mut self, name: &str, trail: &Trail) -> TimeZone {
        if name == "local" {
            return TimeZone::system();
        }
        TimeZone::get(name).unwrap_or_else(|_| {
            let what = format!(
                "`{name}` is no time zone of this host: write `Europe/Berlin`, `UTC` or `local`"
            );
            self.problem(trail, what);
            TimeZone::UTC
        })
    }

    fn teams(&mut self, raw: &BTreeMap<String, RawTeam>) -> Vec<Team> {
        let mut taken: BTreeMap<(&str, &str), &str> = BTreeMap::new();
        let mut teams = Vec::new();
        for (name, team) in raw {
            let trail = Trail::default().key("teams").key(name);
            let label = self.name(name, &trail);
            self.missing(&trail, &["workloads", "users"], "has neither workloads nor users");
            for (kind, members) in [("workloads", &team.workloads), ("users", &team.users)] {
                for (at, member) in self.items(&trail.key(kind), members) {
                    match taken.get(&(kind, member)) {
                        Some(first) if *first == name => {
                            self.problem(&at, format!("`{member}` is given twice"));
                        }
                        Some(first) => {
                            self.problem(&at, format!("`{member}` is in team `{first}` already"));
                        }
                        None if member.is_empty() => self.problem(&at, "is empty".to_owned()),
                        None => {
                            taken.insert((kind, member), name);
                        }
                    }
                }
            }
            let shared = |names: &[String]| names.iter().map(|name| Arc::from(&**name)).collect();
            teams.push(Team {
                name: label,
                workloads: shared(&team.workloads),
                users: shared(&team.users),
            });
        }
        teams
    }
}

fn enforcement(raw: Option<crate::config::amount::Enforcement>) -> Enforcement {
    raw.map_or(Enforcement::Enforce, |raw| raw.0)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use crate::llm::price::Prices;

    #[test]
    fn p3_the_dearest_price_known_is_no_dearer_than_what_is_assumed() {
        let prices = Prices::embedded();
        let dollars = |rate: Option<crate::llm::price::Rate>| {
            let shown = rate.map(|rate| serde_json::to_value(rate).unwrap());
            shown.map_or(0.0, |shown| match shown {
                serde_json::Value::String(text) => text.parse().unwrap(),
                other => other.as_f64().unwrap(),
            })
        };
        let mut dearest = (0.0_f64, 0.0_f64);
        for listed in prices.models() {
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_795_000_000);
            let Some(rates) = prices.rates(listed.provider, listed.model, at) else { continue };
            dearest.0 = dearest.0.max(dollars(rates.base.input));
            dearest.1 = dearest.1.max(dollars(rates.base.output));
        }
        let assumed = |of: super::NanoUsd| of.to_string().parse::<f64>().unwrap();
        assert!(dearest.0 <= assumed(super::DEAREST.0), "{dearest:?}");
        assert!(dearest.1 <= assumed(super::DEAREST.1), "{dearest:?}");
    }
}
