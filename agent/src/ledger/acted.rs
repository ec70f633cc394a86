//! What policies did about a call, in a form that many calls share: `POLICY\tACTION` lines. Sums over
//! it need no look at single decisions.

use std::borrow::Cow;

use crate::record::Decision;

/// What is kept of one call: its decisions name far fewer policies.
const MOST: usize = 64;

/// What a policy says of calls that it leaves alone, or of those it only chose an endpoint for.
const IDLE: [&str; 2] = ["pass", "use"];

/// Takes down what policies did about a call, or would have done.
pub(super) fn of(decisions: &[Decision]) -> Cow<'static, str> {
    let mut text = String::new();
    let did = decisions.iter().filter(|it| !IDLE.contains(&&*it.action) && is_policy(&it.rule));
    for decision in did.take(MOST) {
        if !text.is_empty() {
            text.push('\n');
        }
        // Names are the configuration's: one with a line break in it would be two.
        text.extend(decision.rule.chars().map(|c| if c.is_control() { ' ' } else { c }));
        text.push('\t');
        text.push_str(&decision.action);
    }
    if text.is_empty() { Cow::Borrowed("") } else { Cow::Owned(text) }
}

/// Policies and what they did.
pub(super) fn read(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once('\t'))
}

/// How often something was done to the call against its client's wish.
pub(super) fn enforced(text: &str) -> usize {
    read(text)
        .filter(|(policy, action)| match *action {
            "downgrade" => !is_skipped(text, policy),
            action => matches!(action, "refuse" | "delay" | "freeze" | "cut"),
        })
        .count()
}

/// Whether a policy that would take the call to another model says that it could not after all.
pub(super) fn is_skipped(text: &str, policy: &str) -> bool {
    read(text).any(|did| did == (policy, "skip"))
}

/// Names of policies have a dot in them, but for those there is one of. What cuts a stream acts
/// for the budgets together.
fn is_policy(rule: &str) -> bool {
    rule.contains('.') || matches!(rule, "retry" | "loop_protection" | "reserve")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn decided(rule: &str, action: &str) -> Decision {
        let (rule, action, detail) = (rule.into(), action.into(), "".into());
        Decision { at: Duration::ZERO, rule, action, detail }
    }

    #[test]
    fn what_was_done_reads_back_and_the_rest_leaves_no_trace() {
        let decisions = [
            decided("route", "provider openai"),
            decided("rate_limits.a", "pass"),
            decided("budgets.a\nb", "downgrade"),
            decided("retry", "retry"),
            decided("budgets.c", "would-refuse"),
            decided("balance.openai", "use"),
            decided("price", "$0.01"),
        ];
        let text = of(&decisions);
        let read: Vec<_> = read(&text).collect();
        let expected =
            [("budgets.a b", "downgrade"), ("retry", "retry"), ("budgets.c", "would-refuse")];
        assert_eq!(read, expected);
        assert_eq!(enforced(&text), 1);
        assert!(matches!(of(&decisions[..2]), Cow::Borrowed("")));
        assert_eq!(of(&vec![decided("budgets.x", "refuse"); 1000]).lines().count(), MOST);
    }
}
