//! The most a model takes in and gives out in one call: bounds for what is reserved before it.
//!
//! Too high costs a reservation that is larger than it need be for as long as the call runs; too
//! low lets a call outgrow what was reserved. Where nothing is known the figures are high.

use super::price::Prices;
use super::providers::Provider;

/// What one call can come to at most, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maxima {
    /// Context window: all the input there can be.
    pub context: u64,
    /// Output, reasoning included, of one answer.
    pub output: u64,
}

const fn most(context: u64, output: u64) -> Maxima {
    Maxima { context, output }
}

/// For models of no known family: no provider's documentation promised more output than this, and
/// few a larger context, when the table was made.
const UNKNOWN: Maxima = most(1_048_576, 131_072);

/// How names begin, the longer before the shorter, and what the providers' documentation says of
/// such models. Of figures that differ within a family or by a beta header, the highest.
///
/// `OpenAI`: developers.openai.com/api/docs/models, one page per model ("context window", "max
/// output tokens"). Anthropic: platform.claude.com/docs/en/about-claude/models/overview, and
/// `.../build-with-claude/context-windows` for the 1M-token beta of Sonnet 4 and 4.5. Google:
/// ai.google.dev/gemini-api/docs/models ("input token limit", "output token limit"). `DeepSeek`:
/// api-docs.deepseek.com/quick_start/pricing. Successors of a family that are not listed fall
/// under its shortest row.
const FAMILIES: [(&str, Maxima); 46] = [
    ("gpt-5-pro", most(400_000, 272_000)),
    ("gpt-5-chat", most(128_000, 16_384)),
    ("gpt-5.1-chat", most(128_000, 16_384)),
    ("gpt-5.2-chat", most(128_000, 16_384)),
    ("gpt-5.3-chat", most(128_000, 16_384)),
    ("gpt-5.3", most(400_000, 128_000)),
    ("gpt-5.2", most(400_000, 128_000)),
    ("gpt-5.1", most(400_000, 128_000)),
    ("gpt-5.", most(1_050_000, 128_000)),
    ("gpt-5", most(400_000, 128_000)),
    ("gpt-4.1", most(1_047_576, 32_768)),
    ("gpt-4.5", most(128_000, 16_384)),
    ("gpt-4o-2024-05-13", most(128_000, 4_096)),
    ("gpt-4o", most(128_000, 16_384)),
    ("gpt-4-turbo", most(128_000, 4_096)),
    ("gpt-4-32k", most(32_768, 32_768)),
    ("gpt-4-", most(128_000, 8_192)),
    ("gpt-4", most(8_192, 8_192)),
    ("gpt-3.5", most(16_385, 4_096)),
    ("gpt-oss", most(131_072, 131_072)),
    ("gpt-audio", most(128_000, 16_384)),
    ("gpt-", most(1_050_000, 128_000)),
    ("chatgpt-4o", most(128_000, 16_384)),
    ("codex-mini", most(200_000, 100_000)),
    ("o1-mini", most(128_000, 65_536)),
    ("o1-preview", most(128_000, 32_768)),
    ("o1", most(200_000, 100_000)),
    ("o3", most(200_000, 100_000)),
    ("o4", most(200_000, 100_000)),
    ("claude-2", most(200_000, 4_096)),
    ("claude-3-7", most(200_000, 128_000)),
    ("claude-3-5", most(200_000, 8_192)),
    ("claude-3-", most(200_000, 4_096)),
    ("claude-haiku-4", most(200_000, 64_000)),
    ("claude-opus-4-5", most(200_000, 64_000)),
    ("claude-opus-4-0", most(200_000, 32_000)),
    ("claude-opus-4-1", most(200_000, 32_000)),
    ("claude-opus-4-2025", most(200_000, 32_000)),
    ("claude-sonnet-4", most(1_000_000, 128_000)),
    ("claude-", most(1_000_000, 128_000)),
    ("gemini-1.5-pro", most(2_097_152, 8_192)),
    ("gemini-1.5", most(1_048_576, 8_192)),
    ("gemini-2.0", most(1_048_576, 8_192)),
    ("gemini-", most(1_048_576, 65_536)),
    ("deepseek-", most(1_000_000, 384_000)),
    ("text-embedding-", most(300_000, 0)),
];

impl Maxima {
    /// What a model can come to at most: by its family, or else by the price catalogue's context.
    pub fn of(prices: &Prices, provider: &Provider, model: &str) -> Self {
        Self::of_family(model).unwrap_or_else(|| match prices.context_window(provider, model) {
            Some(context) => most(context, UNKNOWN.output.min(context)),
            None => UNKNOWN,
        })
    }

    /// By the name alone. Hosts of many models put the maker before it (`openai/gpt-4o`), and
    /// tuned models name what they were made of (`ft:gpt-4o-mini:…`).
    fn of_family(model: &str) -> Option<Self> {
        let name = model.rsplit_once('/').map_or(model, |(_maker, name)| name);
        let name = name.strip_prefix("ft:").unwrap_or(name);
        let is_of = |stem: &str| {
            name.get(..stem.len()).is_some_and(|start| start.eq_ignore_ascii_case(stem))
        };
        FAMILIES.iter().find(|(stem, _)| is_of(stem)).map(|(_, maxima)| *maxima)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::providers::Providers;

    fn of(provider: &str, model: &str) -> Maxima {
        let providers = Providers::builtin();
        let provider = providers.by_name(provider).unwrap();
        Maxima::of(&Prices::embedded(), provider, model)
    }

    #[test]
    fn the_longest_name_counts() {
        assert_eq!(of("openai", "gpt-4o-mini-2024-07-18"), most(128_000, 16_384));
        assert_eq!(of("openai", "gpt-4o-2024-05-13"), most(128_000, 4_096));
        assert_eq!(of("openai", "gpt-5-mini"), most(400_000, 128_000));
        assert_eq!(of("openai", "gpt-5.4"), most(1_050_000, 128_000));
        assert_eq!(of("openai", "ft:gpt-4o-mini:acme::1"), most(128_000, 16_384));
        assert_eq!(of("openrouter", "anthropic/Claude-Haiku-4-5"), most(200_000, 64_000));
        assert_eq!(of("anthropic", "claude-next"), most(1_000_000, 128_000));
    }

    #[test]
    fn other_models_have_the_catalogues_context_or_the_highest() {
        assert_eq!(of("mistral", "devstral-2512"), most(262_144, 131_072));
        assert_eq!(of("mistral", "made-up"), UNKNOWN);
    }

    #[test]
    fn no_row_is_hidden_by_one_before_it() {
        for (index, (stem, _)) in FAMILIES.iter().enumerate() {
            let hidden = FAMILIES[..index].iter().find(|(before, _)| stem.starts_with(before));
            assert_eq!(hidden, None, "{stem}");
        }
    }

    /// The catalogue was checked against the providers' pages by others: nothing there may be
    /// larger than what we take for the largest.
    #[test]
    fn no_context_is_below_the_catalogues() {
        let (prices, providers) = (Prices::embedded(), Providers::builtin());
        for id in ["openai", "anthropic", "deepseek"] {
            let provider = providers.by_name(id).unwrap();
            for listed in prices.models().filter(|listed| listed.provider == id) {
                let context = prices.context_window(provider, listed.model).unwrap_or(0);
                let ours = of(&provider.name, listed.model).context;
                assert!(ours >= context, "{} {ours} {context}", listed.model);
            }
        }
    }
}
