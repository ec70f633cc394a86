//! What is said of connections that went direct.

use std::sync::Arc;

use crate::capture::Verdict;
use crate::policy::containers::Reach;

/// Names of which each may be meant, as one: `a|b`. An address tells no more where several share it.
pub(super) fn any_of<'a>(names: impl IntoIterator<Item = &'a Arc<str>>) -> Option<Arc<str>> {
    /// More would be no help to a reader.
    const MOST: usize = 3;
    let mut distinct: Vec<&Arc<str>> = Vec::new();
    for name in names {
        if distinct.len() < MOST && !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    match &distinct[..] {
        [] => None,
        [only] => Some(Arc::clone(only)),
        several => Some(several.iter().map(|name| &***name).collect::<Vec<_>>().join("|").into()),
    }
}

/// Why a connection went direct, as records say it; `reach` is how far one goes with it where it
/// came from another network namespace.
pub(super) fn reason(verdict: Verdict, reach: Option<Reach>) -> &'static str {
    match verdict {
        // Before the listener was there, or where there can't be one.
        Verdict::NoListener if reach == Some(Reach::Meter) => "container_unarmed",
        Verdict::NoListener if reach.is_some() => "container",
        Verdict::Redirected => "redirected",
        Verdict::Observed => "observe",
        Verdict::NoListener => "no_listener",
        Verdict::Stale => "stale",
        Verdict::Device => "device",
        Verdict::Unsaved => "unsaved",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_share_an_address_are_all_said() {
        let names = |names: &[&str]| {
            let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
            any_of(&names).map(|name| name.to_string())
        };
        assert_eq!(names(&[]), None);
        assert_eq!(names(&["openai", "openai"]).as_deref(), Some("openai"));
        assert_eq!(names(&["mistral", "openai", "mistral"]).as_deref(), Some("mistral|openai"));
        assert_eq!(names(&["a", "b", "c", "d"]).as_deref(), Some("a|b|c"));
    }

    #[test]
    fn no_listener_is_the_rule_in_a_container_and_a_fault_at_home() {
        for (reach, expected) in [
            (None, "no_listener"),
            (Some(Reach::Observe), "container"),
            (Some(Reach::Meter), "container_unarmed"),
        ] {
            assert_eq!(reason(Verdict::NoListener, reach), expected);
            assert_eq!(reason(Verdict::Stale, reach), "stale");
        }
    }
}
