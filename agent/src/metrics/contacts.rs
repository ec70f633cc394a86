//! Which workload was first seen with which provider, and when: a program that has never called a
//! model before is something to look at.
//!
//! What was seen before the agent started is told by whoever keeps it; until then nothing is new.

use std::sync::Arc;
use std::time::SystemTime;

use foldhash::HashMap;
use parking_lot::RwLock;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::condition::since_epoch;
use super::shown::Shown;

/// Pairs remembered.
const MOST: usize = 4096;

#[derive(Debug)]
pub(super) struct Contacts {
    seen: RwLock<Seen>,
    news: IntCounter,
    overflow: IntCounter,
    shown: Shown<2>,
}

#[derive(Debug, Default)]
struct Seen {
    /// By provider and workload, when they were first seen together.
    first: HashMap<Arc<str>, HashMap<Arc<str>, SystemTime>>,
    pairs: usize,
    /// Whether it is known what was seen before.
    told: bool,
    /// Seen before that was known.
    waiting: Vec<[Arc<str>; 2]>,
}

impl Contacts {
    pub(super) fn new(registry: &Registry, overflow: &IntCounterVec) -> prometheus::Result<Self> {
        let news = IntCounter::new(
            "weir_first_seen_total",
            "Workloads seen with a provider that they had not been seen with before.",
        )?;
        registry.register(Box::new(news.clone()))?;
        let shown = Shown::new(
            registry,
            Opts::new(
                "weir_first_seen_timestamp_seconds",
                "When a workload was first seen with a provider, in seconds since 1970.",
            ),
            &["workload", "provider"],
        )?;
        let overflow = overflow.with_label_values(&["first_seen"]);
        Ok(Self { seen: RwLock::default(), news, overflow, shown })
    }

    /// Whether they have been seen together; what is no name is never known.
    pub(super) fn knows(&self, workload: &str, provider: &str) -> bool {
        self.seen.read().has(workload, provider)
    }

    /// They were seen together.
    pub(super) fn count(&self, workload: &Arc<str>, provider: &Arc<str>, at: SystemTime) {
        let seen = self.seen.read();
        if seen.has(workload, provider) {
            return;
        }
        // Nobody is forgotten: who finds no room now never will, and others are not to wait for that.
        if seen.pairs >= MOST {
            return self.overflow.inc();
        }
        drop(seen);
        let mut seen = self.seen.write();
        if seen.has(workload, provider) {
            return;
        }
        if !seen.note(workload, provider, at) {
            self.overflow.inc();
        } else if seen.told {
            self.news.inc();
        } else {
            seen.waiting.push([Arc::clone(workload), Arc::clone(provider)]);
        }
    }

    /// What was seen before: workload, provider, when first. Without it nothing that was seen so far
    /// counts as new.
    pub(super) fn before(
        &self,
        history: Option<impl IntoIterator<Item = (Arc<str>, Arc<str>, SystemTime)>>,
    ) {
        let mut seen = self.seen.write();
        if seen.told {
            return;
        }
        seen.told = true;
        let waiting = std::mem::take(&mut seen.waiting);
        let Some(history) = history else { return };
        let mut old = 0;
        for (workload, provider, at) in history {
            let met = waiting.iter().any(|[w, p]| *w == workload && *p == provider);
            old += u64::from(met);
            if !seen.note(&workload, &provider, at) {
                self.overflow.inc();
            }
        }
        let new = u64::try_from(waiting.len()).unwrap_or(u64::MAX).saturating_sub(old);
        self.news.inc_by(new);
    }

    /// Shows the latest.
    pub(super) fn show(&self) {
        let seen = self.seen.read();
        let all = seen.first.iter().flat_map(|(provider, workloads)| {
            workloads.iter().map(|(workload, at)| {
                let at = since_epoch(*at).as_secs_f64();
                ([Arc::clone(workload), Arc::clone(provider)], at, at)
            })
        });
        self.shown.set(all);
    }
}

impl Seen {
    fn has(&self, workload: &str, provider: &str) -> bool {
        self.first.get(provider).is_some_and(|workloads| workloads.contains_key(workload))
    }

    /// Notes the earliest time; whether there was room.
    fn note(&mut self, workload: &Arc<str>, provider: &Arc<str>, at: SystemTime) -> bool {
        let full = self.pairs >= MOST;
        let workloads = match self.first.get_mut(provider) {
            Some(workloads) => workloads,
            None if full => return false,
            None => self.first.entry(Arc::clone(provider)).or_default(),
        };
        if let Some(first) = workloads.get_mut(workload) {
            *first = at.min(*first);
            return true;
        }
        if full {
            return false;
        }
        workloads.insert(Arc::clone(workload), at);
        self.pairs += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::{Encoder as _, TextEncoder};

    use super::*;

    fn contacts() -> (Registry, Contacts) {
        let registry = Registry::new();
        let overflow = IntCounterVec::new(Opts::new("over_total", "O."), &["bound"]).unwrap();
        let contacts = Contacts::new(&registry, &overflow).unwrap();
        (registry, contacts)
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn pair(workload: &str, provider: &str) -> (Arc<str>, Arc<str>) {
        (Arc::from(workload), Arc::from(provider))
    }

    #[test]
    fn only_what_was_not_seen_before_is_new() {
        let (registry, contacts) = contacts();
        let see = |workload, provider, seconds| {
            let (workload, provider) = pair(workload, provider);
            contacts.count(&workload, &provider, at(seconds));
        };
        see("old", "openai", 100);
        see("new", "openai", 101);
        assert_eq!(contacts.news.get(), 0, "it is not known yet");
        let (workload, provider) = pair("old", "openai");
        contacts.before(Some([(workload, provider, at(7))]));
        assert_eq!(contacts.news.get(), 1);
        see("old", "openai", 102);
        see("new", "openai", 103);
        see("old", "anthropic", 104);
        assert_eq!(contacts.news.get(), 2);
        contacts.show();
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        for line in [
            r#"weir_first_seen_timestamp_seconds{provider="openai",workload="old"} 7"#,
            r#"weir_first_seen_timestamp_seconds{provider="openai",workload="new"} 101"#,
            r#"weir_first_seen_timestamp_seconds{provider="anthropic",workload="old"} 104"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nnot in\n{text}");
        }
    }

    #[test]
    fn where_nothing_is_known_of_the_past_nothing_so_far_is_new() {
        let (_registry, contacts) = contacts();
        let (workload, provider) = pair("a", "openai");
        contacts.count(&workload, &provider, at(1));
        contacts.before(None::<[_; 0]>);
        assert_eq!(contacts.news.get(), 0);
        let (workload, provider) = pair("b", "openai");
        contacts.count(&workload, &provider, at(2));
        assert_eq!(contacts.news.get(), 1);
    }

    #[test]
    fn there_is_a_bound() {
        let (_registry, contacts) = contacts();
        contacts.before(None::<[_; 0]>);
        for number in 0..MOST + 10 {
            let (workload, provider) = pair(&format!("w{number}"), "openai");
            contacts.count(&workload, &provider, at(1));
        }
        assert_eq!(contacts.news.get(), MOST as u64);
        assert_eq!(contacts.overflow.get(), 10);
        assert!(contacts.knows("w0", "openai") && !contacts.knows("w4096", "openai"));
    }
}
