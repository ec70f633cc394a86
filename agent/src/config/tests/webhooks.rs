//! Webhooks that others call, as users write them.

use super::*;
use crate::policy::settings::Says;

#[test]
fn a_definition_says_all_there_is_to_know() {
    let config = config(
        "webhooks:
  enabled: true
  max_body: 64KiB
  definitions:
    triage:
      secret: {env: HOOK}
      model: anthropic/claude-opus-4-6
      prompt_template: 'sort this: {{.Payload}}'
      system_prompt: be brief
      max_tokens: 50
      callback_url: http://127.0.0.1:9000/done
      allow_private: true
      replay_window: 1m
      require_timestamp: false
      concurrency: 2
      queue: 3
providers: {anthropic: {api_key: {env: KEY}}}
rate_limits:
  webhook:triage: {requests_per_minute: 5}
",
    );
    assert_eq!(config.warnings, []);
    let webhooks = &config.webhooks;
    assert!(webhooks.enabled);
    assert_eq!(webhooks.max_body, 64 << 10);
    let [it] = &webhooks.definitions[..] else { panic!("one") };
    assert_eq!((&*it.name, &*it.provider, &*it.model), ("triage", "anthropic", "claude-opus-4-6"));
    assert_eq!((it.system.as_deref(), it.max_tokens.get()), (Some("be brief"), 50));
    assert_eq!((it.window, it.require_timestamp), (Duration::from_mins(1), false));
    assert_eq!((it.concurrency.get(), it.queue.get()), (2, 3));
    let callback = it.callback.as_ref().unwrap();
    assert!(callback.allow_private);
    assert_eq!(callback.url.as_ref().unwrap().port, 9000);
    assert!(it.secret.is_ok());

    let rule = config.policy.rules.iter().find(|it| &*it.name == "rate_limits.webhook:triage");
    let rule = rule.unwrap();
    assert!(matches!(rule.says, Says::Limit(_)));
    assert_eq!(rule.selector.workload[0].to_string(), "webhook:triage");
}

#[test]
fn what_is_not_said_is_careful() {
    let webhooks = config(
        "webhooks: {definitions: {w: {secret: {env: X}, model: gpt-4o, prompt_template: a}}}",
    )
    .webhooks;
    assert!(!webhooks.enabled);
    assert_eq!(webhooks.max_body, 1 << 20);
    let [it] = &webhooks.definitions[..] else { panic!("one") };
    assert!(it.require_timestamp && it.callback.is_none() && it.system.is_none());
    assert_eq!(it.window, Duration::from_mins(5));
    assert_eq!((it.concurrency.get(), it.queue.get(), it.max_tokens.get()), (4, 64, 1024));
}

#[test]
fn what_cannot_work_is_warned_of() {
    let start =
        "webhooks: {enabled: true, definitions: {w: {secret: {env: X}, prompt_template: a, ";
    let warned = |rest: &str| {
        let warnings = config(&format!("{start}{rest}")).warnings;
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("|")
    };
    let found = warned("model: gpt-4o}}}");
    assert!(
        found.ends_with("no call can be made: there is no providers.openai.api_key"),
        "{found}"
    );
    assert_eq!(warned("model: gpt-4o}}}\nproviders: {openai: {api_key: {env: X}}}"), "");
    assert_eq!(warned("model: ollama/llama3.2}}}"), "", "a local model asks for no key");
    let found = warned("model: ollama/llama3.2, callback_url: 'https://bücher.example/'}}}");
    assert!(found.contains("callback_url: nothing can be posted there"), "{found}");
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        (
            "webhooks: {definitions: {w: {secret: {env: X}, prompt_template: a}}}",
            "1:29: webhooks.definitions.w: needs `model`",
        ),
        (
            "webhooks: {definitions: {w: {model: gpt-4o, prompt_template: a}}}",
            "1:29: webhooks.definitions.w: needs `secret`",
        ),
        (
            "webhooks: {definitions: {w: {secret: {env: X}, model: gpt-4o}}}",
            "1:29: webhooks.definitions.w: needs `prompt_template`",
        ),
        (
            "webhooks: {definitions: {w: {secret: {env: X}, model: nobodys, prompt_template: a}}}",
            "1:55: webhooks.definitions.w.model: cannot tell whose model `nobodys` is: write \
             PROVIDER/MODEL",
        ),
        (
            "webhooks: {definitions: {w: {secret: {env: X}, model: 'tier:big', prompt_template: a}}}",
            "1:55: webhooks.definitions.w.model: `tier:big` is no model",
        ),
        (
            "webhooks: {definitions: {w: {secret: {env: X}, model: gpt-4o, prompt_template: '{{.Paylod}}'}}}",
            "1:80: webhooks.definitions.w.prompt_template: there is no variable `{{.Paylod}}` \
             (did you mean `Payload`?)",
        ),
        (
            "webhooks: {definitions: {w: {secret: {env: X}, model: gpt-4o, prompt_template: a, \
             callback_url: 'http://localhost.example/'}}}",
            "1:97: webhooks.definitions.w.callback_url: plain http needs",
        ),
        (
            "webhooks: {definitions: {w: {secret: {env: X}, model: gpt-4o, prompt_template: a, \
             callback_url: 'https://10.0.0.1/'}}}",
            "1:97: webhooks.definitions.w.callback_url: 10.0.0.1 is a private address: it needs",
        ),
        (
            "webhooks: {definitions: {w: {secret: {env: X}, model: gpt-4o, prompt_template: a, \
             callback_url: 'nowhere'}}}",
            "1:97: webhooks.definitions.w.callback_url: is not a URL to post to",
        ),
        (
            "webhooks: {definitions: {a/b: {secret: {env: X}, model: gpt-4o, prompt_template: a}}}",
            "1:31: webhooks.definitions.a/b: a webhook's name has",
        ),
        ("webhooks: {max_body: 0}", "1:22: webhooks.max_body: must be from 1 byte to 16 MiB"),
        (
            "webhooks: {definitions: {w: {secret: {env: X}, model: gpt-4o, prompt_template: a, \
             queue: 0}}}",
            "1:90: webhooks.definitions.w.queue: must be from 1 to 10000",
        ),
        (
            "webhooks: {definitions: {w: {secret: {env: X}, model: gpt-4o, prompt_template: a, \
             replay_window: 2d}}}",
            "1:98: webhooks.definitions.w.replay_window: must be from 1s to 24h",
        ),
    ];
    let mut others = Vec::new();
    for (text, expected) in cases {
        let dir = Dir::new(&[("weir.yaml", text)]);
        let found = if load(&dir.paths()).is_ok() { Vec::new() } else { dir.problems() };
        let expected = format!("W/weir.yaml:{expected}");
        if !matches!(&found[..], [only] if only.starts_with(&expected)) {
            others.push((text, expected, found));
        }
    }
    assert!(others.is_empty(), "{others:#?}");
}

#[test]
fn a_prompt_takes_the_variables_of_webhooks_and_of_alerts() {
    config(
        "webhooks: {definitions: {budget-alert: {secret: {env: X}, model: gpt-4o-mini, \
         prompt_template: '{{.Payload}} {{.Headers}} {{.Timestamp}} {{.WebhookName}} \
         {{.AgentName}} {{.SpentPercent}} {{.Spent}} {{.Limit}} {{.Remaining}}'}}}",
    );
}
