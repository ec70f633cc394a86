//! Changes to single members of a request's body, which stays the same byte for byte elsewhere.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;

use super::Operation;
use crate::llm::providers::Provider;

/// The body with the member at `path` set to `value`, a JSON text; objects on the way are made
/// where they are missing. `None` where the body is no JSON object.
fn set_member(body: &Bytes, path: &[&str], value: &str) -> Option<Bytes> {
    let document = std::str::from_utf8(body).ok()?;
    let Edit { at, text } = edit(document, path, value)?;
    let mut edited = BytesMut::with_capacity(body.len() + text.len());
    edited.extend_from_slice(&body[..at.start]);
    edited.extend_from_slice(text.as_bytes());
    edited.extend_from_slice(&body[at.end..]);
    Some(edited.freeze())
}

/// The body with the output of each answer limited to so many tokens. `None` where the operation
/// has no such limit, or the body is no JSON object.
pub fn cap_output(
    body: &Bytes,
    provider: &Provider,
    operation: Operation,
    tokens: u64,
) -> Option<Bytes> {
    let path: &[&str] = match operation {
        // OpenAI's reasoning models refuse `max_tokens`; other hosts of its format know that only.
        Operation::Chat if provider.name.starts_with("openai") => &["max_completion_tokens"],
        Operation::Chat | Operation::Completions | Operation::Messages => &["max_tokens"],
        Operation::Responses | Operation::Realtime => &["max_output_tokens"],
        // Google reads both cases; of the two the client has used, its own.
        Operation::Generate if has_member(body, "generation_config") => {
            &["generation_config", "max_output_tokens"]
        }
        Operation::Generate => &["generationConfig", "maxOutputTokens"],
        _ => return None,
    };
    set_member(body, path, &tokens.to_string())
}

fn has_member(body: &[u8], key: &str) -> bool {
    let members: Result<HashMap<Cow<'_, str>, &RawValue>, _> = serde_json::from_slice(body);
    members.is_ok_and(|members| members.contains_key(key))
}

/// One replacement in a document.
struct Edit {
    at: Range<usize>,
    text: String,
}

fn edit(document: &str, path: &[&str], value: &str) -> Option<Edit> {
    let (key, below) = path.split_first()?;
    // Of a repeated key the last one counts, as it does for the providers.
    let members: HashMap<Cow<'_, str>, &RawValue> = serde_json::from_str(document).ok()?;
    let Some(found) = members.get(*key) else {
        let open = document.find('{')? + 1;
        let comma = if members.is_empty() { "" } else { "," };
        return Some(Edit {
            at: open..open,
            text: format!("\"{key}\":{}{comma}", nested(below, value)),
        });
    };
    let start = found.get().as_ptr() as usize - document.as_ptr() as usize;
    if below.is_empty() || !found.get().starts_with('{') {
        return Some(Edit { at: start..start + found.get().len(), text: nested(below, value) });
    }
    let inner = edit(found.get(), below, value)?;
    Some(Edit { at: start + inner.at.start..start + inner.at.end, text: inner.text })
}

/// `value` below the rest of a path.
fn nested(path: &[&str], value: &str) -> String {
    let wrap = |inner: String, key: &&str| format!("{{\"{key}\":{inner}}}");
    path.iter().rev().fold(value.to_owned(), wrap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::providers::Providers;

    fn set(body: &str, path: &[&str], value: &str) -> Option<String> {
        let edited = set_member(&Bytes::copy_from_slice(body.as_bytes()), path, value)?;
        Some(String::from_utf8(edited.to_vec()).unwrap())
    }

    #[test]
    fn one_member_changes_and_nothing_else() {
        for (body, path, expected) in [
            (" {\"a\": 1.0}\n", &["m"][..], " {\"m\":7,\"a\": 1.0}\n"),
            ("{}", &["m"], r#"{"m":7}"#),
            (r#"{"m" : null ,"a":[]}"#, &["m"], r#"{"m" : 7 ,"a":[]}"#),
            (r#"{"m":1,"m":2}"#, &["m"], r#"{"m":1,"m":7}"#),
            (r#"{"a":{"m":1}}"#, &["m"], r#"{"m":7,"a":{"m":1}}"#),
            (r#"{"a":{ "b":1}}"#, &["a", "m"], r#"{"a":{"m":7, "b":1}}"#),
            (r#"{"a":{"m":1}}"#, &["a", "m"], r#"{"a":{"m":7}}"#),
            (r#"{"x":1}"#, &["a", "m"], r#"{"a":{"m":7},"x":1}"#),
            (r#"{"a":null}"#, &["a", "m"], r#"{"a":{"m":7}}"#),
        ] {
            assert_eq!(set(body, path, "7").as_deref(), Some(expected), "{body}");
        }
        for body in ["", "[1]", "{", "null"] {
            assert_eq!(set(body, &["m"], "7"), None, "{body}");
        }
    }

    #[test]
    fn every_api_is_told_the_limit_in_its_own_word() {
        let providers = Providers::builtin();
        for (provider, operation, member) in [
            ("openai", Operation::Chat, "max_completion_tokens"),
            ("mistral", Operation::Chat, "max_tokens"),
            ("openai", Operation::Completions, "max_tokens"),
            ("openai", Operation::Responses, "max_output_tokens"),
            ("anthropic", Operation::Messages, "max_tokens"),
        ] {
            let provider = providers.by_name(provider).unwrap();
            let body = cap_output(&Bytes::from_static(b"{}"), provider, operation, 9).unwrap();
            assert_eq!(body, format!("{{\"{member}\":9}}"));
        }
        let google = providers.by_name("gemini").unwrap();
        for (body, capped) in [
            ("{}", r#"{"generationConfig":{"maxOutputTokens":9}}"#),
            (
                r#"{"generation_config":{"topK":1}}"#,
                r#"{"generation_config":{"max_output_tokens":9,"topK":1}}"#,
            ),
        ] {
            let body = Bytes::from_static(body.as_bytes());
            assert_eq!(cap_output(&body, google, Operation::Generate, 9).unwrap(), capped);
        }
        let openai = providers.by_name("openai").unwrap();
        let body = Bytes::from_static(b"{}");
        assert_eq!(cap_output(&body, openai, Operation::Embeddings, 9), None);
    }
}
