//! Whom a rule is about: its key, and the `match` beside it.

use std::collections::BTreeSet;

use super::Check;
use crate::config::amount::Words;
use crate::config::problem::Trail;
use crate::config::raw::{Raw, RawMatch, RawPer};
use crate::llm::providers::Providers;
use crate::policy::selector::{Pattern, Selector};
use crate::policy::settings::Per;

/// What stands before the colon of a key.
const KINDS: [&str; 15] = [
    "workload",
    "unit",
    "exe",
    "container",
    "user",
    "team",
    "env",
    "environment",
    "model",
    "provider",
    "app",
    "pod",
    "user-unit",
    "user-container",
    "webhook",
];

/// Names that rules may refer to.
pub(in crate::config::check) struct Known {
    teams: BTreeSet<String>,
    providers: BTreeSet<String>,
    pub(super) tiers: BTreeSet<String>,
}

impl Known {
    pub(in crate::config::check) fn new(raw: &Raw) -> Self {
        let builtin = Providers::builtin();
        let builtin = builtin.iter().map(|provider| provider.name.to_string());
        Self {
            teams: raw.teams.keys().cloned().collect(),
            providers: builtin.chain(raw.providers.keys().cloned()).collect(),
            tiers: raw.tiers.keys().cloned().collect(),
        }
    }
}

