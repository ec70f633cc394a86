//! What is said of connections that went direct.

use std::sync::Arc;

use crate::capture::Verdict;

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

/// Why a connection went direct, as records say it.
pub(super) fn reason(verdict: Verdict) -> &'static str {
    match verdict {
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
}
