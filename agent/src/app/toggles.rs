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

/// How the names of breakers' policies begin.
const BREAKER: &str = "breaker.";

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
        let listed = listed(policies);
        let mut next = said.clone();
        next.retain(|name, kept| !is_overtaken(*kept, configured(policies, &listed, name)));
        let names = listed.iter().map(|view| &*view.name).chain(next.keys().map(String::as_str));
        for name in names {
            put(policies, name, next.get(name).map(|kept| kept.said.0));
        }
        if next != *said {
            if let Err(error) = kept::write(&self.path, &next) {
                tracing::warn!(%error, "toggles that the file has overtaken are still kept");
            }
            *said = next;
        }
    }

    /// Changes how far a policy goes, from the next call on; `None` gives it back to the file.
    /// Where it cannot be kept nothing changes. False where there is no such policy.
    pub(super) fn set(
        &self,
        policies: &Policies,
        name: &str,
        wanted: Option<Enforcement>,
    ) -> io::Result<bool> {
        let mut said = self.said.lock();
        let Some(view) = find(policies, &said, name) else { return Ok(false) };
        let file = view.configured;
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
        Ok(true)
    }

    /// Every policy: those that are listed, and those set by hand that are not.
    pub(super) fn all(&self, policies: &Policies) -> Vec<PolicyView> {
        let said = self.said.lock();
        let mut all = listed(policies);
        let missing: Vec<_> = said
            .keys()
            .filter(|name| !all.iter().any(|view| *view.name == ***name))
            .filter_map(|name| find(policies, &said, name))
            .collect();
        all.extend(missing);
        all
    }

    /// One policy, listed or not.
    pub(super) fn find(&self, policies: &Policies, name: &str) -> Option<PolicyView> {
        find(policies, &self.said.lock(), name)
    }
}

fn find(policies: &Policies, said: &Said, name: &str) -> Option<PolicyView> {
    let listed = listed(policies);
    if let Some(view) = listed.iter().find(|view| &*view.name == name) {
        return Some(view.clone());
    }
    // The breaker of a provider that nobody has asked yet is in no list, and can be set all the
    // same. Whether there is such a provider shows only when it is.
    let file = configured(policies, &listed, name)?;
    let known = said.get(name).copied();
    if known.is_none() && !policies.reliability.lock().set(name, None) {
        return None;
    }
    Some(PolicyView {
        name: name.into(),
        enforcement: known.and_then(|kept| kept.holds(Reach(file))).map_or(file, |it| it.0),
        configured: file,
        about: name.trim_start_matches(BREAKER).to_owned(),
        summary: "no call has met it yet".to_owned(),
        passed: 0,
        acted: 0,
        shadowed: 0,
    })
}

/// The policies that are there by the configuration, or since a call met them.
fn listed(policies: &Policies) -> Vec<PolicyView> {
    let mut all = policies.engine.lock().policies();
    all.extend(policies.reliability.lock().policies());
    all
}

