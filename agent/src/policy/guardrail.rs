//! What may be asked for at all.

use super::call::Call;
use super::selector::Pattern;
use super::settings::Guard;
use super::text;

/// Why a call breaks a guardrail, as a sentence; `None` where it does not.
///
/// A call whose model is not known passes no list of allowed models: what cannot be read cannot be
/// let through by it.
pub(super) fn breach(guard: &Guard, call: &Call<'_>) -> Option<String> {
    let listed = |allow: &[Pattern], deny: &[Pattern], name: Option<&str>| {
        let means = |list: &[Pattern]| {
            list.iter().any(|pattern| name.is_some_and(|name| pattern.matches(name)))
        };
        means(deny) || (!allow.is_empty() && !means(allow))
    };
    if listed(&guard.allow_models, &guard.deny_models, call.model) {
        return Some(match call.model {
            Some(model) => format!("Model {} is not allowed", shown(model)),
            None => "A call whose model is not known is not allowed".to_owned(),
        });
    }
    if listed(&guard.allow_hosts, &guard.deny_hosts, Some(call.host)) {
        return Some(format!("Host {} is not allowed", shown(call.host)));
    }
    if listed(&guard.allow_paths, &guard.deny_paths, Some(call.path)) {
        return Some(format!("Path {} is not allowed", shown(call.path)));
    }
    let over = |most: Option<u64>, found: u64| most.filter(|most| found > *most);
    if let Some(most) = over(guard.max_body_bytes, call.body_bytes) {
        return Some(format!("Request body of {} bytes is over {most}", call.body_bytes));
    }
    let unread =
        |what: &str, most: u64| format!("{what} can't be held to {most} tokens. {}", text::UNREAD);
    if let Some(most) = over(guard.max_input_tokens, call.bound.input) {
        if call.bound.unread {
            return Some(unread("Input", most));
        }
        return Some(format!("Input of up to {} tokens is over {most}", call.bound.input));
    }
    // However little the model can say: how many answers are asked for is not known either.
    if let (true, Some(most)) = (call.bound.unread, guard.max_output_tokens) {
        return Some(unread("Output", most));
    }
    // Who names no limit is given one instead.
    let asked = if call.bound.output_asked { call.bound.output } else { 0 };
    let most = over(guard.max_output_tokens, asked)?;
    Some(format!("Output of up to {asked} tokens is over {most}"))
}

/// The output a call that names no limit is given.
pub(super) fn output_cap(guard: &Guard, call: &Call<'_>) -> Option<u64> {
    guard.max_output_tokens.filter(|most| !call.bound.output_asked && call.bound.output > *most)
}

/// Names come from the client: short and printable.
fn shown(name: &str) -> String {
    crate::subject::printable(name, 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Bound;
    use crate::policy::testing;

    fn patterns(names: &[&str]) -> Vec<Pattern> {
        names.iter().map(|name| Pattern::new(name)).collect()
    }

    #[test]
    fn lists_sizes_and_tokens() {
        let subject = testing::subject("exe:curl", 1000, "alice");
        let call = testing::call(&subject);
        let bound = Bound { input: 100, output: 1000, output_asked: true, ..Bound::default() };
        let call = Call { model: Some("gpt-4o"), body_bytes: 10, bound, ..call };
        let broken = |guard: &Guard| breach(guard, &call);
        let none = Guard::default();
        assert_eq!(broken(&none), None);
        for (guard, expected) in [
            (
                Guard { deny_models: patterns(&["gpt-4*"]), ..none.clone() },
                Some("Model gpt-4o is not allowed"),
            ),
            (Guard { allow_models: patterns(&["gpt-4*"]), ..none.clone() }, None),
            (
                Guard { allow_models: patterns(&["claude-*"]), ..none.clone() },
                Some("Model gpt-4o is not allowed"),
            ),
            (
                Guard { deny_hosts: patterns(&["API.openai.com"]), ..none.clone() },
                Some("Host api.openai.com is not allowed"),
            ),
            (
                Guard { allow_paths: patterns(&["/v1/embeddings"]), ..none.clone() },
                Some("Path /v1/chat/completions is not allowed"),
            ),
            (Guard { max_body_bytes: Some(10), ..none.clone() }, None),
            (
                Guard { max_body_bytes: Some(9), ..none.clone() },
                Some("Request body of 10 bytes is over 9"),
            ),
            (
                Guard { max_input_tokens: Some(99), ..none.clone() },
                Some("Input of up to 100 tokens is over 99"),
            ),
            (
                Guard { max_output_tokens: Some(999), ..none },
                Some("Output of up to 1000 tokens is over 999"),
            ),
        ] {
            assert_eq!(broken(&guard).as_deref(), expected);
        }
    }

    #[test]
    fn p5_what_cannot_be_read_passes_no_list_of_allowed_models() {
        let subject = testing::subject("exe:curl", 1000, "alice");
        let call = Call { model: None, ..testing::call(&subject) };
        let allowing = Guard { allow_models: patterns(&["gpt-4o"]), ..Guard::default() };
        assert!(breach(&allowing, &call).is_some());
    }

    #[test]
    fn who_names_no_limit_is_given_one() {
        let subject = testing::subject("exe:curl", 1000, "alice");
        let bound = Bound { output: 1000, output_asked: false, ..Bound::default() };
        let call = Call { bound, ..testing::call(&subject) };
        let guard = Guard { max_output_tokens: Some(500), ..Guard::default() };
        assert_eq!((breach(&guard, &call), output_cap(&guard, &call)), (None, Some(500)));
    }
}
