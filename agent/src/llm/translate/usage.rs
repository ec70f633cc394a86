//! Token counts in the words of each format. Ours are disjoint; theirs overlap each in its own way.

use super::Wire;
use super::json::{Json, object};
use crate::llm::usage::Usage;

/// What a client of this format is told.
pub(super) fn write(to: Wire, usage: &Usage) -> Json {
    let cache_write = usage.cache_write_5m.saturating_add(usage.cache_write_1h);
    let plain = usage.input.saturating_add(usage.audio_input);
    let input = plain.saturating_add(usage.cache_read).saturating_add(cache_write);
    let said = usage.output.saturating_add(usage.audio_output);
    let output = said.saturating_add(usage.reasoning);
    let total = input.saturating_add(output);
    match to {
        Wire::Chat => object! {
            "prompt_tokens": input,
            "completion_tokens": output,
            "total_tokens": total,
            "prompt_tokens_details": object! {
                "cached_tokens": usage.cache_read,
                "audio_tokens": usage.audio_input,
            },
            "completion_tokens_details": object! {
                "reasoning_tokens": usage.reasoning,
                "audio_tokens": usage.audio_output,
                "accepted_prediction_tokens": 0_u64,
                "rejected_prediction_tokens": 0_u64,
            },
        },
        Wire::Responses => object! {
            "input_tokens": input,
            "input_tokens_details": object! { "cached_tokens": usage.cache_read },
            "output_tokens": output,
            "output_tokens_details": object! { "reasoning_tokens": usage.reasoning },
            "total_tokens": total,
        },
        Wire::Messages => {
            let mut written = object! {
                "input_tokens": plain,
                "cache_creation_input_tokens": cache_write,
                "cache_read_input_tokens": usage.cache_read,
                "output_tokens": output,
            };
            if usage.cache_write_1h > 0 {
                written.set(
                    "cache_creation",
                    object! {
                        "ephemeral_5m_input_tokens": usage.cache_write_5m,
                        "ephemeral_1h_input_tokens": usage.cache_write_1h,
                    },
                );
            }
            if usage.reasoning > 0 {
                let details = object! { "thinking_tokens": usage.reasoning };
                written.set("output_tokens_details", details);
            }
            written
        }
        Wire::Gemini => {
            let mut written = object! {
                "promptTokenCount": input,
                "candidatesTokenCount": said,
                "totalTokenCount": total,
            };
            let some = |count: u64| Some(count).filter(|count| *count > 0);
            written.set_some("cachedContentTokenCount", some(usage.cache_read));
            written.set_some("thoughtsTokenCount", some(usage.reasoning));
            written
        }
    }
}
