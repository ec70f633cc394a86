//! What is known of a provider before the configuration says anything.

use crate::config::raw::Format;
use crate::llm::providers::{self, Providers};

/// The format of a provider every installation knows; those need no `format` key.
pub(super) fn builtin(name: &str) -> Option<Format> {
    let format = Providers::builtin().by_name(name)?.format;
    Some(match format {
        providers::Format::OpenAi => Format::OpenAi,
        providers::Format::Anthropic => Format::Anthropic,
        providers::Format::Gemini => Format::Gemini,
    })
}
