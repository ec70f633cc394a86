//! Retries, breakers and failover as users write them, and every way to write them wrong.

use std::time::Duration;

use super::*;

#[test]
fn reliability_is_read_as_it_is_written() {
    let dir = Dir::new(&[
        ("key", "sk-1"),
        (
            "weir.yaml",
            r#"
failover:
  max_retries: 1
  allow_loss: [seed]
  fallback_on: [overloaded, rate_limit]
  chains:
    gpt-4o: ["gpt-4o-mini", "claude-opus-4-6"]
    claude-opus-4-6: {models: ["tier:cheap", local/llama3], enforcement: shadow}
tiers:
  cheap: [anthropic/claude-haiku-4-5, gpt-4o-mini]
reliability:
  preset: cost-sensitive
  retry: {attempts: 4, strategy: fixed, base: 100ms, enforcement: "canary:10"}
  breaker: {failures: 7, failure_percent: 60, minimum_calls: 40}
  timeouts: {first_byte: 20s}
  providers:
    local: {retry: {attempts: 1}, health_checks: {enabled: true}}
providers:
  openai: {api_key: {file: key}}
  local: {format: openai, base_url: "http://127.0.0.1:11434/v1", free: true}
"#,
        ),
    ]);
    let config = dir.load();
    let settings = &config.reliability;
    assert_eq!(settings.max_hops, 1);
    let chains: Vec<_> = settings
        .chains
        .iter()
        .map(|chain| {
            let hops = chain.hops.iter().map(|hop| format!("{}/{}", hop.provider, hop.model));
            (&*chain.policy, chain.enforcement.to_string(), hops.collect::<Vec<_>>().join(" "))
        })
        .collect();
    assert_eq!(
        chains,
        [
            (
                "failover.claude-opus-4-6",
                "shadow".to_owned(),
                "anthropic/claude-haiku-4-5 openai/gpt-4o-mini local/llama3".to_owned()
            ),
            (
                "failover.gpt-4o",
                "enforce".to_owned(),
                "openai/gpt-4o-mini anthropic/claude-opus-4-6".to_owned()
            ),
        ]
    );
    let retry = &settings.general.retry;
    assert_eq!((retry.attempts, retry.base), (4, Duration::from_millis(100)));
    assert_eq!(settings.retries.to_string(), "canary:10");
    let breaker = &settings.general.breaker;
    assert_eq!((breaker.failures, breaker.failure_percent, breaker.minimum_calls), (7, 60, 40));
    assert_eq!(settings.general.breaker.open, Duration::from_secs(30), "the preset's");
    assert_eq!(settings.rules("local").retry.attempts, 1);
    assert!(settings.rules("local").health_checks.is_some());
    assert_eq!(settings.rules("openai").timeouts.first_byte, Some(Duration::from_secs(20)));
    for reachable in ["local", "openai"] {
        assert!(settings.reachable.iter().any(|name| &**name == reachable));
    }
    assert!(!settings.reachable.iter().any(|name| &**name == "anthropic"));
    let [_local, openai] = &config.providers[..] else { panic!("two providers") };
    assert_eq!(openai.api_key.as_ref().unwrap().read().unwrap().reveal(), "sk-1");
}

