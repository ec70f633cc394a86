//! Families of series that grow as calls and connections come: each has a bound, beyond which what is
//! new is counted as `other`, and series that nobody adds to any more go after a while.
//!
//! Counting takes a lock that others hold for the time of a few insertions or removals at most, never
//! while series are looked through.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use foldhash::HashMap;
use parking_lot::{Mutex, RwLock};
use prometheus::core::{Collector, Metric, MetricVec, MetricVecBuilder};
use prometheus::{Counter, Histogram, IntCounter, IntCounterVec, Registry};

/// What stands for a value that there was no room for.
pub(super) const OTHER: &str = "other";
/// Between the values in a key; no value has it.
const BETWEEN: &str = "\0";
/// Series taken away in one go.
const AT_ONCE: usize = 256;

/// A metric of which it shows whether anything was added.
pub(super) trait Growing: Metric {
    /// Another one than before, if so.
    fn mark(&self) -> u64;
}

impl Growing for IntCounter {
    fn mark(&self) -> u64 {
        self.get()
    }
}

impl Growing for Counter {
    fn mark(&self) -> u64 {
        self.get().to_bits()
    }
}

impl Growing for Histogram {
    fn mark(&self) -> u64 {
        self.get_sample_count()
    }
}

/// What makes series of one kind, by the values of its labels.
pub(super) trait Labelled: Collector + Clone + 'static {
    /// One series.
    type Child: Growing;
    /// The series with these values.
    fn child(&self, values: &[String]) -> Self::Child;
    /// Has no such series any more.
    fn forget(&self, values: &[String]);
}

impl<B> Labelled for MetricVec<B>
where
    B: MetricVecBuilder<M: Growing> + 'static,
{
    type Child = B::M;

    fn child(&self, values: &[String]) -> B::M {
        self.with_label_values(values)
    }

    fn forget(&self, values: &[String]) {
        // Missing is what it should be.
        drop(self.remove_label_values(values));
    }
}

/// How many series a family may have, and which of its labels take values without end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    /// Series.
    pub(super) most: usize,
    /// The labels that become [`OTHER`] beyond it; the others take few values.
    pub(super) open: &'static [&'static str],
}

/// A family, whatever it is made of.
pub(super) trait Family: Send + Sync {
    /// Series that have not grown for `ttl`.
    fn idle(&self, now: Instant, ttl: Duration) -> Vec<Box<str>>;
    /// Takes those of them away that still have not; how many that were.
    fn remove(&self, idle: &[Box<str>]) -> u64;
    /// The values that a label takes now.
    fn values(&self, label: &str, into: &mut HashSet<String>);
}

/// A family of series of one kind.
#[derive(Debug)]
pub(super) struct Series<V: Labelled> {
    vec: V,
    labels: Vec<String>,
    bound: Bound,
    known: RwLock<HashMap<Box<str>, Entry<V::Child>>>,
    overflow: IntCounter,
}

#[derive(Debug)]
struct Entry<M> {
    metric: M,
    values: Vec<String>,
    /// What it was when it was last looked at, and since when it has been that.
    seen: Mutex<(u64, Option<Instant>)>,
}

impl<V: Labelled> Series<V> {
    /// Registers a family; what finds no room in it is counted in `overflow`, by the family's name.
    pub(super) fn new(
        registry: &Registry,
        vec: V,
        bound: Bound,
        overflow: &IntCounterVec,
    ) -> prometheus::Result<Self> {
        registry.register(Box::new(vec.clone()))?;
        let described = vec.desc();
        let name = described.first().map(|it| it.fq_name.as_str()).unwrap_or_default();
        let labels = described.first().map(|it| it.variable_labels.clone()).unwrap_or_default();
        let overflow = overflow.with_label_values(&[name]);
        Ok(Self { vec, labels, bound, known: RwLock::default(), overflow })
    }

    /// Adds to one series.
    pub(super) fn add(&self, values: &[&str], add: impl Fn(&V::Child)) {
        let key = values.join(BETWEEN);
        // Added under the lock: a series is not taken away in between.
        if let Some(entry) = self.known.read().get(&*key) {
            return add(&entry.metric);
        }
        let mut known = self.known.write();
        add(&self.entry(&mut known, key, values).metric);
    }

    /// One series, for who keeps it. Whoever does has to let go of it before any is removed.
    pub(super) fn handle(&self, values: &[&str]) -> V::Child {
        let key = values.join(BETWEEN);
        if let Some(entry) = self.known.read().get(&*key) {
            return entry.metric.clone();
        }
        let mut known = self.known.write();
        self.entry(&mut known, key, values).metric.clone()
    }

