//! Who is left alone because somebody asked for it: relayed untouched, and counted as that.

use std::time::SystemTime;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};

use crate::subject::Subject;

/// Those who are left alone. Shared by all connections.
#[derive(Debug, Default)]
pub struct Bypasses(ArcSwap<Vec<Bypass>>);

/// Somebody, or something, that is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bypass {
    /// Who.
    pub whom: Whom,
    /// Until when; for good where not said.
    pub until: Option<SystemTime>,
}

/// Whom a bypass is about; a trailing `*` stands for anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whom {
    /// A workload, by its name or what rules may call it.
    Process(String),
    /// An executable, by its path or its file's name.
    Exe(String),
    /// A systemd unit, with or without `.service`.
    Unit(String),
    /// A user, by name or id.
    User(String),
    /// A provider's host.
    Host(String),
}

impl Bypasses {
    /// Replaces all of them, from the next connection on.
    pub fn replace(&self, all: Vec<Bypass>) {
        self.0.store(all.into());
    }

    /// Whether a connection of this one to that host is left alone.
    pub fn mean(&self, subject: &Subject, host: &str, now: SystemTime) -> bool {
        self.0.load().iter().any(|it| it.holds(now) && it.whom.means(subject, host))
    }
}

impl Bypass {
    /// Whether its time is not over.
    pub fn holds(&self, now: SystemTime) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Whom {
    fn means(&self, subject: &Subject, host: &str) -> bool {
        let (process, workload) = (&subject.process, &subject.workload);
        match self {
            Self::Process(name) => {
                is(name, &workload.name) || workload.stems().into_iter().any(|stem| is(name, stem))
            }
            Self::Exe(path) => {
                let file = process.exe.rsplit('/').next().unwrap_or_default();
                is(path, &process.exe) || is(path, file)
            }
            Self::Unit(name) => workload.unit.as_deref().is_some_and(|unit| {
                is(name, unit) || unit.strip_suffix(".service").is_some_and(|bare| is(name, bare))
            }),
            Self::User(name) => {
                process.user.as_deref().is_some_and(|user| is(name, user))
                    || name.parse() == Ok(process.uid)
            }
            Self::Host(name) => is(&name.to_ascii_lowercase(), &host.to_ascii_lowercase()),
        }
    }
}

fn is(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::subject::{Parts, Process, Workload};

    fn subject() -> Subject {
        let process = Process {
            pid: 7,
            start_ticks: 1,
            exe: "/usr/bin/python3.11".into(),
            command: "".into(),
            uid: 1000,
            user: Some("al".into()),
            verified: true,
        };
        let parts = Parts { unit: Some("etl.service"), ..Parts::default() };
        Subject { process, workload: Workload::derive(&parts) }
    }

    #[test]
    fn each_kind_means_what_it_says() {
        let of = |make: fn(String) -> Whom, text: &str| make(text.to_owned());
        let subject = subject();
        for (whom, expected) in [
            (of(Whom::Process, "unit:etl.service"), true),
            (of(Whom::Process, "etl"), true),
            (of(Whom::Process, "et"), false),
            (of(Whom::Process, "unit:et*"), true),
            (of(Whom::Exe, "/usr/bin/python3.11"), true),
            (of(Whom::Exe, "python3*"), true),
            (of(Whom::Exe, "/usr/bin/python3"), false),
            (of(Whom::Unit, "etl"), true),
            (of(Whom::Unit, "other"), false),
            (of(Whom::User, "al"), true),
            (of(Whom::User, "1000"), true),
            (of(Whom::User, "100"), false),
            (of(Whom::Host, "API.openai.com"), true),
            (of(Whom::Host, "openai.com"), false),
        ] {
            assert_eq!(whom.means(&subject, "api.openai.com"), expected, "{whom:?}");
        }
    }

    #[test]
    fn what_is_over_holds_no_more() {
        let all = Bypasses::default();
        let start = SystemTime::UNIX_EPOCH;
        let until = Some(start + Duration::from_hours(2));
        let means = |at| all.mean(&subject(), "api.openai.com", at);
        assert!(!means(start));
        all.replace(vec![Bypass { whom: Whom::Unit("etl".to_owned()), until }]);
        assert!(means(start) && !means(start + Duration::from_hours(2)));
    }
}
