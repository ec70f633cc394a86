//! Label values that clients or providers choose, kept few and short.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::RwLock;

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
    workloads: RwLock<HashSet<Arc<str>>>,
    models: RwLock<HashSet<Arc<str>>>,
    classes: RwLock<HashSet<Arc<str>>>,
}

impl Names {
    pub(super) fn new(per_workload: bool) -> Self {
        Self {
            per_workload,
            workloads: RwLock::default(),
            models: RwLock::default(),
            classes: RwLock::default(),
        }
    }

    /// The workload's name, `other` beyond the cap, `all` where they are not told apart.
    pub(super) fn workload(&self, name: &Arc<str>) -> Arc<str> {
        if !self.per_workload {
            return Arc::from("all");
        }
        bounded(&self.workloads, WORKLOADS, name)
    }

    /// The model's name, `other` beyond the cap, `none` where there is none.
    pub(super) fn model(&self, name: Option<&Arc<str>>) -> Arc<str> {
        name.map_or_else(|| Arc::from("none"), |name| bounded(&self.models, MODELS, name))
    }

    /// The failure class, `other` beyond the cap, `none` where there is none.
    pub(super) fn class(&self, name: Option<&Arc<str>>) -> Arc<str> {
        name.map_or_else(|| Arc::from("none"), |name| bounded(&self.classes, CLASSES, name))
    }
}

fn bounded(seen: &RwLock<HashSet<Arc<str>>>, cap: usize, name: &Arc<str>) -> Arc<str> {
    if seen.read().contains(name) {
        return Arc::clone(name);
    }
    let mut seen = seen.write();
    if name.len() > LONGEST || name.chars().any(char::is_control) || seen.len() >= cap {
        return Arc::from("other");
    }
    seen.insert(Arc::clone(name));
    Arc::clone(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_names_cannot_mint_series_without_end() {
        let names = Names::new(true);
        for number in 0..10_000 {
            names.model(Some(&Arc::from(format!("made-up-{number}"))));
        }
        assert_eq!(&*names.model(Some(&Arc::from("made-up-7"))), "made-up-7");
        assert_eq!(&*names.model(Some(&Arc::from("one-more"))), "other");
        assert_eq!(names.models.read().len(), MODELS);
        assert_eq!(&*names.workload(&Arc::from("x".repeat(500))), "other");
        assert_eq!(&*names.workload(&Arc::from("exe:\n")), "other");
    }

    #[test]
    fn workloads_can_be_hidden() {
        assert_eq!(&*Names::new(false).workload(&Arc::from("exe:curl")), "all");
    }
}
