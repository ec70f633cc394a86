//! Tokens of a prompt, counted as the model's own tokenizer does: exact for its text, a bound for
//! the request around it.
//!
//! Only for models whose tokenizer is public, which are OpenAI's. How a request becomes the text
//! that a model reads is not: roles and separators take a few tokens per message, tools are told to
//! the model in a form of its own. So every word of the body is counted, keys too, each object and
//! each item with what can stand around it, and a margin on top.
//!
//! The vocabularies take some 60 MiB once they are used; nothing is loaded before. They are much of
//! the binary too: without the feature `tokenizer` they are left out, and nothing is counted.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::providers::Provider;

/// Largest body that is counted, in bytes: some 50 ms of work.
pub const MOST: usize = 2 << 20;
/// Around a message stand its beginning, its end and what parts its role from its text.
const PER_OBJECT: u64 = 4;
/// What the model is told beside what the request says: how tools are introduced, where the answer
/// begins.
const MARGIN: u64 = 64;
/// On top of what is counted: one in so many.
const MARGIN_SHARE: u64 = 10;

/// A vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// GPT-4o and everything since.
    O200k,
    /// GPT-4, GPT-3.5, embeddings.
    Cl100k,
}

/// How a prompt was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// By which vocabulary: for a model with another one the figure says nothing.
    pub encoding: Encoding,
    /// Tokens, the margin included.
    pub tokens: u64,
}

/// How the names of models begin; what comes after one of them does not change its vocabulary.
/// Models that are not listed are not counted.
const MODELS: [(&str, Encoding); 15] = [
    ("gpt-4o", Encoding::O200k),
    ("chatgpt-4o", Encoding::O200k),
    ("gpt-4.1", Encoding::O200k),
    ("gpt-4.5", Encoding::O200k),
    ("gpt-5", Encoding::O200k),
    ("codex-mini", Encoding::O200k),
    ("o1", Encoding::O200k),
    ("o3", Encoding::O200k),
    ("o4-mini", Encoding::O200k),
    ("gpt-4-", Encoding::Cl100k),
    ("gpt-3.5-turbo", Encoding::Cl100k),
    ("gpt-35-turbo", Encoding::Cl100k),
    ("text-embedding-3-", Encoding::Cl100k),
    ("text-embedding-ada-002", Encoding::Cl100k),
    // The bare name only: any other that begins so is listed above.
    ("gpt-4", Encoding::Cl100k),
];

impl Encoding {
    /// The vocabulary of a model, where a count by it is one of that provider's own: others that
    /// serve the same models count as they please.
    pub fn of(provider: &Provider, model: &str) -> Option<Self> {
        if provider.prices.as_deref() != Some("openai") {
            return None;
        }
        let name = model.strip_prefix("ft:").unwrap_or(model);
        let (stem, encoding) = MODELS.iter().find(|(stem, _)| name.starts_with(stem))?;
        (*stem != "gpt-4" || matches!(name.as_bytes().get(stem.len()), None | Some(b':')))
            .then_some(*encoding)
    }
}

/// Counts a text's tokens.
type Counter = fn(Encoding, &str) -> u64;

#[cfg(feature = "tokenizer")]
const COUNTER: Option<Counter> = Some(|encoding, text| {
    let tokenizer = match encoding {
        Encoding::O200k => bpe_openai::o200k_base(),
        Encoding::Cl100k => bpe_openai::cl100k_base(),
    };
    tokenizer.count(text) as u64
});

#[cfg(not(feature = "tokenizer"))]
const COUNTER: Option<Counter> = None;

/// Counts a request's body, margin included. `None` where it cannot be: there is no vocabulary, or
/// it is larger than [`MOST`], nested deeper than 128, no JSON, or offers a tool of the provider's
/// own, whose instructions nobody else knows. Images and files are for the caller to leave out.
pub fn count(encoding: Encoding, body: &[u8]) -> Option<Counted> {
    if body.len() > MOST {
        return None;
    }
    let mut tally = Tally { counter: COUNTER?, encoding, tokens: 0 };
    let mut reader = serde_json::Deserializer::from_slice(body);
    At { tally: &mut tally, place: Place::Body }.deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    let tokens = tally.tokens + tally.tokens.div_ceil(MARGIN_SHARE) + MARGIN;
    Some(Counted { encoding, tokens })
}

struct Tally {
    counter: Counter,
    encoding: Encoding,
    tokens: u64,
}

impl Tally {
    fn text(&mut self, text: &str) {
        self.tokens += (self.counter)(self.encoding, text);
    }

    /// Three digits are a token.
    fn number(&mut self, number: u64) {
        self.tokens += u64::from(number.checked_ilog10().unwrap_or(0) / 3 + 1);
    }
}

/// Where in the body a value stands, as far as tools go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Body,
    Tools,
    Tool,
    ToolType,
    Elsewhere,
}

impl Place {
    fn member(self, key: &str) -> Self {
        match (self, key) {
            (Self::Body, "tools") => Self::Tools,
            (Self::Tool, "type") => Self::ToolType,
            _ => Self::Elsewhere,
        }
    }

    fn item(self) -> Self {
        if self == Self::Tools { Self::Tool } else { Self::Elsewhere }
    }
}

