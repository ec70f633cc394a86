//! "Did you mean …": names of policies close to one that is none.

/// Likeness from which on a name may have been meant.
const LIKE: f64 = 0.6;
/// Names suggested at most.
const MOST: usize = 3;

/// The names of `known` that `found` may have been meant as, closest first. What stands before the
/// dot may have been left out, or be another's.
pub(super) fn near<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let found = found.to_lowercase();
    let likeness = |name: &str| {
        let name = name.to_lowercase();
        let whole = strsim::normalized_damerau_levenshtein(&found, &name);
        let own = strsim::normalized_damerau_levenshtein(tail(&found), tail(&name));
        // Of two policies with the same own name, the one whose kind fits better comes first.
        own + whole / 100.0
    };
    let mut likely: Vec<(f64, &str)> =
        known.into_iter().map(|name| (likeness(name), name)).filter(|it| it.0 > LIKE).collect();
    likely.sort_by(|a, b| b.0.total_cmp(&a.0));
    likely.truncate(MOST);
    likely.into_iter().map(|(_, name)| name).collect()
}

/// The name without its kind. Names of models have dots in them too: only the first counts.
fn tail(name: &str) -> &str {
    name.split_once('.').map_or(name, |(_, own)| own)
}

/// `; did you mean `a` or `b`?`, or nothing.
pub(super) fn question(found: &str, known: &[String]) -> String {
    let near = near(found, known.iter().map(String::as_str));
    if near.is_empty() {
        return String::new();
    }
    let quoted: Vec<String> = near.iter().map(|name| format!("`{name}`")).collect();
    format!("; did you mean {}?", quoted.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_found_by_its_own_name() {
        let known = [
            "rate_limits.batch-agent",
            "rate_limits.*",
            "budgets.batch-agent",
            "budgets.code-reviewer",
            "failover.gpt-4o",
            "breaker.openai",
            "loop_protection",
            "retry",
        ];
        let meant = |found| near(found, known).join(" ");
        assert_eq!(meant("budgets.code-reviwer"), "budgets.code-reviewer");
        assert_eq!(meant("code-reviewer"), "budgets.code-reviewer");
        assert_eq!(meant("budget.batch-agent"), "budgets.batch-agent rate_limits.batch-agent");
        assert_eq!(meant("Failover.gpt4o"), "failover.gpt-4o");
        assert_eq!(meant("loop-protection"), "loop_protection");
        assert_eq!(meant("rate_limits.something-else"), "");
        assert_eq!(meant(""), "");
        let known = known.map(str::to_owned);
        assert_eq!(question("retri", &known), "; did you mean `retry`?");
        assert_eq!(question("x", &known), "");
    }
}
