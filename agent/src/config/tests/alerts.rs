//! Alerts, audit and tracing as users write them.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::alerts::settings::{MailTls, Means};
use crate::record::Topic;
use crate::secret::Secret;

/// Every kind of channel.
const ALERTS: &str = r#"
alerts:
  template: "{{.AgentName}} has spent {{.SpentPercent}}%"
  channels:
    hook:
      webhook: {url: "https://hooks.example.com/x", secret: hunter2, headers: {X-Team: {env: TEAM}}}
      template: "{{.Policy}}: {{.Message}}"
    inner:
      webhook: {url: "http://127.0.0.1:9000/"}
      allow_private: true
    slack:
      slack: {url: {literal: "https://hooks.slack.com/services/T/B/hunter2"}}
    pager:
      pagerduty: {routing_key: {systemd-credential: pagerduty}}
    mail:
      email:
        smtp: smtp.example.com
        username: weir
        password: {file: password}
        from: weir@example.com
        to: [ops@example.com, oncall@example.com]
  routes:
    - {topics: [budget_threshold, budget_exceeded], policies: ["budgets.*"], channels: [slack, mail]}
    - {topics: [escalation, breaker_opened, breaker_closed], channels: [pager]}
"#;

fn written() -> Dir {
    let dir = Dir::new(&[("weir.yaml", ALERTS), ("password", "p\n")]);
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(dir.0.path().join("weir.yaml"), private).unwrap();
    dir
}

#[test]
fn every_kind_of_channel_is_read() {
    let dir = written();
    let config = dir.load();
    assert_eq!(config.warnings, []);
    let alerts = config.alerts;
    let means = |name: &str| {
        let channel = alerts.channels.iter().find(|channel| &*channel.name == name).unwrap();
        channel.means.clone().unwrap()
    };
    let Means::Webhook { url, secret, headers } = means("hook") else { panic!("a webhook") };
    assert_eq!((&*url.host, url.port, url.tls), ("hooks.example.com", 443, true));
    assert_eq!(secret, Some(SecretSource::Literal(Secret::new("hunter2"))));
    assert_eq!(headers[0].1, SecretSource::Env("TEAM".to_owned()));
    let Means::PagerDuty { routing_key, url } = means("pager") else { panic!("PagerDuty") };
    assert_eq!(routing_key, SecretSource::Credential("pagerduty".to_owned()));
    assert_eq!((&*url.host, &*url.path), ("events.pagerduty.com", "/v2/enqueue"));
    let Means::Email(mail) = means("mail") else { panic!("e-mail") };
    assert_eq!((&*mail.host, mail.port, mail.tls), ("smtp.example.com", 587, MailTls::StartTls));
    assert_eq!(mail.login.unwrap().1, SecretSource::File(dir.0.path().join("password")));
    assert_eq!(mail.to.len(), 2);
    assert_eq!(alerts.routes[0].topics, [Topic::BudgetThreshold, Topic::BudgetExceeded]);
    assert_eq!(&*alerts.routes[1].channels[0], "pager");
    // Written once for all, and for one alone.
    let template = |name: &str| {
        alerts.channels.iter().find(|channel| &*channel.name == name).unwrap().template.clone()
    };
    assert_eq!(template("slack"), template("mail"));
    assert_ne!(template("slack"), template("hook"));
}

