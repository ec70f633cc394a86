//! Which containers are metered, and from where providers are reached for them.

use super::Check;
use crate::config::problem::Trail;
use crate::config::raw::{RawContainers, RawReach};
use crate::policy::containers::{Containers, Reach};
use crate::policy::selector::{Pattern, Selector};

/// What stands before the colon of a name.
const KINDS: [&str; 9] =
    ["container", "pod", "unit", "exe", "user", "workload", "app", "user-unit", "user-container"];

pub(super) fn containers(check: &mut Check<'_>, raw: &RawContainers) -> Containers {
    let (raw, root) = (&raw.0, Trail::default().key("containers"));
    let mut list = |trail: Trail, names: &[String]| -> Vec<Selector> {
        let items: Vec<_> = check.items(&trail, names).collect();
        items.into_iter().filter_map(|(at, name)| check.selected(name, &at)).collect()
    };
    Containers {
        default: match raw.default {
            RawReach::Off => Reach::Off,
            RawReach::Observe => Reach::Observe,
            RawReach::Meter => Reach::Meter,
        },
        off: list(root.key("off"), &raw.off),
        observe: list(root.key("observe"), &raw.observe),
        meter: list(root.key("meter"), &raw.meter),
        dial_from_host: list(root.key("dial").key("host"), &raw.dial.host),
    }
}

impl Check<'_> {
    fn selected(&mut self, name: &str, trail: &Trail) -> Option<Selector> {
        let all = Selector::default();
        if name == "*" {
            return Some(all);
        }
        let (kind, rest) = name.split_once(':').unwrap_or(("workload", name));
        let fits = (1..=128).contains(&rest.chars().count());
        if !fits || rest.chars().any(char::is_control) {
            self.problem(trail, "needs a name of 1 to 128 characters".to_owned());
            return None;
        }
        let one = vec![Pattern::new(rest)];
        // The workload's whole name, as `weir ps` shows it.
        let whole = || vec![Pattern::new(name)];
        Some(match kind {
            "container" => Selector { container: one, ..all },
            "unit" => Selector { unit: one, ..all },
            "exe" if rest.contains(':') => Selector { workload: whole(), ..all },
            "exe" => Selector { exe: one, ..all },
            "user" => Selector { user: one, ..all },
            "workload" => Selector { workload: one, ..all },
            "pod" | "app" | "user-unit" | "user-container" => Selector { workload: whole(), ..all },
            _ => {
                let what =
                    format!("`{kind}:` selects nothing: write one of {}", KINDS[..6].join(", "));
                self.unknown(trail, (kind, what), KINDS);
                return None;
            }
        })
    }
}
