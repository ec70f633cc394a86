//! The configuration that users bring from elsewhere loads as it is written.

use super::{Dir, Mode};
use crate::policy::Enforcement;
use crate::policy::settings::{Rule, Says};

const DESIGN: &str = include_str!("../../../../tests/golden/config/design.yaml");

fn caps(rule: &Rule) -> Vec<(&'static str, u64)> {
    let Says::Limit(limit) = &rule.says else { panic!("no limit: {rule:?}") };
    limit.caps.iter().map(|cap| (cap.unit, cap.limit.get())).collect()
}

#[test]
fn the_whole_file_loads_and_says_what_it_means() {
    let effective = super::effective(&Dir::new(&[("weir.yaml", DESIGN)]).paths()).unwrap();
    let config = &effective.config;
    assert_eq!((config.mode, &*config.environment), (Mode::Enforce, "prod"));
    let rule = |name: &str| config.policy.rules.iter().find(|rule| *rule.name == *name).unwrap();

    let rate = rule("rate_limits.batch-agent");
    assert_eq!(caps(rate), [("requests_per_minute", 5), ("requests_per_hour", 100)]);
    let budget = rule("budgets.code-reviewer");
    let dollars = |dollars: u64| dollars * 1_000_000_000;
    let limits = [("daily_limit_usd", dollars(10)), ("monthly_limit_usd", dollars(200))];
    assert_eq!(caps(budget), limits);
    let Says::Limit(limit) = &budget.says else { panic!("no limit") };
    assert_eq!(limit.watch.as_ref().unwrap().alert_at, [80]);
    assert!([rate, budget].iter().all(|rule| rule.enforcement == Enforcement::Enforce));

    let [chain] = &config.reliability.chains[..] else { panic!("one chain") };
    assert_eq!((&*chain.policy, &*chain.model), ("failover.gpt-4o", "gpt-4o"));
    let hops: Vec<_> = chain.hops.iter().map(|hop| (&*hop.provider, &*hop.model)).collect();
    assert_eq!(hops, [("openai", "gpt-4o-mini"), ("anthropic", "claude-opus-4-6")]);
    assert_eq!(config.reliability.max_hops, 1);

    let webhooks = &effective.json()["webhooks"];
    assert_eq!(webhooks["enabled"], true);
    let webhook = &webhooks["definitions"]["budget-alert"];
    assert_eq!(webhook["model"], "gpt-4o-mini");
    assert_eq!(webhook["prompt_template"], "…{{.AgentName}}…");
    assert_eq!(webhook["callback_url"], "https://…");
    assert_ne!(webhook["secret"], "…", "a secret is not shown");
    let [webhook] = &config.webhooks.definitions[..] else { panic!("one webhook") };
    assert_eq!((&*webhook.provider, &*webhook.model), ("openai", "gpt-4o-mini"));

    // What it asks for and this release does not do is said.
    let warned: Vec<_> = config.warnings.iter().map(|warning| warning.path.as_str()).collect();
    assert!(warned.contains(&"audit.enabled"), "{warned:?}");
}
