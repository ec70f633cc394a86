//! What a response has said so far, brought to one shape from every wire format.

use std::borrow::Cow;
use std::sync::Arc;

use super::usage::Usage;

/// Bytes of visible output per token where no count is reported.
const BYTES_PER_TOKEN: u64 = 4;
/// Base64 characters per token of spoken output where no count is reported: 50 ms a token, in
/// 24,000 samples of two bytes a second (<https://developers.openai.com/api/docs/guides/realtime-costs>).
const BASE64_PER_AUDIO_TOKEN: u64 = 3_200;
/// Words from a response longer than this are not kept.
const MAX_WORD: usize = 256;

/// What a response has said so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// The provider's own counts, once it has given the final ones; none while they can be
    /// missing the end of the output, and none if it never gave any.
    pub usage: Option<Usage>,
    /// The best guess instead: what was reported so far plus the output seen since, by its size.
    /// Its input kinds are zero where the provider has not said them; hidden reasoning is not in
    /// it.
    pub estimate: Usage,
    /// The model that answered, as the provider names it.
    pub model: Option<Arc<str>>,
    /// An error the body carries, in a stream or as the answer itself.
    pub error: Option<StreamError>,
    /// Whether the stream said that it is over, or failed.
    pub terminal: bool,
    /// The service tier that answered: as the provider names it, `fast` for Anthropic's fast mode,
    /// with `+us` for an answer computed in the United States on request. Goes into a price query
    /// as it is.
    pub service_tier: Option<Arc<str>>,
    /// Why the output ended, as the provider names it; the first choice's.
    pub finish_reason: Option<Arc<str>>,
    /// The response's id.
    pub response_id: Option<Arc<str>>,
    /// Searches by the provider's own tool, billed beside the tokens.
    pub web_searches: u64,
    /// Why the body could not be read, where it could not.
    pub unread: Option<Unread>,
}

/// An error in a response's body, without the provider's own words: those can repeat a prompt or
/// part of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamError {
    /// The most telling of its categories: `overloaded_error`, `context_length_exceeded`, ….
    pub code: Arc<str>,
    /// All its categories in one line.
    pub message: String,
}

/// Why a body could not be read for metering. It reaches the client all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unread {
    /// A content encoding we don't decode.
    Encoding,
    /// Compressed data that is broken or expands beyond reason.
    Corrupt,
    /// More than is kept for parsing.
    TooLarge,
    /// A whole body that is not the JSON it should be.
    NotJson,
}

impl Unread {
    /// A stable word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Encoding => "encoding",
            Self::Corrupt => "corrupt",
            Self::TooLarge => "too_large",
            Self::NotJson => "not_json",
        }
    }
}

/// Token counts as reported, before they are made disjoint. An absent count is not zero: it
/// leaves what an earlier event said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Input: with cached tokens inside at `OpenAI`, without at Anthropic.
    pub(super) input: Option<u64>,
    pub(super) cache_read: Option<u64>,
    pub(super) cache_write: Option<u64>,
    pub(super) cache_write_5m: Option<u64>,
    pub(super) cache_write_1h: Option<u64>,
    pub(super) audio_input: Option<u64>,
    /// All output.
    pub(super) output: Option<u64>,
    pub(super) reasoning: Option<u64>,
    pub(super) audio_output: Option<u64>,
    pub(super) total: Option<u64>,
    pub(super) web_searches: Option<u64>,
}

impl Counts {
    /// The last writer wins, field by field.
    pub(super) fn merge(&mut self, later: &Self) {
        let keep = |field: &mut Option<u64>, later: Option<u64>| *field = later.or(*field);
        keep(&mut self.input, later.input);
        keep(&mut self.cache_read, later.cache_read);
        keep(&mut self.cache_write, later.cache_write);
        keep(&mut self.cache_write_5m, later.cache_write_5m);
        keep(&mut self.cache_write_1h, later.cache_write_1h);
        keep(&mut self.audio_input, later.audio_input);
        keep(&mut self.output, later.output);
        keep(&mut self.reasoning, later.reasoning);
        keep(&mut self.audio_output, later.audio_output);
        keep(&mut self.total, later.total);
        keep(&mut self.web_searches, later.web_searches);
    }

