//! What each kind of receiver is sent.

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use super::delivery::Delivery;
use super::template::{percent, remaining, timestamp};
use crate::record::{Notice, Topic};

/// Longest summary that PagerDuty takes, in characters.
const SUMMARY: usize = 1024;
/// Longest text that Slack shows whole, in characters.
const SLACK: usize = 3000;
/// Longest deduplication key that PagerDuty takes, in characters.
const DEDUP_KEY: usize = 255;

/// The body of a webhook: everything known, and the channel's text. It is the same for every
/// attempt.
pub(super) fn webhook(delivery: &Delivery, text: &str, host: &str) -> Value {
    let Notice { policy, subject, message, .. } = &delivery.notice;
    let mut body = details(delivery);
    let own = json!({
        "id": delivery.id.to_string(), "topic": delivery.topic(), "policy": policy,
        "agent_name": subject, "message": message, "text": text, "host": host,
        "timestamp": timestamp(delivery.notice.at),
    });
    if let (Value::Object(body), Value::Object(own)) = (&mut body, own) {
        body.extend(own);
    }
    body
}

/// The figures of a notice, as far as it has any.
fn details(delivery: &Delivery) -> Value {
    let notice = &delivery.notice;
    let mut map = serde_json::Map::new();
    let mut add = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            map.insert(key.to_owned(), Value::String(value));
        }
    };
    add("spent_usd", notice.spent.map(|amount| amount.to_string()));
    add("limit_usd", notice.limit.map(|amount| amount.to_string()));
    add("remaining_usd", remaining(notice).map(|amount| amount.to_string()));
    add("spent_percent", percent(notice));
    add("call_id", notice.call_id.map(|id| id.to_string()));
    add("class", notice.class.as_deref().map(str::to_owned));
    if let Some(finding) = &notice.finding {
        add("task", finding.task.as_deref().map(str::to_owned));
        add("measured", Some(finding.measured.clone()));
        add("target", Some(finding.target.clone()));
    }
    if let Some(uid) = notice.uid {
        map.insert("uid".to_owned(), uid.into());
    }
    Value::Object(map)
}

/// `sha256=` and the hex HMAC-SHA-256 of the body.
pub(super) fn signature(secret: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut text = "sha256=".to_owned();
    for byte in hmac::sign(&key, body).as_ref() {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
    text
}

/// Slack's incoming webhook: text and where it comes from. Slack reads `&`, `<` and `>` as its own
/// marks, which names could otherwise use to mention everybody.
pub(super) fn slack(delivery: &Delivery, text: &str, host: &str) -> Value {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let text = escaped(&shortened(text, SLACK));
    let origin =
        format!("{} · {} · weir on {host}", delivery.topic(), escaped(&delivery.notice.policy));
    json!({
        "text": text,
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": text}},
            {"type": "context", "elements": [{"type": "mrkdwn", "text": origin}]},
        ],
    })
}

/// PagerDuty's Events API v2. What opens and what closes have one key, so that a breaker that
/// closes resolves the incident it opened.
pub(super) fn pagerduty(delivery: &Delivery, key: &str, text: &str, host: &str) -> Value {
    let notice = &delivery.notice;
    let resolves = !delivery.test && is_good(notice.topic);
    let subject = if delivery.test { delivery.id.to_string() } else { notice.subject.to_string() };
    let class = match family(delivery) {
        // What fails most changes while it goes on.
        "error_budget" | "sla" => task(notice),
        _ => notice.class.as_deref().unwrap_or_default(),
    };
    let place = format!("weir/{}/{}", shortened(host, 64), family(delivery));
    let dedup_key = format!("{place}/{}/{subject}/{class}", notice.policy);
    let mut event = json!({
        "routing_key": key,
        "event_action": if resolves { "resolve" } else { "trigger" },
        "dedup_key": shortened(&dedup_key, DEDUP_KEY),
    });
    if !resolves && let Value::Object(event) = &mut event {
        let payload = json!({
            "summary": shortened(text, SUMMARY),
            "source": host,
            "severity": severity(delivery),
            "timestamp": timestamp(notice.at),
            "component": notice.policy,
            "group": notice.subject,
            "class": delivery.topic(),
            "custom_details": details(delivery),
        });
        event.insert("client".to_owned(), "weir".into());
        event.insert("payload".to_owned(), payload);
    }
    event
}

/// The task that it is about.
fn task(notice: &Notice) -> &str {
    notice.finding.as_ref().and_then(|finding| finding.task.as_deref()).unwrap_or_default()
}

/// Whether something is well again.
fn is_good(topic: Topic) -> bool {
    matches!(
        topic,
        Topic::BreakerClosed
            | Topic::CostSpikeOver
            | Topic::ErrorBudgetRecovered
            | Topic::SlaRecovered
    )
}

/// Topics that are about the same trouble.
fn family(delivery: &Delivery) -> &'static str {
    match delivery.notice.topic {
        _ if delivery.test => "test",
        Topic::BreakerOpened | Topic::BreakerClosed => "breaker",
        Topic::BudgetThreshold | Topic::BudgetExceeded | Topic::BudgetForecast => "budget",
        Topic::CostSpike | Topic::CostSpikeOver => "cost_spike",
        Topic::ErrorBudgetThreshold | Topic::ErrorBudgetExceeded | Topic::ErrorBudgetRecovered => {
            "error_budget"
        }
        Topic::SlaBreached | Topic::SlaRecovered => "sla",
        _ => delivery.topic(),
    }
}

