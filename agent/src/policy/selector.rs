//! Which calls a rule is about.

use std::sync::Arc;

use super::call::Call;
use crate::subject::Subject;

/// A name, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// This name, in any case.
    Exact(Arc<str>),
    /// Any name that begins so, in any case; empty for every name.
    Prefix(Arc<str>),
}

impl Pattern {
    /// Reads `NAME` or `START*`.
    pub fn new(text: &str) -> Self {
        match text.strip_suffix('*') {
            Some(start) => Self::Prefix(start.into()),
            None => Self::Exact(text.into()),
        }
    }

    /// Whether it means this name.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact.eq_ignore_ascii_case(name),
            Self::Prefix(start) => name
                .as_bytes()
                .get(..start.len())
                .is_some_and(|begin| begin.eq_ignore_ascii_case(start.as_bytes())),
        }
    }

    /// Whether every name that `other` means is meant by this one too.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(_), Self::Prefix(_)) => false,
            (_, Self::Exact(name)) => self.matches(name),
            (Self::Prefix(_), Self::Prefix(start)) => self.matches(start),
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Prefix(start) => write!(f, "{start}*"),
        }
    }
}

/// A part of the day, in minutes since midnight; past midnight where the end is the smaller one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hours {
    /// The first minute.
    pub from: u16,
    /// The minute after the last.
    pub to: u16,
}

impl Hours {
    fn contains(self, minute: u16) -> bool {
        if self.from <= self.to {
            (self.from..self.to).contains(&minute)
        } else {
            minute >= self.from || minute < self.to
        }
    }
}

/// Which calls a rule is about. Each part that is not empty must hold; of its patterns one must.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    /// Workloads, by name or stem.
    pub workload: Vec<Pattern>,
    /// Whether `workload` also means the `X-Agent-Name` of workloads that no rule lists.
    pub or_agent_name: bool,
    /// Units, with or without `.service`.
    pub unit: Vec<Pattern>,
    /// Executables, by path or file name.
    pub exe: Vec<Pattern>,
    /// Containers.
    pub container: Vec<Pattern>,
    /// Users, by name or id.
    pub user: Vec<Pattern>,
    /// Teams.
    pub team: Vec<Pattern>,
    /// Environments.
    pub environment: Vec<Pattern>,
    /// Providers.
    pub provider: Vec<Pattern>,
    /// Models asked for.
    pub model: Vec<Pattern>,
    /// Request paths.
    pub path: Vec<Pattern>,
    /// When.
    pub hours: Option<Hours>,
}

/// How a rule has come to mean someone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meant {
    /// By what the kernel says of them.
    Known,
    /// By the name they give themselves.
    Claimed,
}

/// Who a call comes from, as selectors ask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who<'a> {
    pub(super) subject: &'a Subject,
    pub(super) stems: &'a [&'a str],
    pub(super) agent_name: Option<&'a str>,
    pub(super) team: Option<&'a str>,
    /// Whether some rule lists the workload.
    pub(super) listed: bool,
}

impl Selector {
    /// Whether it means this one, whatever the call is about.
    pub(super) fn means(&self, who: &Who<'_>) -> Option<Meant> {
        let workload = &who.subject.workload;
        let process = &who.subject.process;
        let unit = workload.unit.as_deref();
        let known = one(&self.unit, unit)
            || one(&self.unit, unit.and_then(|unit| unit.strip_suffix(".service")));
        let exe = process.exe.rsplit('/').next();
        let known = known
            && (one(&self.exe, Some(&process.exe)) || one(&self.exe, exe))
            && one(&self.container, workload.container.as_deref())
            && one(&self.team, who.team)
            && self.means_user(process.user.as_deref(), process.uid);
        if !known {
            return None;
        }
        if self.workload.is_empty() || self.lists(&workload.name, who.stems) {
            return Some(Meant::Known);
        }
        let claims = self.or_agent_name && !who.listed;
        (claims && who.agent_name.is_some() && one(&self.workload, who.agent_name))
            .then_some(Meant::Claimed)
    }

    /// Whether it means a call, at whatever time of day; `listed` where some rule lists the workload.
    pub fn selects(&self, call: &Call<'_>, team: Option<&str>, listed: bool) -> bool {
        let stems = call.subject.workload.stems();
        let (subject, agent_name) = (call.subject, call.agent_name);
        let who = Who { subject, stems: &stems, agent_name, team, listed };
        self.means(&who).is_some() && self.is_about(call, 0)
    }

