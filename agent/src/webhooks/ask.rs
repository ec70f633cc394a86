//! One question to a model, in its provider's format, and the text of the answer.

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::http::Error;
use hyper::{Method, Request};
use serde_json::{Value, json};

use super::settings::Definition;
use crate::llm::call::{Operation, cap_output};
use crate::llm::providers::{Format, Provider};
use crate::pipeline::endpoints::authority;
use crate::upstream::Outgoing;

/// The request, without a credential.
pub(super) fn request<S>(
    provider: &Provider,
    definition: &Definition<S>,
    prompt: &str,
) -> Result<Request<Outgoing>, Error> {
    let (path, body) = written(provider, definition, prompt);
    let base = &provider.base;
    Request::builder()
        .method(Method::POST)
        .uri(format!("{}{path}", base.prefix))
        .header(header::HOST, authority(base))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))
        .header(header::USER_AGENT, concat!("weir/", env!("CARGO_PKG_VERSION")))
        .body(Outgoing::whole(body))
}

fn written<S>(provider: &Provider, definition: &Definition<S>, prompt: &str) -> (String, Bytes) {
    let Definition { model, system, max_tokens, .. } = definition;
    let (path, operation, body) = match provider.format {
        Format::OpenAi => {
            let system = system.as_ref().map(|text| json!({"role": "system", "content": text}));
            let mut messages: Vec<Value> = system.into_iter().collect();
            messages.push(json!({"role": "user", "content": prompt}));
            let body = json!({"model": model, "messages": messages});
            ("/v1/chat/completions".to_owned(), Operation::Chat, body)
        }
        Format::Anthropic => {
            let messages = [json!({"role": "user", "content": prompt})];
            let mut body = json!({"model": model, "messages": messages});
            if let Some(system) = system {
                body["system"] = json!(system);
            }
            ("/v1/messages".to_owned(), Operation::Messages, body)
        }
        Format::Gemini => {
            let mut body = json!({"contents": [{"role": "user", "parts": [{"text": prompt}]}]});
            if let Some(system) = system {
                body["systemInstruction"] = json!({"parts": [{"text": system}]});
            }
            // Some have the name as the list of models gives it.
            let model = model.strip_prefix("models/").unwrap_or(model);
            (format!("/v1beta/models/{model}:generateContent"), Operation::Generate, body)
        }
    };
    let body = Bytes::from(body.to_string());
    // Each of these operations has a limit, under a name that depends on the provider.
    let capped = cap_output(&body, provider, operation, max_tokens.get().into());
    (path, capped.unwrap_or(body))
}

/// What the model said; `None` where the answer has no text.
pub(super) fn content(format: Format, body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let texts = |parts: &Value| {
        let texts = parts.as_array()?.iter().filter_map(|part| part.get("text")?.as_str());
        let text = texts.collect::<String>();
        (!text.is_empty()).then_some(text)
    };
    match format {
        Format::OpenAi => match body.pointer("/choices/0/message/content")? {
            Value::String(text) => Some(text.clone()),
            parts => texts(parts),
        },
        Format::Anthropic => texts(body.get("content")?),
        Format::Gemini => texts(body.pointer("/candidates/0/content/parts")?),
    }
}

/// What an error says of itself, shortened.
pub(super) fn error(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let message = body.pointer("/error/message")?.as_str()?;
    Some(message.chars().filter(|c| !c.is_control()).take(300).collect())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::alerts::template::Prompt;
    use crate::llm::providers::Providers;

    fn definition(model: &str, system: Option<&str>) -> Definition<()> {
        Definition {
            name: Arc::from("w"),
            secret: Ok(()),
            provider: Arc::from("x"),
            model: Arc::from(model),
            prompt: Prompt::parse("p").unwrap(),
            system: system.map(Arc::from),
            max_tokens: NonZeroU32::new(9).unwrap(),
            callback: None,
            window: Duration::from_secs(1),
            require_timestamp: true,
            concurrency: NonZeroU32::MIN,
            queue: NonZeroU32::MIN,
        }
    }

    #[test]
    fn each_provider_is_asked_in_its_own_format() {
        let providers = Providers::builtin();
        let asked = |provider: &str, model: &str, system| {
            let provider = providers.by_name(provider).unwrap();
            let (path, body) = written(provider, &definition(model, system), "a \"b\"");
            let request = request(provider, &definition(model, system), "a \"b\"").unwrap();
            assert_eq!(request.uri().path(), format!("{}{path}", provider.base.prefix));
            let host = request.headers()["host"].to_str().unwrap();
            assert!(host.starts_with(&*provider.base.host), "{host}");
            (path, serde_json::from_slice::<Value>(&body).unwrap())
        };
        let (path, body) = asked("openai", "gpt-5", Some("be brief"));
        assert_eq!(path, "/v1/chat/completions");
        let messages = json!([
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "a \"b\""},
        ]);
        let expected = json!({"model": "gpt-5", "messages": messages, "max_completion_tokens": 9});
        assert_eq!(body, expected);
        for other in ["mistral", "openrouter", "ollama"] {
            let (_, body) = asked(other, "mistral-large", None);
            assert_eq!(
                (body["max_tokens"].as_u64(), body["messages"][0]["role"].as_str()),
                (Some(9), Some("user"))
            );
        }
        let (path, body) = asked("anthropic", "claude-opus-4-6", Some("be brief"));
        assert_eq!((&*path, &body["system"]), ("/v1/messages", &json!("be brief")));
        assert_eq!(
            (&body["max_tokens"], &body["messages"][0]["content"]),
            (&json!(9), &json!("a \"b\""))
        );
        let (path, body) = asked("gemini", "models/gemini-2.5-flash", Some("be brief"));
        assert_eq!(path, "/v1beta/models/gemini-2.5-flash:generateContent");
        assert_eq!(body["generationConfig"]["maxOutputTokens"], 9);
        assert_eq!(body["systemInstruction"]["parts"][0]["text"], "be brief");
        assert_eq!(body["contents"][0]["parts"][0]["text"], "a \"b\"");
    }

    #[test]
    fn the_text_of_each_format_is_found() {
        for (format, body, expected) in [
            (Format::OpenAi, r#"{"choices":[{"message":{"content":"hi"}}]}"#, Some("hi")),
            (
                Format::OpenAi,
                r#"{"choices":[{"message":{"content":[{"type":"text","text":"hi"}]}}]}"#,
                Some("hi"),
            ),
            (Format::OpenAi, r#"{"choices":[{"message":{"content":null}}]}"#, None),
            (
                Format::Anthropic,
                r#"{"content":[{"type":"thinking","thinking":"x"},{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#,
                Some("ab"),
            ),
            (
                Format::Gemini,
                r#"{"candidates":[{"content":{"parts":[{"text":"hi"}]}}]}"#,
                Some("hi"),
            ),
            (Format::Gemini, r#"{"candidates":[]}"#, None),
            (Format::Anthropic, "<html>", None),
        ] {
            assert_eq!(content(format, body.as_bytes()).as_deref(), expected, "{body}");
        }
        assert_eq!(error(br#"{"error":{"message":"a\u001b[2J"}}"#).as_deref(), Some("a[2J"));
        assert_eq!(error(b"{}"), None);
    }
}