fn severity(delivery: &Delivery) -> &'static str {
    match delivery.notice.topic {
        _ if delivery.test => "info",
        Topic::BudgetExceeded => "critical",
        Topic::BreakerOpened
        | Topic::Escalation
        | Topic::ErrorBudgetExceeded
        | Topic::SlaBreached => "error",
        topic if is_good(topic) => "info",
        _ => "warning",
    }
}

/// At most this many characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    kept + "…"
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::alerts::sample;

    fn delivery(notice: Notice) -> Delivery {
        Delivery::new(ulid::Ulid::from_parts(1, 1), sample::at(), &Arc::from("ops"), notice)
    }

    #[test]
    fn the_signature_is_rfc_4231s() {
        // RFC 4231, test case 2.
        assert_eq!(
            signature("Jefe", b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn a_webhook_says_everything() {
        let delivery = delivery(sample::budget());
        let expected = json!({
            "id": delivery.id.to_string(), "topic": "budget_threshold",
            "policy": "budgets.code-reviewer", "agent_name": "code-reviewer",
            "message": "82% of the daily budget is spent", "text": "t", "host": "h",
            "timestamp": "2026-11-22T09:00:00Z", "spent_usd": "8.25", "limit_usd": "10.00",
            "remaining_usd": "1.75", "spent_percent": "82.5", "uid": 1000,
        });
        assert_eq!(webhook(&delivery, "t", "h"), expected);
    }

    #[test]
    fn a_name_cannot_mention_everybody_on_slack() {
        let body = slack(&delivery(sample::budget()), "<!channel> & more", "h");
        assert_eq!(body["text"], "&lt;!channel&gt; &amp; more");
        assert_eq!(body["blocks"][0]["text"]["text"], body["text"]);
        let origin = "budget_threshold · budgets.code-reviewer · weir on h";
        assert_eq!(body["blocks"][1]["elements"][0]["text"], origin);
    }

    #[test]
    fn a_breaker_that_closes_resolves_what_it_opened() {
        let breaker = |topic| {
            let notice = Notice {
                topic,
                policy: Arc::from("breaker.openai"),
                subject: Arc::from("openai"),
                spent: None,
                limit: None,
                ..sample::budget()
            };
            pagerduty(&delivery(notice), "KEY", "text", "h")
        };
        let opened = breaker(Topic::BreakerOpened);
        assert_eq!(opened["routing_key"], "KEY");
        assert_eq!(opened["event_action"], "trigger");
        assert_eq!(
            opened["payload"],
            json!({
                "summary": "text", "source": "h", "severity": "error",
                "timestamp": "2026-11-22T09:00:00Z", "component": "breaker.openai",
                "group": "openai", "class": "breaker_opened", "custom_details": {"uid": 1000},
            })
        );
        let closed = breaker(Topic::BreakerClosed);
        assert_eq!(closed["event_action"], "resolve");
        assert_eq!(closed["dedup_key"], opened["dedup_key"]);
        assert_eq!(closed["payload"], Value::Null);
    }

    #[test]
    fn an_error_budget_that_recovers_resolves_what_it_told() {
        let told = |topic, class: Option<&str>| {
            let class = class.map(Arc::from);
            pagerduty(&delivery(Notice { topic, class, ..sample::errors() }), "KEY", "text", "h")
        };
        let near = told(Topic::ErrorBudgetThreshold, Some("timeout"));
        let over = told(Topic::ErrorBudgetExceeded, Some("server_error"));
        let well = told(Topic::ErrorBudgetRecovered, None);
        assert_eq!(over["payload"]["severity"], "error");
        assert_eq!(over["payload"]["custom_details"]["measured"], "15.0%");
        assert_eq!(
            (&near["event_action"], &well["event_action"]),
            (&json!("trigger"), &json!("resolve"))
        );
        assert!(near["dedup_key"] == over["dedup_key"] && over["dedup_key"] == well["dedup_key"]);
        assert!(over["dedup_key"].as_str().unwrap().ends_with("/code-reviewer/chat"));
    }

    #[test]
    fn a_budget_is_one_incident_and_long_texts_are_cut() {
        let budget = |topic| {
            let notice = Notice { topic, ..sample::budget() };
            pagerduty(&delivery(notice), "K", &"ä".repeat(2000), &"h".repeat(400))
        };
        let (first, then) = (budget(Topic::BudgetThreshold), budget(Topic::BudgetExceeded));
        assert_eq!(first["dedup_key"], then["dedup_key"]);
        assert_eq!(then["payload"]["severity"], "critical");
        assert_eq!(first["payload"]["summary"].as_str().unwrap().chars().count(), SUMMARY);
        let key = first["dedup_key"].as_str().unwrap();
        assert!(key.ends_with("…/budget/budgets.code-reviewer/code-reviewer/"), "{key}");
    }
}
