//! `weir policy`: how far policies go, where somebody said something else than the file.
//!
//! What is set by hand is kept in the state directory and holds until the file's own value for
//! that policy changes. A policy that the file no longer has keeps its toggle until it is back.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::kept::{self, Kept};
use crate::admin::policies::Reach;
use crate::pipeline::Policies;
use crate::policy::Enforcement;
use crate::policy::view::PolicyView;

/// What was said, by the policy's name.
type Said = BTreeMap<String, Kept<Reach>>;

/// Toggles of policies, kept over restarts.
#[derive(Debug)]
pub(super) struct Toggles {
    path: PathBuf,
    said: Mutex<Said>,
}

impl Toggles {
    /// Reads what was said before this start.
    pub(super) fn open(state_dir: &Path) -> Self {
        let path = state_dir.join("policies.json");
        let said = kept::read(&path).unwrap_or_default();
        Self { path, said: Mutex::new(said) }
    }

    /// Puts what still holds into effect, and forgets what the file has overtaken. To be called
    /// whenever policies come from the configuration: at the start, and after a reload.
    pub(super) fn apply(&self, policies: &Policies) {
        let mut said = self.said.lock();
        let views = all(policies);
        let mut next = said.clone();
        next.retain(|name, kept| !is_overtaken(*kept, configured(&views, name)));
        for view in &views {
            let wanted = said.get(&*view.name).and_then(|kept| kept.holds(Reach(view.configured)));
            put(policies, &view.name, wanted.map(|Reach(enforcement)| enforcement));
        }
        if next != *said {
            if let Err(error) = kept::write(&self.path, &next) {
                tracing::warn!(%error, "toggles that the file has overtaken are still kept");
            }
            *said = next;
        }
    }

    /// Changes how far a policy goes, from the next call on; `None` gives it back to the file.
    /// Where it cannot be kept nothing changes.
    pub(super) fn set(
        &self,
        policies: &Policies,
        name: &str,
        wanted: Option<Enforcement>,
    ) -> io::Result<()> {
        let mut said = self.said.lock();
        let Some(file) = configured(&all(policies), name) else { return Ok(()) };
        // Back to what the file says is no toggle any more: the file may change later.
        let wanted = wanted.filter(|wanted| *wanted != file);
        let mut next = said.clone();
        match wanted {
            Some(wanted) => {
                next.insert(name.to_owned(), Kept { said: Reach(wanted), file: Reach(file) });
            }
            None => {
                next.remove(name);
            }
        }
        kept::write(&self.path, &next)?;
        *said = next;
        put(policies, name, wanted);
        Ok(())
    }
}

/// Every policy.
pub(super) fn all(policies: &Policies) -> Vec<PolicyView> {
    let mut all = policies.engine.lock().policies();
    all.extend(policies.reliability.lock().policies());
    all
}

fn configured(views: &[PolicyView], name: &str) -> Option<Enforcement> {
    views.iter().find(|view| &*view.name == name).map(|view| view.configured)
}

fn is_overtaken(kept: Kept<Reach>, file: Option<Enforcement>) -> bool {
    file.is_some_and(|file| kept.holds(Reach(file)).is_none())
}

/// A name belongs to one of the two.
fn put(policies: &Policies, name: &str, enforcement: Option<Enforcement>) {
    if !policies.engine.lock().set(name, enforcement) {
        policies.reliability.lock().set(name, enforcement);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_new_value_in_the_file_overtakes_what_was_said() {
        let kept = Kept { said: Reach(Enforcement::Shadow), file: Reach(Enforcement::Enforce) };
        for (file, overtaken) in [
            (Some(Enforcement::Enforce), false),
            (Some(Enforcement::Off), true),
            (Some(Enforcement::Canary(5)), true),
            // The file now says the same: from here on it is the file that says it.
            (Some(Enforcement::Shadow), true),
            (None, false),
        ] {
            assert_eq!(is_overtaken(kept, file), overtaken, "{file:?}");
        }
    }
}
