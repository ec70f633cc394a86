//! Label values that clients or providers choose, kept few and short.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::RwLock;
use prometheus::{IntCounter, IntCounterVec};

use super::series::OTHER;

/// Workloads told apart.
const WORKLOADS: usize = 200;
/// Models told apart.
const MODELS: usize = 200;
/// Failure classes told apart.
const CLASSES: usize = 50;
/// Longest value; what is longer is not a name.
const LONGEST: usize = 120;

/// The values seen so far.
#[derive(Debug)]
pub(super) struct Names {
    per_workload: bool,
    /// What stands for every workload where they are not told apart.
    all: Arc<str>,
    workloads: Kind,
    models: Kind,
    classes: Kind,
}

/// Names of one kind.
#[derive(Debug)]
struct Kind {
    seen: RwLock<HashSet<Arc<str>>>,
    most: usize,
    overflow: IntCounter,
}

impl Names {
    /// What there is no room for is counted in `overflow`, by its kind.
    pub(super) fn new(per_workload: bool, overflow: &IntCounterVec) -> Self {
        let kind = |most, bound| Kind {
            seen: RwLock::default(),
            most,
            overflow: overflow.with_label_values(&[bound]),
        };
        Self {
            per_workload,
            all: Arc::from("all"),
            workloads: kind(WORKLOADS, "workloads"),
            models: kind(MODELS, "models"),
            classes: kind(CLASSES, "classes"),
        }
    }

    /// The workload's name, `other` beyond the cap, `all` where they are not told apart.
    pub(super) fn workload(&self, name: &Arc<str>) -> Arc<str> {
        if !self.per_workload {
            return Arc::clone(&self.all);
        }
        self.workloads.bounded(name)
    }

    /// The workload's name for whoever has a bound of their own; `all` where they are not told apart.
    pub(super) fn whole(&self, name: &Arc<str>) -> Arc<str> {
        match (self.per_workload, is_name(name)) {
            (false, _) => Arc::clone(&self.all),
            (true, false) => Arc::from(OTHER),
            (true, true) => Arc::clone(name),
        }
    }

    /// The model's name, `other` beyond the cap, `none` where there is none.
    pub(super) fn model(&self, name: Option<&Arc<str>>) -> Arc<str> {
        name.map_or_else(|| Arc::from("none"), |name| self.models.bounded(name))
    }

    /// Makes room: forgets workloads and models that no series has.
    pub(super) fn retain(&self, workloads: &HashSet<String>, models: &HashSet<String>) {
        self.workloads.seen.write().retain(|name| workloads.contains(&**name));
        self.models.seen.write().retain(|name| models.contains(&**name));
    }

    /// The failure class, `other` beyond the cap, `none` where there is none.
    pub(super) fn class(&self, name: Option<&Arc<str>>) -> Arc<str> {
        name.map_or_else(|| Arc::from("none"), |name| self.classes.bounded(name))
    }
}

impl Kind {
    fn bounded(&self, name: &Arc<str>) -> Arc<str> {
        if self.seen.read().contains(name) {
            return Arc::clone(name);
        }
        if !is_name(name) {
            return Arc::from(OTHER);
        }
        let mut seen = self.seen.write();
        if seen.len() >= self.most && !seen.contains(name) {
            self.overflow.inc();
            return Arc::from(OTHER);
        }
        seen.insert(Arc::clone(name));
        Arc::clone(name)
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= LONGEST && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;

    use super::*;

    fn names(per_workload: bool) -> (Names, IntCounterVec) {
        let overflow = IntCounterVec::new(Opts::new("over_total", "O."), &["bound"]).unwrap();
        (Names::new(per_workload, &overflow), overflow)
    }

    #[test]
    fn invented_names_cannot_mint_series_without_end() {
        let (names, overflow) = names(true);
        for number in 0..10_000 {
            names.model(Some(&Arc::from(format!("made-up-{number}"))));
        }
        assert_eq!(&*names.model(Some(&Arc::from("made-up-7"))), "made-up-7");
        assert_eq!(&*names.model(Some(&Arc::from("one-more"))), "other");
        assert_eq!(names.models.seen.read().len(), MODELS);
        assert_eq!(overflow.with_label_values(&["models"]).get(), 10_000 - MODELS as u64 + 1);
        // Those that no series has make room.
        names.retain(&HashSet::new(), &HashSet::from(["made-up-7".to_owned()]));
        assert_eq!(&*names.model(Some(&Arc::from("one-more"))), "one-more");
        assert_eq!(names.models.seen.read().len(), 2);
        assert_eq!(&*names.workload(&Arc::from("x".repeat(500))), "other");
        assert_eq!(&*names.workload(&Arc::from("exe:\n")), "other");
    }

    #[test]
    fn workloads_can_be_hidden() {
        assert_eq!(&*names(false).0.workload(&Arc::from("exe:curl")), "all");
    }
}
