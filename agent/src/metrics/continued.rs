//! Counters of an agent that this one has followed: here they go on from where they stood there, so
//! that nobody sees them begin anew.
//!
//! They come and are added in the text format: its samples have their whole name in them.

use std::collections::HashMap;
use std::fmt::Write as _;

use parking_lot::Mutex;

/// Of the process itself, which is another one.
const OWN: &str = "process_";

/// What is added to.
#[derive(Debug, Default)]
pub(super) struct Continued(Mutex<Vec<Family>>);

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
        *self.0.lock() = families;
    }

    /// Our own text with that added to it.
    pub(super) fn added(&self, text: String) -> String {
        let there = self.0.lock();
        if there.is_empty() {
            return text;
        }
        let (mut own, mut all) = split(&text);
        for theirs in there.iter() {
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
}