#[test]
fn secrets_are_never_shown() {
    let dir = written();
    let effective = effective(&dir.paths()).unwrap();
    for shown in [effective.yaml(), effective.json().to_string(), format!("{:?}", effective.config)]
    {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    assert!(effective.yaml().contains("secret: \"[redacted]\"  # "), "{}", effective.yaml());
    let again = problems(&effective.yaml());
    let redacted = |problem: &&String| problem.contains("stands for a secret that was not shown");
    assert_eq!(again.iter().filter(redacted).count(), 2, "{again:#?}");
}

#[test]
fn a_secret_that_everyone_can_read_is_warned_of() {
    let dir = written();
    let everyone = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(dir.0.path().join("weir.yaml"), everyone).unwrap();
    let warned = dir.load().warnings;
    let paths: Vec<_> = warned.iter().map(|warning| warning.path.as_str()).collect();
    assert_eq!(paths, ["alerts.channels.hook.webhook.secret", "alerts.channels.slack.slack.url"]);
    assert!(warned[0].what.starts_with("everyone on this host can read this secret"));
    assert_eq!(warned[0].place.as_ref().unwrap().line, 6);
}

/// The sections of DESIGN's configuration that are this module's, as they stand there.
#[test]
fn the_designs_sections_load_unmodified() {
    let whole = include_str!("../../../../tests/golden/config/design.yaml");
    let own = &whole[whole.find("webhooks:").unwrap()..];
    let config = config(own);
    let warned: Vec<_> = config.warnings.iter().map(|warning| warning.path.as_str()).collect();
    let expected = [
        "webhooks.definitions.budget-alert.secret",
        "webhooks.definitions.budget-alert.model",
        "webhooks.definitions.budget-alert.callback_url",
        "audit.enabled",
    ];
    assert_eq!(warned, expected);
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        (
            "alerts: {template: '{{.AgentNam}}'}",
            "1:20: alerts.template: there is no variable `{{.AgentNam}}` (did you mean \
             `AgentName`?)",
        ),
        ("alerts: {template: '{{.Payload}}'}", "1:20: alerts.template: there is no variable"),
        ("alerts: {template: '{{if}}'}", "1:20: alerts.template: `{{if}}` is not a variable"),
        ("alerts: {template: 'a {{.Spent'}", "1:20: alerts.template: `{{` without its `}}`"),
        (
            "alerts: {channels: {a: {}}}",
            "1:24: alerts.channels.a: needs one of webhook, slack, pagerduty, email",
        ),
        (
            "alerts: {channels: {a: {slack: {}, email: {}}}}",
            "1:24: alerts.channels.a: takes only one of",
        ),
        (
            "alerts: {channels: {a: {webhook: {secret: {env: X}}}}}",
            "1:34: alerts.channels.a.webhook: needs `url`",
        ),
        (
            "alerts: {channels: {a: {webhook: {url: example.com}}}}",
            "1:40: alerts.channels.a.webhook.url: is not a URL to post to",
        ),
        (
            "alerts: {channels: {a: {webhook: {url: 'https://10.1.2.3/'}}}}",
            "1:40: alerts.channels.a.webhook.url: 10.1.2.3 is a private address: it needs",
        ),
        (
            "alerts: {channels: {a: {webhook: {url: 'http://169.254.169.254/'}, allow_private: true}}}",
            "1:40: alerts.channels.a.webhook.url: 169.254.169.254 is never posted to",
        ),
        (
            "alerts: {channels: {a: {webhook: {url: 'http://example.com/'}}}}",
            "1:40: alerts.channels.a.webhook.url: plain http needs `allow_private: true`",
        ),
        (
            "alerts: {channels: {a: {webhook: {url: 'https://a.b', headers: {Host: {env: X}}}}}}",
            "1:71: alerts.channels.a.webhook.headers.Host: the header `host` is set by weir",
        ),
        (
            "alerts: {channels: {a: {webhook: {url: 'https://a.b', secret: {env: X, file: Y}}}}}",
            "1:63: alerts.channels.a.webhook.secret: takes only one of env, file,",
        ),
        (
            "alerts: {channels: {a: {webhook: {url: 'https://a.b', secret: {fle: X}}}}}",
            "1:63: alerts.channels.a.webhook.secret: `fle` is not one of env, file, \
             systemd-credential, literal (did you mean `file`?)",
        ),
        (
            "alerts: {channels: {a: {webhook: {url: 'https://a.b', secret: {file: none}}}}}",
            "1:63: alerts.channels.a.webhook.secret: there is no file W/none",
        ),
        (
            "alerts: {channels: {a: {webhook: {url: 'https://a.b', secret: ''}}}}",
            "1:63: alerts.channels.a.webhook.secret: the secret is empty",
        ),
        (
            "alerts: {channels: {a: {pagerduty: {}}}}",
            "1:36: alerts.channels.a.pagerduty: needs `routing_key`",
        ),
        ("alerts: {channels: {a: {slack: {}}}}", "1:32: alerts.channels.a.slack: needs `url`"),
        (
            "alerts: {channels: {a: {email: {smtp: a, from: b@c, to: []}}}}",
            "1:57: alerts.channels.a.email.to: needs at least one address",
        ),
        (
            "alerts: {channels: {a: {email: {smtp: 'a:0', from: b@c, to: [d@e]}}}}",
            "1:39: alerts.channels.a.email.smtp: `a:0` is not a mail server",
        ),
        (
            "alerts: {channels: {a: {email: {smtp: a, from: 'b@c>', to: [d@e]}}}}",
            "1:48: alerts.channels.a.email.from: `b@c>` is not an e-mail address",
        ),
        (
            "alerts: {channels: {a: {email: {smtp: a, from: b@c, to: [d@e], username: u}}}}",
            "1:32: alerts.channels.a.email: `username` needs `password`",
        ),
        (
            "alerts: {channels: {a: {email: {smtp: a, from: b@c, to: [d@e], tls: none, username: u, \
             password: {env: X}}}}}",
            "1:69: alerts.channels.a.email.tls: a password is not sent in clear",
        ),
        (
            "alerts: {channels: {a: {email: {smtp: a, from: b@c, to: [d@e], tls: startls}}}}",
            "1:69: alerts.channels.a.email.tls: `startls` is not one of implicit, starttls, none \
             (did you mean `starttls`?)",
        ),
        (
            "alerts: {routes: [{channels: []}]}",
            "1:30: alerts.routes[0].channels: needs at least one channel",
        ),
        (
            "alerts: {channels: {slack: {slack: {url: {env: X}}}}, routes: [{channels: [slak]}]}",
            "1:76: alerts.routes[0].channels[0]: there is no channel `slak` (did you mean `slack`?)",
        ),
        (
            "alerts: {channels: {a: {slack: {url: {env: X}}}}, routes: [{topics: [budget], \
             channels: [a]}]}",
            "1:70: alerts.routes[0].topics[0]: `budget` is not one of budget_threshold,",
        ),
        (
            "alerts: {channels: {a: {slack: {url: {env: X}}}}, routes: [{policies: [budget.x], \
             channels: [a]}]}",
            "1:72: alerts.routes[0].policies[0]: no policy's name begins with `budget` (did you \
             mean `budgets`?)",
        ),
        ("tracing: {sample_rate: 1.5}", "1:24: tracing.sample_rate: `1.5` is not a share"),
        (
            "tracing: {endpoint: 'collector:4318'}",
            "1:21: tracing.endpoint: `collector:4318` is not",
        ),
        (
            "tracing: {endpoint: 'http://c:4317'}",
            "1:21: tracing.endpoint: `http://c:4317` is the port for",
        ),
        (
            "tracing: {endpoint: 'http://c:4318/v1/traces'}",
            "1:21: tracing.endpoint: `http://c:4318/v1/tr",
        ),
        ("tracing: {headers: {host: x}}", "1:27: tracing.headers.host: the header `host` is set"),
        (
            "tracing: {headers: {'a b': x}}",
            "1:28: tracing.headers.a b: `a b` is not a header's name",
        ),
        ("tracing: {timeout: 0s}", "1:20: tracing.timeout: must be longer than 0s"),
        ("tracing: {metrics_interval: 0s}", "1:29: tracing.metrics_interval: must be longer"),
        (
            "tracing: {compression: zstd}",
            "1:24: tracing.compression: `zstd` is not one of gzip, none",
        ),
        ("tracing: {ca_file: nowhere.pem}", "1:20: tracing.ca_file: there is no file"),
        ("tracing: {metric: false}", "1:11: tracing.metric: this key is not known"),
        ("audit: {enabeld: true}", "1:9: audit.enabeld: this key is not known"),
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