    fn entry<'k>(
        &self,
        known: &'k mut HashMap<Box<str>, Entry<V::Child>>,
        key: String,
        values: &[&str],
    ) -> &'k Entry<V::Child> {
        let full = known.len() >= self.bound.most && !known.contains_key(&*key);
        let values: Vec<String> = if full {
            self.overflow.inc();
            self.folded(values)
        } else {
            values.iter().map(ToString::to_string).collect()
        };
        let key = if full { values.join(BETWEEN) } else { key };
        known.entry(key.into()).or_insert_with(|| Entry {
            metric: self.vec.child(&values),
            values,
            seen: Mutex::default(),
        })
    }

    fn folded(&self, values: &[&str]) -> Vec<String> {
        let is_open = |label: &String| self.bound.open.contains(&label.as_str());
        let pairs = self.labels.iter().zip(values);
        pairs.map(|(label, value)| if is_open(label) { OTHER } else { value }.to_owned()).collect()
    }
}

impl<V: Labelled> Family for Series<V> {
    fn idle(&self, now: Instant, ttl: Duration) -> Vec<Box<str>> {
        let known = self.known.read();
        let idle = known.iter().filter(|(_, entry)| {
            let mut seen = entry.seen.lock();
            let mark = entry.metric.mark();
            match *seen {
                (last, Some(since)) if last == mark => now.saturating_duration_since(since) >= ttl,
                _ => {
                    *seen = (mark, Some(now));
                    false
                }
            }
        });
        idle.map(|(key, _)| key.clone()).take(AT_ONCE).collect()
    }

    fn remove(&self, idle: &[Box<str>]) -> u64 {
        let mut removed = 0;
        let mut known = self.known.write();
        for key in idle {
            let still = |entry: &Entry<V::Child>| entry.seen.lock().0 == entry.metric.mark();
            if known.get(key).is_some_and(still)
                && let Some(entry) = known.remove(key)
            {
                self.vec.forget(&entry.values);
                removed += 1;
            }
        }
        removed
    }

    fn values(&self, label: &str, into: &mut HashSet<String>) {
        let Some(at) = self.labels.iter().position(|it| it == label) else { return };
        let known = self.known.read();
        into.extend(known.values().filter_map(|entry| entry.values.get(at).cloned()));
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder as _, Opts, TextEncoder};

    use super::*;
    use crate::clock::{Clock as _, System};

    fn overflow(registry: &Registry) -> IntCounterVec {
        let overflow = IntCounterVec::new(Opts::new("over_total", "O."), &["bound"]).unwrap();
        registry.register(Box::new(overflow.clone())).unwrap();
        overflow
    }

    fn family(registry: &Registry, most: usize) -> Series<IntCounterVec> {
        let vec = IntCounterVec::new(Opts::new("a_total", "A."), &["who", "status"]).unwrap();
        let bound = Bound { most, open: &["who"] };
        Series::new(registry, vec, bound, &overflow(registry)).unwrap()
    }

    fn text(registry: &Registry) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn beyond_the_bound_everything_is_still_counted() {
        let registry = Registry::new();
        let family = family(&registry, 3);
        for number in 0..100 {
            let status = if number % 2 == 0 { "2xx" } else { "5xx" };
            family.add(&[&format!("w{number}"), status], IntCounter::inc);
        }
        family.add(&["w0", "2xx"], IntCounter::inc);
        let text = text(&registry);
        for line in [
            r#"a_total{status="2xx",who="w0"} 2"#,
            r#"a_total{status="5xx",who="w1"} 1"#,
            r#"a_total{status="2xx",who="w2"} 1"#,
            r#"a_total{status="2xx",who="other"} 48"#,
            r#"a_total{status="5xx",who="other"} 49"#,
            r#"over_total{bound="a_total"} 97"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nnot in\n{text}");
        }
        assert_eq!(text.matches("a_total{").count(), 5);
    }

    #[test]
    fn what_does_not_grow_goes_and_makes_room() {
        const TTL: Duration = Duration::from_hours(1);
        let registry = Registry::new();
        let (family, now) = (family(&registry, 2), System.now().mono);
        family.add(&["a", "2xx"], IntCounter::inc);
        family.add(&["b", "2xx"], IntCounter::inc);
        assert!(family.idle(now, TTL).is_empty(), "seen for the first time");
        family.add(&["b", "2xx"], IntCounter::inc);
        assert!(family.idle(now + TTL / 2, TTL).is_empty());
        let idle = family.idle(now + TTL, TTL);
        assert_eq!(idle.len(), 1);
        // Grown since it was found idle: it stays.
        family.add(&["a", "2xx"], IntCounter::inc);
        assert_eq!(family.remove(&idle), 0);

        assert!(family.idle(now + TTL, TTL).is_empty());
        let idle = family.idle(now + 2 * TTL, TTL);
        assert_eq!(family.remove(&idle), 2);
        let mut left = HashSet::new();
        family.values("who", &mut left);
        assert!(left.is_empty());
        family.add(&["c", "2xx"], IntCounter::inc);
        let text = text(&registry);
        assert_eq!(text.matches("a_total{").count(), 1, "{text}");
        assert!(text.contains("who=\"c\""), "{text}");
    }
}
