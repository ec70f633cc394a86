//! What a model takes, by its name: the same format means different things to different models.
//!
//! A name of no known family takes what its format allows; should that be wrong, the provider
//! says so and the hop fails.

use super::ir::Effort;

/// How a Claude model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinks {
    Not,
    /// Up to a number of tokens.
    Budget,
    /// As it likes, guided by an effort.
    Adaptive,
}

/// What a Claude model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claude {
    pub(super) thinks: Thinks,
    /// Whether temperature and the like may be set. Since 4.7 they are refused: the model samples
    /// in its own way, and there is nothing to lose.
    pub(super) samples: bool,
    /// Whether answers can follow a JSON schema.
    pub(super) schema: bool,
    /// Output tokens at most; what is asked beyond is refused.
    pub(super) max_output: u64,
    /// Output tokens where the client sets no limit; the format requires one.
    pub(super) default_output: u64,
}

impl Claude {
    pub(super) fn of(model: &str) -> Self {
        let version = version(model);
        let opus = model.contains("opus");
        let before = |major, minor| version < (major, minor);
        let max_output = match () {
            () if before(3, 5) => 4_096,
            () if before(3, 7) => 8_192,
            () if before(4, 5) && opus => 32_000,
            () if before(4, 6) => 64_000,
            () => 128_000,
        };
        Self {
            thinks: match () {
                () if before(3, 7) => Thinks::Not,
                () if before(4, 6) => Thinks::Budget,
                () => Thinks::Adaptive,
            },
            samples: version < (4, 7),
            schema: version >= if opus { (4, 1) } else { (4, 5) },
            max_output,
            default_output: max_output.min(32_000),
        }
    }
}

/// The version in a Claude model's name: the first number, and the one after it unless that is a
/// date. A name without one is taken for a new model.
fn version(model: &str) -> (u64, u64) {
    let mut numbers = model
        .split(|c: char| !c.is_ascii_alphanumeric())
        .map(|part| part.parse::<u64>().ok())
        .skip_while(Option::is_none);
    let short = |number: Option<Option<u64>>| number.flatten().filter(|number| *number < 100);
    match short(numbers.next()) {
        Some(major) => (major, short(numbers.next()).unwrap_or(0)),
        None => (u64::MAX, 0),
    }
}

/// Whether a model behind chat completions belongs to `OpenAI`'s own, which have a newer name for
/// the limit on the output.
pub(super) fn is_openai(model: &str) -> bool {
    let model = bare(model);
    ["gpt-", "chatgpt-", "codex-", "ft:"].iter().any(|stem| model.starts_with(stem))
        || is_o_series(model)
}

/// Whether a model behind chat completions thinks, and may be told how much.
pub(super) fn reasons(model: &str) -> bool {
    let bare = bare(model);
    is_o_series(bare)
        || bare.contains("gpt-oss")
        || gpt_version(bare).is_some_and(|version| version >= 5)
        || ["grok-3-mini", "magistral", "gemini-2.5", "gemini-3"]
            .iter()
            .any(|s| bare.starts_with(s))
}

/// Whether a model behind chat completions takes temperature and the like: `OpenAI`'s thinking
/// models refuse them.
pub(super) fn samples(model: &str) -> bool {
    let bare = bare(model);
    !is_o_series(bare) && gpt_version(bare).is_none_or(|version| version < 5)
}

/// Whether ids of tool calls have to be Mistral's.
pub(super) fn is_mistral(model: &str) -> bool {
    let stems = ["mistral", "magistral", "ministral", "codestral", "devstral", "pixtral"];
    stems.iter().any(|stem| bare(model).starts_with(stem)) || model.starts_with("open-mi")
}

/// How a Gemini model is told to think.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GeminiThinks {
    Not,
    Budget,
    Level,
}

pub(super) fn gemini_thinks(model: &str) -> GeminiThinks {
    match gemini_version(model) {
        Some(..=1) => GeminiThinks::Not,
        Some(2) if !model.contains("2.5") => GeminiThinks::Not,
        Some(2) => GeminiThinks::Budget,
        _ => GeminiThinks::Level,
    }
}

/// Whether calls in the history need a signature.
pub(super) fn gemini_signs(model: &str) -> bool {
    gemini_version(model).is_none_or(|version| version >= 3)
}

/// The word for an effort where only `low` and `high` are sure to be known.
pub(super) fn gemini_level(effort: Effort) -> &'static str {
    if effort <= Effort::Low { "low" } else { "high" }
}

fn gemini_version(model: &str) -> Option<u64> {
    leading_number(model.strip_prefix("gemini-")?)
}

fn gpt_version(bare: &str) -> Option<u64> {
    // `gpt-5-chat-latest` does not think.
    if bare.contains("-chat") {
        return None;
    }
    leading_number(bare.strip_prefix("gpt-")?)
}

fn leading_number(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    text[..digits].parse().ok()
}

fn is_o_series(bare: &str) -> bool {
    let mut letters = bare.bytes();
    letters.next() == Some(b'o') && letters.next().is_some_and(|byte| byte.is_ascii_digit())
}

/// Without the maker some providers put before the name.
fn bare(model: &str) -> &str {
    model.rsplit('/').next().unwrap_or(model)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_names() {
        for (model, expected) in [
            ("claude-3-haiku-20240307", (3, 0)),
            ("claude-3-5-sonnet-latest", (3, 5)),
            ("claude-sonnet-4-20250514", (4, 0)),
            ("claude-opus-4-6", (4, 6)),
            ("claude-opus-5", (5, 0)),
            ("claude-haiku-4-5-20251001", (4, 5)),
            ("claude-next", (u64::MAX, 0)),
        ] {
            assert_eq!(version(model), expected, "{model}");
        }
    }

    #[test]
    fn families_take_what_they_take() {
        assert_eq!(Claude::of("claude-3-5-sonnet-20241022").thinks, Thinks::Not);
        assert_eq!(Claude::of("claude-opus-4-5").thinks, Thinks::Budget);
        assert_eq!(Claude::of("claude-opus-4-6").thinks, Thinks::Adaptive);
        assert!(Claude::of("claude-opus-4-6").samples && !Claude::of("claude-opus-4-7").samples);
        assert!(!Claude::of("claude-sonnet-4-20250514").schema);
        assert!(reasons("gpt-5.6-sol") && reasons("openai/o3-mini") && !reasons("gpt-4o"));
        assert!(!samples("gpt-5") && samples("gpt-4.1") && samples("llama3"));
        assert!(is_openai("gpt-4o") && is_openai("o3") && !is_openai("olmo"));
        assert_eq!(gemini_thinks("gemini-2.0-flash"), GeminiThinks::Not);
        assert_eq!(gemini_thinks("gemini-2.5-pro"), GeminiThinks::Budget);
        assert_eq!(gemini_thinks("gemini-3-pro-preview"), GeminiThinks::Level);
        assert!(is_mistral("mistral-large-latest") && !is_mistral("gpt-4o"));
    }
}