#[test]
fn what_is_wrong_with_reliability_is_named() {
    for (text, expected) in [
        ("failover: {chains: {gpt-4o: [llama3]}}", "chains.gpt-4o[0]: cannot tell whose model"),
        ("failover: {chains: {gpt-4o: [gpt-4o]}}", "chains.gpt-4o[0]: is the model that has"),
        ("failover: {chains: {gpt-4o: ['tier:x']}}", "chains.gpt-4o[0]: there is no tier `x`"),
        ("failover: {chains: {gpt-4o: []}}", "chains.gpt-4o: needs at least one model"),
        (
            "failover: {chains: {gpt-4o: {models: [anthropic/claude-x]}}}",
            "chains.gpt-4o.models[0]: needs a key of its own: providers.anthropic.api_key",
        ),
        ("tiers: {a: ['tier:b'], b: ['tier:a']}", "tiers.a: tier `a` contains itself"),
        ("failover: {allow_loss: [everything]}", "allow_loss[0]: `everything` is not one of tools"),
        ("failover: {fallback_on: [rain]}", "fallback_on[0]: `rain` is not one of timeout"),
        ("failover: {enforcement: maybe}", "enforcement: `maybe` is none of off"),
        ("reliability: {retry: {attempts: 0}}", "retry.attempts: must be from 1 to 10"),
        ("reliability: {retry: {base: 0s}}", "retry.base: must be longer than 0s"),
        ("reliability: {providers: {nobody: {}}}", "providers.nobody: there is no provider"),
        ("reliability: {preset: best}", "reliability.preset"),
        ("providers: {openai: {api_key: {}}}", "api_key: needs one of env, file, systemd"),
        (
            "providers: {openai: {api_key: {env: A, file: B}}}",
            "api_key: takes only one of env, file",
        ),
        ("providers: {openai: {api_key: sk-1}}", "providers.openai.api_key"),
    ] {
        let problems = problems(text).join("\n");
        assert!(problems.contains(expected), "{text}: {problems}");
        assert!(!problems.contains("sk-1"), "no key is printed: {problems}");
    }
}

#[test]
fn several_endpoints_are_read_as_they_are_written() {
    let dir = Dir::new(&[
        ("key", "sk-1"),
        (
            "weir.yaml",
            r#"
providers:
  openai:
    endpoints:
      - {weight: 3}
      - {api_key: {file: key}}
      - {name: spare, base_url: "https://llm.example.com/openai/v1", api_key: {file: key}}
      - {base_url: "http://10.0.0.7:8000/v1", credentials: none}
      - {base_url: "https://us.example.com", credentials: client}
"#,
        ),
    ]);
    let config = dir.load();
    let [openai] = &config.providers[..] else { panic!("one provider") };
    let read: Vec<_> = openai
        .endpoints
        .iter()
        .map(|endpoint| (&*endpoint.name, endpoint.weight.get(), &endpoint.credential))
        .collect();
    let own = EndpointCredential::Own(SecretSource::File(dir.0.path().join("key")));
    assert_eq!(
        read,
        [
            ("api.openai.com", 3, &EndpointCredential::Client),
            ("api.openai.com#2", 1, &own),
            ("spare", 1, &own),
            ("10.0.0.7:8000", 1, &EndpointCredential::Nothing),
            ("us.example.com", 1, &EndpointCredential::Client),
        ]
    );
    let settings = &config.reliability;
    assert!(settings.reachable.iter().any(|name| &**name == "openai"), "with keys of ours");
    let members: Vec<_> =
        settings.endpoints[0].1.iter().map(|member| member.weight.get()).collect();
    assert_eq!(members, [3, 1, 1, 1, 1]);
}

/// A client's credential leaves for nowhere that nobody has named.
#[test]
fn what_is_wrong_with_endpoints_is_named() {
    let of = |endpoint: &str| format!("providers: {{openai: {{endpoints: [{endpoint}]}}}}");
    for (endpoint, expected) in [
        ("{base_url: 'https://llm.example.com'}", "endpoints[0]: is not the provider's own host"),
        ("{base_url: 'http://api.openai.com'}", "endpoints[0]: is not the provider's own host"),
        ("{base_url: 'https://api.openai.com:8443'}", "is not the provider's own host"),
        ("{base_url: 'https://api.openai.com.evil.example'}", "is not the provider's own host"),
        ("{api_key: {env: A}, credentials: client}", "takes either `api_key` or `credentials`"),
        ("{weight: 0}", "endpoints[0].weight: must be from 1 to 1000"),
        ("{name: a}, {name: a}", "endpoints[1].name: there are two endpoints `a`"),
        ("{name: a/b}", "endpoints[0].name: a name of an endpoint has no `@`"),
        ("{base_url: nowhere}", "endpoints[0].base_url: `nowhere` is not a base URL"),
        ("{api_key: sk-1}", "endpoints[0].api_key"),
        ("{ca_file: /dev/null}", "endpoints[0].ca_file"),
        ("{wieght: 1}", "wieght"),
    ] {
        let problems = problems(&of(endpoint)).join("\n");
        assert!(problems.contains(expected), "{endpoint}: {problems}");
    }
}
