//! Who belongs to which team.

use std::sync::Arc;

use foldhash::HashMap;

use super::selector::Pattern;
use super::settings::Team;
use crate::subject::Subject;

/// The teams, ready to be asked.
#[derive(Debug, Clone, Default)]
pub(super) struct Teams {
    users: HashMap<Arc<str>, Arc<str>>,
    workloads: HashMap<Arc<str>, Arc<str>>,
    globs: Vec<(Pattern, Arc<str>)>,
    user_globs: Vec<(Pattern, Arc<str>)>,
}

impl Teams {
    pub(super) fn new(teams: &[Team]) -> Self {
        let mut index = Self::default();
        for team in teams {
            for user in &team.users {
                match Pattern::new(user) {
                    Pattern::Exact(name) => {
                        index.users.insert(name, Arc::clone(&team.name));
                    }
                    glob @ Pattern::Prefix(_) => {
                        index.user_globs.push((glob, Arc::clone(&team.name)));
                    }
                }
            }
            for workload in &team.workloads {
                match Pattern::new(workload) {
                    Pattern::Exact(name) => {
                        index.workloads.insert(name, Arc::clone(&team.name));
                    }
                    glob @ Pattern::Prefix(_) => index.globs.push((glob, Arc::clone(&team.name))),
                }
            }
        }
        index
    }

    /// The team a subject belongs to: its workload's before its user's.
    pub(super) fn of(&self, subject: &Subject, stems: &[&str]) -> Option<&Arc<str>> {
        let names = || std::iter::once(&*subject.workload.name).chain(stems.iter().copied());
        let glob = || {
            let means = |glob: &Pattern| names().any(|name| glob.matches(name));
            self.globs.iter().find(|(glob, _)| means(glob)).map(|(_, team)| team)
        };
        let user = || {
            let name = subject.process.user.as_deref();
            let uid = subject.process.uid.to_string();
            let means =
                |glob: &Pattern| name.is_some_and(|name| glob.matches(name)) || glob.matches(&uid);
            let by_glob = || self.user_globs.iter().find(|(glob, _)| means(glob));
            let exact =
                name.and_then(|name| self.users.get(name)).or_else(|| self.users.get(&*uid));
            exact.or_else(|| by_glob().map(|(_, team)| team))
        };
        names().find_map(|name| self.workloads.get(name)).or_else(glob).or_else(user)
    }

    /// Whether there is anything to ask.
    pub(super) fn is_empty(&self) -> bool {
        self.users.is_empty()
            && self.workloads.is_empty()
            && self.globs.is_empty()
            && self.user_globs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing;

    #[test]
    fn the_workload_comes_before_the_user_and_names_before_beginnings() {
        let team = |name: &str, workloads: &[&str], users: &[&str]| Team {
            name: name.into(),
            workloads: workloads.iter().map(|name| Arc::from(*name)).collect(),
            users: users.iter().map(|name| Arc::from(*name)).collect(),
        };
        let teams = Teams::new(&[
            team("payments", &["batch-agent", "unit:pay-*"], &["alice"]),
            team("search", &[], &["1001", "bob"]),
            team("pipelines", &[], &["ci-*"]),
            team("rest", &[], &["*"]),
        ]);
        let of = |workload: &str, uid, user: &str| {
            let subject = testing::subject(workload, uid, user);
            let stems = subject.workload.stems();
            teams.of(&subject, &stems).map(ToString::to_string)
        };
        assert_eq!(of("unit:batch-agent.service", 1001, "bob").as_deref(), Some("payments"));
        assert_eq!(of("unit:pay-now.service", 1001, "bob").as_deref(), Some("payments"));
        assert_eq!(of("exe:curl", 1001, "x").as_deref(), Some("search"));
        assert_eq!(of("exe:curl", 1000, "alice").as_deref(), Some("payments"));
        assert_eq!(of("exe:curl", 2, "ci-build").as_deref(), Some("pipelines"));
        assert_eq!(of("exe:curl", 1, "carol").as_deref(), Some("rest"));
        assert!(!Teams::new(&[team("rest", &[], &["*"])]).is_empty());
    }
}