    /// Whether it says anything that is billed.
    pub(super) fn any(&self) -> bool {
        self.input.is_some() || self.output.is_some()
    }
}

/// What the events of a response add up to. The wire formats write it, [`Facts::reading`] tells it.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) counts: Counts,
    /// Whether `counts` is the provider's final word, unless more output follows.
    pub(super) counted: bool,
    /// Bytes of output since `counts` last changed.
    pub(super) uncounted: u64,
    /// Base64 of audio since `counts` last changed.
    pub(super) unheard: u64,
    /// Whether any output has been seen.
    pub(super) content: bool,
    pub(super) terminal: bool,
    pub(super) model: Option<Arc<str>>,
    pub(super) service_tier: Option<Arc<str>>,
    /// Goes behind the tier: the place the answer was computed in costs more.
    pub(super) surcharge: Option<&'static str>,
    pub(super) finish_reason: Option<Arc<str>>,
    pub(super) response_id: Option<Arc<str>>,
    pub(super) searched: u64,
    pub(super) error: Option<StreamError>,
    pub(super) unread: Option<Unread>,
}

impl Facts {
    /// Takes over counts of an event.
    pub(super) fn count(&mut self, counts: &Counts, is_final: bool) {
        self.counts.merge(counts);
        if counts.any() {
            self.counted |= is_final;
            self.uncounted = 0;
            self.unheard = 0;
        }
    }

    /// Notes output of so many bytes.
    pub(super) fn said(&mut self, bytes: u64) {
        self.content |= bytes > 0;
        self.uncounted = self.uncounted.saturating_add(bytes);
    }

    /// Notes audio of so many characters of base64.
    pub(super) fn sounded(&mut self, base64: u64) {
        self.content |= base64 > 0;
        self.unheard = self.unheard.saturating_add(base64);
    }

    /// Notes an error by its categories, the most telling first.
    pub(super) fn failed(&mut self, categories: [Option<Cow<'_, str>>; 2]) {
        let words: Vec<_> = categories.into_iter().flatten().filter(|word| is_word(word)).collect();
        let code = words.first().map_or("unknown", |word| word);
        self.error = Some(StreamError {
            code: code.into(),
            message: if words.is_empty() { code.to_owned() } else { words.join(", ") },
        });
    }

    /// What is known so far; `normalise` is the wire format's way to disjoint counts.
    pub(super) fn reading(&self, normalise: fn(&Counts) -> Usage) -> Reading {
        let reported = normalise(&self.counts);
        // Output after the last count is missing in it, unless the stream is over: what came
        // then was in the count already.
        let unseen = self.uncounted.max(self.unheard);
        let complete = self.counted && (self.terminal || unseen == 0);
        let mut estimate = reported;
        if !complete {
            let unseen = self.uncounted.div_ceil(BYTES_PER_TOKEN);
            estimate.output = estimate.output.saturating_add(unseen);
            let unheard = self.unheard.div_ceil(BASE64_PER_AUDIO_TOKEN);
            estimate.audio_output = estimate.audio_output.saturating_add(unheard);
        }
        let service_tier = match self.surcharge {
            Some(suffix) => {
                let tier = self.service_tier.as_deref().unwrap_or_default();
                Some([tier, suffix].concat().into())
            }
            None => self.service_tier.clone(),
        };
        Reading {
            usage: complete.then_some(reported),
            estimate,
            model: self.model.clone(),
            error: self.error.clone(),
            terminal: self.terminal,
            service_tier,
            finish_reason: self.finish_reason.clone(),
            response_id: self.response_id.clone(),
            web_searches: self.counts.web_searches.unwrap_or(self.searched),
            unread: self.unread,
        }
    }
}

/// Replaces what is kept of a word by a later one, where there is one.
pub(super) fn keep(kept: &mut Option<Arc<str>>, later: Option<Cow<'_, str>>) {
    if let Some(later) = later.filter(|later| !later.is_empty() && later.len() <= MAX_WORD)
        && kept.as_deref() != Some(&*later)
    {
        *kept = Some(later.into());
    }
}

/// Whether a text is a category rather than prose.
fn is_word(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=64).contains(&text.len()) && text.bytes().all(plain)
}
