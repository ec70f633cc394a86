//! What acts in a later release: checked now, so that a file that is taken today is taken then.

use super::Check;
use crate::config::problem::Trail;
use crate::config::raw::Raw;

pub(super) fn sections(check: &mut Check<'_>, raw: &Raw) {
    let root = Trail::default();
    if raw.audit.enabled {
        let what = "checked, and without effect in this release".to_owned();
        check.warning(&root.key("audit").key("enabled"), what);
    }
}

impl Check<'_> {
    /// As a problem, of what does no harm.
    pub(super) fn warning(&mut self, trail: &Trail, what: String) {
        self.problem(trail, what);
        self.warnings.extend(self.problems.pop());
    }
}
