//! What the mock answers: how many tokens it bills, how it paces a stream, and what goes wrong.
//!
//! A script comes from, in this order: one queued by [`super::Control::once`], the request's
//! `x-mock` header, a model name that starts with `mock:`, the standing script. The text form is
//! a list of `key=value` and bare words: `input=1200 cached=800 output=300 pace=5ms cut=3`.

use std::time::Duration;

/// Most content events one stream may have: bounds how long a scripted answer can be.
const MOST_CHUNKS: u32 = 1_000_000;

/// The usage a provider reports for one answer. Deterministic, so that costs are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens {
    /// All tokens of the prompt, cached ones included.
    pub input: u64,
    /// Prompt tokens read from the provider's cache.
    pub cached: u64,
    /// Prompt tokens written to the provider's cache (Anthropic).
    pub cache_write: u64,
    /// All tokens of the answer, reasoning included.
    pub output: u64,
    /// Tokens of the answer that are hidden reasoning.
    pub reasoning: u64,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { input: 1_000, cached: 0, cache_write: 0, output: 200, reasoning: 0 }
    }
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    /// As it should.
    #[default]
    Whole,
    /// An error status instead of an answer, with `Retry-After` seconds if wanted.
    Status {
        /// The HTTP status.
        code: u16,
        /// Seconds for the `Retry-After` header.
        retry_after: Option<u64>,
    },
    /// A 200 stream that carries an error event after this many content events.
    ErrorEvent {
        /// Content events sent before the error.
        after: u32,
    },
    /// The connection is cut after this many content events; a unary answer is cut in its body.
    Cut {
        /// Content events sent before the cut.
        after: u32,
    },
    /// The connection is closed without a response head.
    Hangup,
    /// No answer ever comes; ends when the client leaves.
    Hang,
}

/// One answer's script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Script {
    /// The usage reported.
    pub tokens: Tokens,
    /// Content events in a stream.
    pub chunks: u32,
    /// Time before the response head.
    pub delay: Duration,
    /// Time between two events of a stream.
    pub pace: Duration,
    /// Whether the body is gzip, if the client accepts that.
    pub gzip: bool,
    /// How it ends.
    pub ending: Ending,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            tokens: Tokens::default(),
            chunks: 8,
            delay: Duration::ZERO,
            pace: Duration::ZERO,
            gzip: false,
            ending: Ending::Whole,
        }
    }
}

/// A word of a script that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown word in a mock script: {0:?}")]
pub struct UnknownWord(String);

impl Script {
    /// Reads the text form on top of `self`; words are separated by spaces or commas.
    pub fn amended(mut self, text: &str) -> Result<Self, UnknownWord> {
        for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
            self.apply(word).ok_or_else(|| UnknownWord(word.to_owned()))?;
        }
        Ok(self)
    }

    fn apply(&mut self, word: &str) -> Option<()> {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let number = || value.parse::<u64>().ok();
        let count = || value.parse::<u32>().ok().filter(|&n| n <= MOST_CHUNKS);
        match key {
            "input" => self.tokens.input = number()?,
            "cached" => self.tokens.cached = number()?,
            "cache_write" => self.tokens.cache_write = number()?,
            "output" => self.tokens.output = number()?,
            "reasoning" => self.tokens.reasoning = number()?,
            "chunks" => self.chunks = count()?,
            "delay" => self.delay = millis(value)?,
            "pace" => self.pace = millis(value)?,
            "gzip" => self.gzip = true,
            "status" => {
                self.ending = Ending::Status { code: value.parse().ok()?, retry_after: None };
            }
            "retry_after" => match &mut self.ending {
                Ending::Status { retry_after, .. } => *retry_after = Some(number()?),
                _ => self.ending = Ending::Status { code: 429, retry_after: Some(number()?) },
            },
            "error" => self.ending = Ending::ErrorEvent { after: count().unwrap_or(1) },
            "cut" => self.ending = Ending::Cut { after: count().unwrap_or(1) },
            "hangup" => self.ending = Ending::Hangup,
            "hang" => self.ending = Ending::Hang,
            _ => return None,
        }
        Some(())
    }
}

fn millis(value: &str) -> Option<Duration> {
    value.trim_end_matches("ms").parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_amends_a_script() {
        let script = Script::default()
            .amended("input=1200 cached=800,output=300 pace=5ms status=429 retry_after=2 gzip")
            .unwrap();
        let tokens = Tokens { input: 1200, cached: 800, output: 300, ..Tokens::default() };
        assert_eq!(script.tokens, tokens);
        assert_eq!(script.pace, Duration::from_millis(5));
        assert_eq!(script.ending, Ending::Status { code: 429, retry_after: Some(2) });
        assert!(script.gzip);
        assert_eq!(Script::default().amended("cut=3").unwrap().ending, Ending::Cut { after: 3 });
    }

    #[test]
    fn unknown_words_are_refused() {
        assert_eq!(Script::default().amended("ouput=3"), Err(UnknownWord("ouput=3".into())));
        assert!(Script::default().amended("chunks=4000000000").is_err());
    }
}