    /// Whether it names this workload.
    pub fn lists(&self, name: &str, stems: &[&str]) -> bool {
        self.workload
            .iter()
            .any(|pattern| pattern.matches(name) || stems.iter().any(|stem| pattern.matches(stem)))
    }

    fn means_user(&self, name: Option<&str>, uid: u32) -> bool {
        if self.user.is_empty() || name.is_some_and(|name| one(&self.user, Some(name))) {
            return true;
        }
        let mut digits = [0; 10];
        one(&self.user, Some(decimal(uid, &mut digits)))
    }

    /// Whether it is about this call, whoever it comes from. `minute` is the time of day.
    pub(super) fn is_about(&self, call: &Call<'_>, minute: u16) -> bool {
        one(&self.model, call.model)
            && one(&self.provider, Some(call.provider))
            && one(&self.environment, Some(call.environment))
            && (self.path.is_empty() || one(&self.path, Some(call.path)))
            && self.hours.is_none_or(|hours| hours.contains(minute))
    }

    /// Whether it asks about calls at all, and not only about who makes them.
    pub(super) fn asks_of_calls(&self) -> bool {
        self.hours.is_some()
            || [&self.model, &self.provider, &self.environment, &self.path]
                .iter()
                .any(|part| !part.is_empty())
    }
}

/// Whether one of the patterns means this name, or there are none.
fn one(patterns: &[Pattern], name: Option<&str>) -> bool {
    patterns.is_empty()
        || name.is_some_and(|name| patterns.iter().any(|pattern| pattern.matches(name)))
}

fn decimal(number: u32, digits: &mut [u8; 10]) -> &str {
    let (mut at, mut left) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        if left == 0 {
            return std::str::from_utf8(&digits[at..]).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing;

    #[test]
    fn patterns_mean_names_and_beginnings_in_any_case() {
        let glob = Pattern::new("gpt-4o*");
        assert!(glob.matches("GPT-4o-mini") && glob.matches("gpt-4o") && !glob.matches("gpt-4"));
        assert!(Pattern::new("*").matches(""));
        assert!(Pattern::new("é*").matches("école") == Pattern::new("é*").matches("éa"));
        assert!(glob.covers(&Pattern::new("gpt-4o-2024*")) && !glob.covers(&Pattern::new("gpt*")));
        assert!(glob.covers(&Pattern::new("gpt-4o")) && !Pattern::new("a").covers(&glob));
        assert_eq!(glob.to_string(), "gpt-4o*");
    }

    #[test]
    fn hours_may_pass_midnight() {
        let day = Hours { from: 9 * 60, to: 17 * 60 };
        assert!(day.contains(9 * 60) && !day.contains(17 * 60) && !day.contains(0));
        let night = Hours { from: 22 * 60, to: 6 * 60 };
        assert!(night.contains(23 * 60) && night.contains(0) && !night.contains(6 * 60));
    }

    #[test]
    fn numbers_of_users_are_names_too() {
        let mut digits = [0; 10];
        assert_eq!(decimal(0, &mut digits), "0");
        assert_eq!(decimal(u32::MAX, &mut digits), "4294967295");
        let selector = Selector { user: vec![Pattern::new("1000")], ..Selector::default() };
        assert!(selector.means_user(Some("alice"), 1000));
        assert!(!selector.means_user(Some("alice"), 1001));
    }

    #[test]
    fn a_header_names_no_workload_that_a_rule_lists() {
        let selector = Selector {
            workload: vec![Pattern::new("batch-agent")],
            or_agent_name: true,
            ..Selector::default()
        };
        let subject = testing::subject("exe:python3:main.py", 1000, "alice");
        let stems = subject.workload.stems();
        let who = Who {
            subject: &subject,
            stems: &stems,
            agent_name: Some("batch-agent"),
            team: None,
            listed: false,
        };
        assert_eq!(selector.means(&who), Some(Meant::Claimed));
        assert_eq!(selector.means(&Who { listed: true, ..who }), None);
        assert_eq!(selector.means(&Who { agent_name: None, ..who }), None);
        let subject = testing::subject("unit:batch-agent.service", 0, "root");
        let stems = subject.workload.stems();
        let who = Who { subject: &subject, stems: &stems, agent_name: Some("other"), ..who };
        assert_eq!(selector.means(&who), Some(Meant::Known));
    }
}
