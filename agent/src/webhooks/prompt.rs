//! What a delivery has to say, as a prompt names it.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::time::SystemTime;

use http::HeaderMap;
use serde_json::Value;

use crate::alerts::template::{Prompt, timestamp};

/// Most that `{{.Headers}}` comes to, in bytes.
const HEADERS: usize = 8 << 10;
/// Parts of names of headers that carry what a model, and whoever reads its answer, must not see.
const SECRET: [&str; 11] = [
    "auth",
    "cookie",
    "credential",
    "key",
    "pass",
    "secret",
    "session",
    "signature",
    "token",
    "x-amz-security",
    "jwt",
];
/// Variables of alerts, and where the body of one of our own alerts has them.
const ALERT: [(&str, &str); 9] = [
    ("AgentName", "agent_name"),
    ("SpentPercent", "spent_percent"),
    ("Spent", "spent_usd"),
    ("Limit", "limit_usd"),
    ("Remaining", "remaining_usd"),
    ("Policy", "policy"),
    ("Topic", "topic"),
    ("Message", "message"),
    ("CallId", "call_id"),
];

/// A request to a webhook.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivered<'a> {
    pub(super) webhook: &'a str,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    /// When it was accepted.
    pub(super) at: SystemTime,
}

impl Delivered<'_> {
    /// What the model is asked.
    pub(super) fn ask(&self, prompt: &Prompt) -> String {
        let document = OnceCell::new();
        prompt.render(|name| match name {
            "Payload" => Some(String::from_utf8_lossy(self.body)),
            "Headers" => Some(Cow::Owned(shown(self.headers))),
            "Timestamp" => Some(Cow::Owned(timestamp(self.at))),
            "WebhookName" => Some(Cow::Borrowed(self.webhook)),
            name => {
                let document = document
                    .get_or_init(|| serde_json::from_slice::<Value>(self.body).unwrap_or_default());
                let (_, key) = ALERT.iter().find(|(known, _)| *known == name)?;
                match document.get(key)? {
                    Value::String(text) => Some(Cow::Owned(text.clone())),
                    Value::Number(number) => Some(Cow::Owned(number.to_string())),
                    _ => None,
                }
            }
        })
    }
}

/// `name: value`, one a line, without what is secret.
fn shown(headers: &HeaderMap) -> String {
    let mut text = String::new();
    for (name, value) in headers {
        let name = name.as_str();
        let Ok(value) = value.to_str() else { continue };
        if SECRET.iter().any(|part| name.contains(part)) {
            continue;
        }
        if text.len() + name.len() + value.len() + 3 > HEADERS {
            break;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rendered(text: &str, headers: &HeaderMap, body: &[u8]) -> String {
        let at = SystemTime::UNIX_EPOCH + Duration::from_hours(498_705);
        let delivered = Delivered { webhook: "hook", headers, body, at };
        delivered.ask(&Prompt::parse(text).unwrap())
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn every_variable_has_its_value() {
        let headers = headers(&[("content-type", "text/plain"), ("x-event", "push")]);
        assert_eq!(
            rendered(
                "{{.WebhookName}}|{{.Timestamp}}|{{.Headers}}|{{.Payload}}|{{.AgentName}}",
                &headers,
                b"hello"
            ),
            "hook|2026-11-22T09:00:00Z|content-type: text/plain\nx-event: push|hello|-"
        );
    }

    #[test]
    fn an_alert_of_ours_is_understood() {
        let body = br#"{"agent_name":"batch","spent_percent":"82.5","spent_usd":"8.25",
            "limit_usd":10,"topic":"budget_threshold","policy":["x"],"message":"{{.Spent}}"}"#;
        assert_eq!(
            rendered(
                "{{.AgentName}} {{.SpentPercent}} {{.Spent}} {{.Limit}} {{.Policy}} {{.Message}}",
                &HeaderMap::new(),
                body
            ),
            "batch 82.5 8.25 10 - {{.Spent}}"
        );
    }

    #[test]
    fn what_is_secret_reaches_no_model() {
        let headers = headers(&[
            ("authorization", "Bearer s3cret"),
            ("proxy-authorization", "s3cret"),
            ("cookie", "s3cret"),
            ("x-api-key", "s3cret"),
            ("x-goog-api-key", "s3cret"),
            ("x-webhook-signature", "s3cret"),
            ("x-hub-signature-256", "s3cret"),
            ("x-gitlab-token", "s3cret"),
            ("x-csrf-token", "s3cret"),
            ("x-github-event", "push"),
        ]);
        assert_eq!(rendered("{{.Headers}}", &headers, b""), "x-github-event: push");
    }

    #[test]
    fn headers_are_bounded() {
        let long = "x".repeat(5000);
        let headers = headers(&[("a", &long), ("b", &long)]);
        assert_eq!(rendered("{{.Headers}}", &headers, b"").len(), 5003);
    }

    #[test]
    fn what_is_no_text_does_no_harm() {
        assert_eq!(rendered("{{.Payload}}", &HeaderMap::new(), b"a\xffb"), "a\u{fffd}b");
    }

    proptest::proptest! {
        #[test]
        fn a_payload_stays_what_it_is(payload in "(\\{\\{\\.?[A-Za-z]{0,8}\\}\\}|.){0,40}") {
            let text = rendered("<{{.Payload}}>", &HeaderMap::new(), payload.as_bytes());
            proptest::prop_assert_eq!(text, format!("<{payload}>"));
        }
    }
}
