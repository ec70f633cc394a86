//! What is logged: a level for the whole agent, and others for parts of it.

use std::fmt;
use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::config::Level;

/// The agent's crate, as events name it.
const AGENT: &str = "agent";
/// Where it is said what was suppressed: always heard.
pub(super) const SUMS: &str = "agent::app::log::repeats";
/// Parts that log.
const PARTS: [&str; 14] = [
    "admin",
    "alerts",
    "app",
    "capture",
    "config",
    "downstream",
    "ledger",
    "llm",
    "metrics",
    "pipeline",
    "policy",
    "record",
    "telemetry",
    "upstream",
];
/// Parts with a level of their own.
const MOST: usize = 32;

/// `info`, or `info,upstream=debug,downstream::trust=trace`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    level: LevelFilter,
    /// By the path below the crate.
    parts: Vec<(String, LevelFilter)>,
}

/// The text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FilterError {
    /// A word that is no level.
    #[error("`{0}` is not a level: off, error, warn, info, debug or trace")]
    Level(String),
    /// A part that there is not.
    #[error("there is no part `{part}`; there are: {}", PARTS.join(", "))]
    Part {
        /// As written.
        part: String,
    },
    /// Nothing, or too much.
    #[error("write a level (debug), or levels of parts too (info,upstream=debug), {MOST} at most")]
    Shape,
}

impl Filter {
    /// The same level everywhere.
    pub(super) fn of(level: Level) -> Self {
        let level = match level {
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
            Level::Trace => LevelFilter::TRACE,
        };
        Self { level, parts: Vec::new() }
    }

    /// The same for the subscriber.
    pub(super) fn targets(&self) -> Targets {
        let own = [AGENT, "weir_ebpf"].map(|target| (target.to_owned(), self.level));
        let parts = self.parts.iter().map(|(part, level)| (format!("{AGENT}::{part}"), *level));
        Targets::new()
            // Libraries may log what passes them at their lowest levels: they stay above those.
            .with_default(LevelFilter::WARN)
            .with_targets(own.into_iter().chain(parts))
            .with_target(SUMS, LevelFilter::TRACE)
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let words: Vec<&str> = text.split(',').map(str::trim).collect();
        if text.trim().is_empty() || words.len() > MOST {
            return Err(FilterError::Shape);
        }
        // Who names parts alone leaves the rest as quiet as it usually is.
        let mut filter = Self { level: LevelFilter::INFO, parts: Vec::new() };
        for word in words {
            let Some((part, level)) = word.split_once('=') else {
                filter.level = level_of(word)?;
                continue;
            };
            let level = level_of(level)?;
            match part.trim() {
                AGENT | "weir" => filter.level = level,
                part => filter.set(known(part)?, level),
            }
        }
        Ok(filter)
    }
}

impl Filter {
    /// The last word on a part is the one that counts.
    fn set(&mut self, part: &str, level: LevelFilter) {
        self.parts.retain(|(known, _)| known != part);
        self.parts.push((part.to_owned(), level));
    }
}

/// As it is read.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.level)?;
        self.parts.iter().try_for_each(|(part, level)| write!(f, ",{part}={level}"))
    }
}

fn level_of(word: &str) -> Result<LevelFilter, FilterError> {
    let word = word.trim();
    // The crate's own reading takes numbers and nothing at all, too.
    let is_word = !word.is_empty() && word.chars().all(char::is_alphabetic);
    is_word.then(|| word.parse().ok()).flatten().ok_or_else(|| FilterError::Level(word.to_owned()))
}

fn known(part: &str) -> Result<&str, FilterError> {
    let path = part.strip_prefix("agent::").unwrap_or(part);
    let top = path.split("::").next().unwrap_or_default();
    let fits = |c: char| c.is_ascii_lowercase() || c == '_' || c == ':';
    if PARTS.contains(&top) && path.len() <= 64 && path.chars().all(fits) {
        Ok(path)
    } else {
        Err(FilterError::Part { part: part.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level as Said;

    use super::*;

    fn filter(text: &str) -> Filter {
        text.parse().unwrap()
    }

    #[test]
    fn levels_are_set_for_all_and_for_parts() {
        let targets = filter("info,upstream=debug, downstream::trust=trace,policy=off").targets();
        for (target, level, expected) in [
            ("agent::app", Said::INFO, true),
            ("agent::app", Said::DEBUG, false),
            ("agent::upstream::pool", Said::DEBUG, true),
            ("agent::upstream::pool", Said::TRACE, false),
            ("agent::downstream::trust", Said::TRACE, true),
            ("agent::downstream::accept", Said::DEBUG, false),
            ("agent::policy", Said::ERROR, false),
            (SUMS, Said::INFO, true),
        ] {
            assert_eq!(targets.would_enable(target, &level), expected, "{target} {level}");
        }
    }

    #[test]
    fn libraries_never_log_what_passes_them() {
        let targets = filter("trace").targets();
        for library in ["hyper::proto", "rustls::client", "h2", "tungstenite"] {
            assert!(targets.would_enable(library, &Said::WARN));
            assert!(!targets.would_enable(library, &Said::INFO), "{library}");
        }
        assert!("hyper=trace".parse::<Filter>().is_err());
    }

    #[test]
    fn what_is_written_is_read() {
        for text in ["info", "off", "warn,upstream=debug,downstream::trust=trace"] {
            assert_eq!(filter(text).to_string(), text);
        }
        assert_eq!(filter("upstream=debug").to_string(), "info,upstream=debug");
        assert_eq!(filter("agent::upstream=debug,weir=warn").to_string(), "warn,upstream=debug");
        assert_eq!(filter("policy=debug,policy=warn").to_string(), "info,policy=warn");
        assert_eq!(filter("DEBUG").to_string(), "debug");
    }

    #[test]
    fn every_wrong_word_is_named() {
        let wrong = |text: &str| text.parse::<Filter>().unwrap_err().to_string();
        assert!(wrong("loud").starts_with("`loud` is not a level"));
        assert!(wrong("5").starts_with("`5` is not a level"));
        assert!(wrong("info,upstream=").starts_with("`` is not a level"));
        assert!(wrong("upstrem=debug").starts_with("there is no part `upstrem`"));
        assert!(wrong("upstream[{x}]=debug").starts_with("there is no part"));
        assert!(wrong(" ").starts_with("write a level"));
        assert!(wrong(&"info,".repeat(40)).starts_with("write a level"));
    }
}