/// A value whose tokens are to be added.
struct At<'a> {
    tally: &'a mut Tally,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        if self.place == Place::ToolType && !matches!(text, "function" | "custom") {
            return Err(E::custom("a tool of the provider's own"));
        }
        self.tally.text(text);
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.tally.number(number);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.tally.tokens += 1;
        self.tally.number(number.unsigned_abs());
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.tally.text(&number.to_string());
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.tally.tokens += 1;
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.tally.tokens += 1;
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let place = self.place.item();
        while items.next_element_seed(At { tally: &mut *self.tally, place })?.is_some() {
            self.tally.tokens += 1;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        if matches!(self.place, Place::Tools | Place::ToolType) {
            return Err(A::Error::custom("tools of an unknown form"));
        }
        self.tally.tokens += PER_OBJECT;
        while let Some(key) = members.next_key::<Cow<'de, str>>()? {
            self.tally.text(&key);
            let place = self.place.member(&key);
            members.next_value_seed(At { tally: &mut *self.tally, place })?;
        }
        Ok(())
    }
}

#[cfg(feature = "tokenizer")]
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::llm::providers::Providers;

    fn of(provider: &str, model: &str) -> Option<Encoding> {
        Encoding::of(Providers::builtin().by_name(provider).unwrap(), model)
    }

    fn tokens(body: &str) -> Option<u64> {
        count(Encoding::O200k, body.as_bytes()).map(|counted| counted.tokens)
    }

    #[test]
    fn only_openais_own_models_are_counted() {
        for (model, encoding) in [
            ("gpt-4o-mini-2024-07-18", Some(Encoding::O200k)),
            ("gpt-5.2-chat-latest", Some(Encoding::O200k)),
            ("ft:gpt-4o-mini:acme::1", Some(Encoding::O200k)),
            ("gpt-4.1-nano", Some(Encoding::O200k)),
            ("gpt-4", Some(Encoding::Cl100k)),
            ("gpt-4-turbo", Some(Encoding::Cl100k)),
            ("ft:gpt-4:acme::1", Some(Encoding::Cl100k)),
            ("gpt-3.5-turbo-instruct", Some(Encoding::Cl100k)),
            ("text-embedding-3-small", Some(Encoding::Cl100k)),
            ("gpt-4.9", None),
            ("gpt-6", None),
            ("claude-sonnet-4-5", None),
        ] {
            assert_eq!(of("openai", model), encoding, "{model}");
        }
        assert_eq!(of("openai-eu", "gpt-4o"), Some(Encoding::O200k));
        for other in ["anthropic", "openrouter", "groq", "deepseek"] {
            assert_eq!(of(other, "gpt-4o"), None, "{other}");
        }
    }

    /// Requests of the provider's documentation, with the input tokens that it says they took.
    #[test]
    fn no_documented_request_took_more_than_is_counted() {
        let weather = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"What is the weather like in Boston today?"}],
            "tools":[{"type":"function","function":{"name":"get_current_weather","description":"Get the current weather in a given location",
            "parameters":{"type":"object","properties":{"location":{"type":"string","description":"The city and state, e.g. San Francisco, CA"},
            "unit":{"type":"string","enum":["celsius","fahrenheit"]}},"required":["location"]}}}],"tool_choice":"auto"}"#;
        for (said, body) in [
            (
                19,
                r#"{"model":"gpt-4o","messages":[{"role":"developer","content":"You are a helpful assistant."},{"role":"user","content":"Hello!"}]}"#,
            ),
            (82, weather),
            (
                36,
                r#"{"model":"gpt-4.1","input":"Tell me a three sentence bedtime story about a unicorn."}"#,
            ),
            (
                8,
                r#"{"model":"text-embedding-3-small","input":"The food was delicious and the waiter..."}"#,
            ),
            (5, r#"{"model":"gpt-3.5-turbo-instruct","prompt":"Say this is a test"}"#),
        ] {
            let counted = tokens(body).unwrap();
            assert!(counted >= said, "{counted} < {said}: {body}");
            assert!(counted <= said * 2 + 100, "{counted}, far over {said}: {body}");
        }
    }

    #[test]
    fn escapes_are_counted_as_what_they_stand_for() {
        let plain = tokens(r#"{"input":"höher\nöder"}"#).unwrap();
        assert_eq!(tokens(r#"{"input":"h\u00f6her\n\u00f6der"}"#).unwrap(), plain);
    }

    #[test]
    fn what_cannot_be_counted_is_not_guessed() {
        let deep = format!(r#"{{"messages":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        let long = format!(r#"{{"input":"{}"}}"#, "x".repeat(MOST));
        for body in [
            r#"{"tools":[{"type":"web_search"}],"input":"x"}"#,
            r#"{"tools":[{"type":"shell"}],"input":"x"}"#,
            r#"{"tools":{"type":"function"},"input":"x"}"#,
            r#"{"input":"x"} more"#,
            r#"{"input":"#,
            &deep,
            &long,
        ] {
            assert_eq!(tokens(body), None, "{}", &body[..20]);
        }
        assert!(tokens(r#"{"tools":[{"type":"function"}],"metadata":{"type":"x"}}"#).is_some());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// The documented formula of a chat: 3 around each message, 1 for a name, 3 for the answer.
        #[test]
        fn no_chat_comes_to_more(texts in prop::collection::vec(("\\PC{0,60}", "[a-z]{1,8}"), 0..6)) {
            let messages: Vec<_> = texts.iter().map(|(text, name)| {
                serde_json::json!({"role": "user", "content": text, "name": name})
            }).collect();
            let body = serde_json::json!({"model": "gpt-4o", "messages": messages}).to_string();
            let of = |text: &str| bpe_openai::o200k_base().count(text) as u64;
            let each = texts.iter().map(|(text, name)| 3 + of("user") + of(text) + 1 + of(name));
            prop_assert!(tokens(&body).unwrap() >= each.sum::<u64>() + 3);
        }

        #[test]
        fn nothing_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
            count(Encoding::Cl100k, &body);
        }
    }
}