impl Check<'_> {
    /// The calls a rule is about and who shares a counter.
    pub(in crate::config::check) fn whom(
        &mut self,
        key: &str,
        (matching, per): (Option<&RawMatch>, Option<RawPer>),
        (trail, known): (&Trail, &Known),
    ) -> (Selector, Per) {
        let fits = (1..=128).contains(&key.chars().count());
        if !fits || key.chars().any(char::is_control) {
            self.problem(trail, "the key must be a name of 1 to 128 characters".to_owned());
        }
        // Beside a `match` a plain key is a name and nothing more.
        let by_key = match (matching, key.split_once(':')) {
            (Some(_), None) => (Selector::default(), Per::All),
            _ => self.key(key, (trail, known)),
        };
        let (mut selector, by_key) = by_key;
        if let Some(matching) = matching {
            let written = self.matching(matching, (&trail.key("match"), known));
            self.join(&mut selector, written, &trail.key("match"));
        }
        let per = match per {
            None => by_key,
            Some(RawPer::All) => Per::All,
            Some(RawPer::Workload) => Per::Workload,
            Some(RawPer::User) => Per::User,
            Some(RawPer::Team) => Per::Team,
        };
        (selector, per)
    }

    fn key(&mut self, key: &str, (trail, known): (&Trail, &Known)) -> (Selector, Per) {
        let all = Selector::default();
        let Some((kind, name)) = key.split_once(':') else {
            if key == "*" {
                return (all, Per::All);
            }
            let workload = vec![Pattern::new(key)];
            return (Selector { workload, or_agent_name: true, ..all }, Per::All);
        };
        let one = vec![Pattern::new(name)];
        // The workload's whole name, as `weir ps` shows it.
        let whole = || vec![Pattern::new(key)];
        let selector = match kind {
            "workload" | "user" | "team" if name == "*" => {
                if kind == "team" && known.teams.is_empty() {
                    self.problem(trail, "there are no teams under `teams`".to_owned());
                }
                let per = match kind {
                    "workload" => Per::Workload,
                    "user" => Per::User,
                    _ => Per::Team,
                };
                return (all, per);
            }
            "workload" => Selector { workload: one, ..all },
            "unit" => Selector { unit: one, ..all },
            "exe" if name.contains(':') => Selector { workload: whole(), ..all },
            "exe" => Selector { exe: one, ..all },
            "container" => Selector { container: one, ..all },
            "user" => Selector { user: one, ..all },
            "team" => {
                self.named("team", name, (trail, &known.teams));
                Selector { team: one, ..all }
            }
            "env" | "environment" => Selector { environment: one, ..all },
            "model" => Selector { model: one, ..all },
            "provider" => {
                self.named("provider", name, (trail, &known.providers));
                Selector { provider: one, ..all }
            }
            "app" | "pod" | "user-unit" | "user-container" | "webhook" => {
                Selector { workload: whole(), ..all }
            }
            _ => {
                let what =
                    format!("`{kind}:` selects nothing: write one of {}", KINDS[..10].join(", "));
                self.unknown(trail, (kind, what), KINDS);
                all
            }
        };
        if name.is_empty() {
            self.problem(trail, format!("a name must follow `{kind}:`"));
        }
        (selector, Per::All)
    }

    fn matching(&mut self, raw: &RawMatch, (trail, known): (&Trail, &Known)) -> Selector {
        let mut list = |key: &str, names: &Option<Words<String>>| -> Vec<Pattern> {
            let Some(Words(names)) = names else { return Vec::new() };
            let at = trail.key(key);
            if names.is_empty() {
                self.problem(&at, "names nothing, so the rule is about nothing".to_owned());
            }
            for (item, name) in self.items(&at, names) {
                if name.is_empty() {
                    self.problem(&item, "is empty".to_owned());
                }
                match key {
                    "team" => self.named("team", name, (&item, &known.teams)),
                    "provider" => self.named("provider", name, (&item, &known.providers)),
                    _ => {}
                }
            }
            names.iter().map(|name| Pattern::new(name)).collect()
        };
        let selector = Selector {
            workload: list("workload", &raw.workload),
            or_agent_name: false,
            unit: list("unit", &raw.unit),
            exe: list("exe", &raw.exe),
            container: list("container", &raw.container),
            user: list("user", &raw.user),
            team: list("team", &raw.team),
            environment: list("environment", &raw.environment),
            provider: list("provider", &raw.provider),
            model: list("model", &raw.model),
            path: list("path", &raw.path),
            hours: raw.time_of_day.map(|time| time.0),
        };
        if selector.hours.is_some_and(|hours| hours.from == hours.to) {
            let what = "begins when it ends, so the rule never holds".to_owned();
            self.problem(&trail.key("time_of_day"), what);
        }
        selector
    }

    /// Both what the key says and what `match` says must hold.
    fn join(&mut self, key: &mut Selector, written: Selector, trail: &Trail) {
        let parts = [
            ("workload", &mut key.workload, written.workload),
            ("unit", &mut key.unit, written.unit),
            ("exe", &mut key.exe, written.exe),
            ("container", &mut key.container, written.container),
            ("user", &mut key.user, written.user),
            ("team", &mut key.team, written.team),
            ("environment", &mut key.environment, written.environment),
            ("provider", &mut key.provider, written.provider),
            ("model", &mut key.model, written.model),
            ("path", &mut key.path, written.path),
        ];
        for (name, by_key, written) in parts {
            let [of_key] = &by_key[..] else {
                *by_key = written;
                continue;
            };
            if written.is_empty() {
                continue;
            }
            // What both mean: the narrower of each pair.
            let narrow = |pattern: &Pattern| {
                if of_key.covers(pattern) {
                    Some(pattern.clone())
                } else {
                    pattern.covers(of_key).then(|| of_key.clone())
                }
            };
            let both: Vec<Pattern> = written.iter().filter_map(narrow).collect();
            if both.is_empty() {
                let what = format!("contradicts the key, which says `{of_key}`: nothing is both");
                self.problem(&trail.key(name), what);
            }
            *by_key = both;
        }
        key.hours = written.hours;
    }

    /// A name that must be known; patterns must mean one that is.
    fn named(&mut self, what: &str, name: &str, (trail, known): (&Trail, &BTreeSet<String>)) {
        let pattern = Pattern::new(name);
        if name.is_empty() || known.iter().any(|known| pattern.matches(known)) {
            return;
        }
        let said = format!("there is no {what} `{name}`");
        self.unknown(trail, (name, said), known.iter().map(String::as_str));
    }
}