/// What the file says of a policy; of all breakers it says the same.
fn configured(policies: &Policies, listed: &[PolicyView], name: &str) -> Option<Enforcement> {
    let found = listed.iter().find(|view| &*view.name == name).map(|view| view.configured);
    let breakers = || policies.reliability.lock().settings().breakers;
    found.or_else(|| name.starts_with(BREAKER).then(breakers))
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
    use std::num::NonZeroU64;
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock, System};
    use crate::policy::selector::Selector;
    use crate::policy::settings::{Cap, Limit, OnBreach, Over, Per, Quantity, Rule, Says};
    use crate::policy::{Bound, Call, Settings, Verdict, reliability};
    use crate::record::Billing;
    use crate::subject::{Parts, Process, Subject, Workload};

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

    /// The real policies, as far as they need no configuration: retries and a breaker.
    fn policies(breakers: Enforcement) -> Policies {
        let known = vec!["openai".into()];
        let reliability =
            reliability::Settings { breakers, known, ..reliability::Settings::default() };
        Policies::new(Settings::default(), reliability, System.now())
    }

    fn goes(policies: &Policies, toggles: &Toggles) -> Vec<(String, String)> {
        let all = toggles.all(policies).into_iter();
        let shown = all.filter(|view| view.name.starts_with(BREAKER) || &*view.name == "retry");
        shown.map(|view| (view.name.to_string(), view.enforcement.to_string())).collect()
    }

    /// F8: one command there, one command back, and a restart changes nothing.
    #[test]
    fn toggles_act_at_once_and_outlive_a_restart_and_a_reset() {
        let dir = tempfile::tempdir().unwrap();
        let (before, toggles) = (policies(Enforcement::Enforce), Toggles::open(dir.path()));
        toggles.apply(&before);
        assert!(toggles.set(&before, "retry", Some(Enforcement::Shadow)).unwrap());
        assert!(toggles.set(&before, "breaker.openai", Some(Enforcement::Off)).unwrap());
        assert!(!toggles.set(&before, "breaker.nobody", Some(Enforcement::Off)).unwrap());
        assert!(!toggles.set(&before, "budgets.x", Some(Enforcement::Off)).unwrap());
        let expected = [("retry", "shadow"), ("breaker.openai", "off")]
            .map(|(name, word)| (name.to_owned(), word.to_owned()));
        assert_eq!(goes(&before, &toggles), expected);

        // Another process, the same file.
        let (after, toggles) = (policies(Enforcement::Enforce), Toggles::open(dir.path()));
        toggles.apply(&after);
        assert_eq!(goes(&after, &toggles), expected);
        // Met by a call, or tripped, the breaker is listed and still off.
        after.reliability.lock().trip("openai", System.now());
        assert_eq!(goes(&after, &toggles), expected);

        for name in ["retry", "breaker.openai"] {
            assert!(toggles.set(&after, name, None).unwrap());
            let view = toggles.find(&after, name).unwrap();
            assert_eq!(view.enforcement, view.configured);
        }
        assert_eq!(Toggles::open(dir.path()).said.lock().len(), 0);
    }

    #[test]
    fn a_new_value_in_the_file_wins_once_and_for_good() {
        let dir = tempfile::tempdir().unwrap();
        let first = policies(Enforcement::Enforce);
        let toggles = Toggles::open(dir.path());
        toggles.set(&first, "breaker.openai", Some(Enforcement::Shadow)).unwrap();
        let reach = |file| {
            let (policies, toggles) = (policies(file), Toggles::open(dir.path()));
            toggles.apply(&policies);
            toggles.find(&policies, "breaker.openai").unwrap().enforcement
        };
        assert_eq!(reach(Enforcement::Enforce), Enforcement::Shadow);
        assert_eq!(reach(Enforcement::Off), Enforcement::Off);
        // And back: what was said before was overtaken.
        assert_eq!(reach(Enforcement::Enforce), Enforcement::Enforce);
    }

    #[test]
    fn what_cannot_be_kept_does_not_act() {
        let dir = tempfile::tempdir().unwrap();
        let policies = policies(Enforcement::Enforce);
        let toggles = Toggles::open(&dir.path().join("gone"));
        toggles.set(&policies, "retry", Some(Enforcement::Off)).unwrap_err();
        let view = toggles.find(&policies, "retry").unwrap();
        assert_eq!(view.enforcement, view.configured);
    }

    /// F8: what is set holds for the very next call, both ways.
    #[test]
    fn the_next_call_goes_by_what_was_just_set() {
        let dir = tempfile::tempdir().unwrap();
        let once = Cap {
            unit: "requests_per_minute",
            of: Quantity::Requests,
            over: Over::Sliding(Duration::from_mins(1)),
            limit: NonZeroU64::MIN,
        };
        let limit =
            Limit { caps: vec![once], on_breach: OnBreach::Deny, cut_streams: false, watch: None };
        let rule = Rule {
            name: "rate_limits.*".into(),
            about: "*".into(),
            enforcement: Enforcement::Enforce,
            selector: Selector::default(),
            per: Per::All,
            says: Says::Limit(limit),
        };
        let settings = Settings { rules: vec![rule], ..Settings::default() };
        let policies = Policies::new(settings, reliability::Settings::default(), System.now());
        let toggles = Toggles::open(dir.path());
        toggles.apply(&policies);
        let process = Process {
            pid: 1,
            start_ticks: 1,
            exe: "".into(),
            command: "".into(),
            uid: 0,
            user: None,
            verified: true,
        };
        let subject = Subject { process, workload: Workload::derive(&Parts::default()) };
        let passes = || {
            let call = Call {
                subject: &subject,
                agent_name: None,
                environment: "prod",
                provider: "openai",
                host: "api.openai.com",
                path: "/v1/chat/completions",
                model: None,
                body_bytes: 0,
                bound: Bound::default(),
                billing: Billing::Metered,
                prompt: None,
            };
            let admission = policies.engine.lock().admit(&call, true, System.now());
            matches!(admission.verdict, Verdict::Pass { .. })
        };
        assert!(passes() && !passes());
        for (said, passed) in [
            (Some(Enforcement::Shadow), true),
            (Some(Enforcement::Enforce), false),
            (Some(Enforcement::Off), true),
            (Some(Enforcement::Canary(0)), true),
            (Some(Enforcement::Canary(100)), false),
            (None, false),
        ] {
            assert!(toggles.set(&policies, "rate_limits.*", said).unwrap());
            assert_eq!(passes(), passed, "{said:?}");
        }
    }
}
