//! Counters of an agent that this one has followed: here they go on from where they stood there, so
//! that nobody sees them begin anew.
//!
//! They come and are added in the text format: its samples have their whole name in them.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Of the process itself, which is another one.
const OWN: &str = "process_";

/// What is added to.
#[derive(Debug, Default)]
pub(super) struct Continued(Mutex<Theirs>);

/// What another agent counted.
#[derive(Debug, Default)]
struct Theirs {
    families: Vec<Family>,
    since: Option<Instant>,
    /// It is so long ago that what has not grown here since is gone.
    old: bool,
}

/// One metric that only ever grows.
#[derive(Debug, Clone, Default, PartialEq)]
struct Family {
    name: String,
    /// `# HELP` and `# TYPE`.
    head: String,
    /// `name{labels}`, in their order.
    samples: Vec<(String, f64)>,
}

impl Continued {
    /// Takes what another agent counted, in place of what it had counted before.
    pub(super) fn take(&self, text: &str) {
        let (families, _rest) = split(text);
        *self.0.lock() = Theirs { families, ..Theirs::default() };
    }

    /// Lets go, after `ttl`, of what this agent has no series of.
    pub(super) fn sweep(&self, now: Instant, ttl: Duration) {
        let mut there = self.0.lock();
        let since = *there.since.get_or_insert(now);
        there.old |= now.saturating_duration_since(since) >= ttl;
    }

    /// Our own text with that added to it.
    pub(super) fn added(&self, text: String) -> String {
        let mut there = self.0.lock();
        if there.families.is_empty() {
            return text;
        }
        let (mut own, mut all) = split(&text);
        if there.old {
            there.keep(&own);
        }
        for theirs in &there.families {
            if let Some(ours) = own.iter_mut().find(|ours| ours.name == theirs.name) {
                ours.add(&theirs.samples);
            } else {
                own.push(theirs.clone());
            }
        }
        for family in own {
            all.push_str(&family.head);
            for (name, value) in family.samples {
                // Writing to a string does not fail.
                writeln!(all, "{name} {value}").ok();
            }
        }
        all
    }
}

impl Theirs {
    /// Only what is here too.
    fn keep(&mut self, own: &[Family]) {
        let names: HashSet<&str> = own
            .iter()
            .flat_map(|family| family.samples.iter().map(|(name, _)| name.as_str()))
            .collect();
        for family in &mut self.families {
            family.samples.retain(|(name, _)| names.contains(name.as_str()));
        }
        self.families.retain(|family| !family.samples.is_empty());
    }
}

impl Family {
    fn add(&mut self, samples: &[(String, f64)]) {
        let places: HashMap<String, usize> =
            self.samples.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        for (name, value) in samples {
            match places.get(name).and_then(|at| self.samples.get_mut(*at)) {
                Some((_, sum)) => *sum += value,
                None => self.samples.push((name.clone(), *value)),
            }
        }
    }
}

/// The counters and histograms of a text, and everything else as it is.
fn split(text: &str) -> (Vec<Family>, String) {
    let (mut families, mut rest) = (Vec::<Family>::new(), String::new());
    let (mut help, mut grows) = ("", false);
    for line in text.lines() {
        if line.starts_with("# HELP ") {
            help = line;
            continue;
        }
        if let Some(told) = line.strip_prefix("# TYPE ") {
            let (name, kind) = told.split_once(' ').unwrap_or((told, ""));
            grows = matches!(kind, "counter" | "histogram") && !name.starts_with(OWN);
            let head = format!("{help}\n{line}\n");
            if grows {
                families.push(Family { name: name.to_owned(), head, ..Family::default() });
            } else {
                rest.push_str(&head);
            }
            continue;
        }
        let sample =
            line.rsplit_once(' ').and_then(|(name, value)| Some((name, value.parse().ok()?)));
        match (families.last_mut(), sample) {
            (Some(family), Some((name, value))) if grows => {
                family.samples.push((name.to_owned(), value));
            }
            _ => {
                rest.push_str(line);
                rest.push('\n');
            }
        }
    }
    (families, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, System};

    const THERE: &str = "\
# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\"} 5\na_total{x=\"2 b\"} 7\n\
# HELP b_total B.\n# TYPE b_total counter\nb_total 3\n\
# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 2.5\nh_count 3\n\
# HELP g G.\n# TYPE g gauge\ng 9\n\
# HELP process_cpu_seconds_total C.\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 4\n";

    #[test]
    fn what_grows_is_added_and_the_rest_is_our_own() {
        let continued = Continued::default();
        let own = "# HELP g G.\n# TYPE g gauge\ng 1\n\
            # HELP a_total A.\n# TYPE a_total counter\na_total{x=\"2 b\"} 1\na_total{x=\"3\"} 1\n\
            # HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_sum 0.5\n\
            h_count 1\n";
        assert_eq!(continued.added(own.to_owned()), own);
        continued.take("# HELP b_total B.\n# TYPE b_total counter\nb_total 1\n");
        // What it counts last holds.
        continued.take(THERE);
        let all = continued.added(own.to_owned());
        let lines: Vec<&str> = all.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "g 1",
                "a_total{x=\"2 b\"} 8",
                "a_total{x=\"3\"} 1",
                "a_total{x=\"1\"} 5",
                "h_bucket{le=\"1\"} 3",
                "h_bucket{le=\"+Inf\"} 4",
                "h_sum 3",
                "h_count 4",
                "b_total 3",
            ]
        );
        assert_eq!(all.matches("# TYPE a_total counter").count(), 1);
        assert_eq!(all.matches("# HELP b_total B.").count(), 1);
    }

    #[test]
    fn what_has_no_series_here_goes_after_a_while() {
        const TTL: Duration = Duration::from_hours(1);
        let (continued, now) = (Continued::default(), System.now().mono);
        let own = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\"} 1\n";
        continued.take(THERE);
        continued.sweep(now, TTL);
        continued.sweep(now + TTL / 2, TTL);
        assert!(continued.added(own.to_owned()).contains("b_total 3\n"));
        continued.sweep(now + TTL, TTL);
        let all = continued.added(own.to_owned());
        let lines: Vec<&str> = all.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines, ["a_total{x=\"1\"} 6"]);
    }
}
