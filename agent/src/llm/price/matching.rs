//! Which catalogue entry a model name means: the catalogue's own rules, aliases and dates.

use serde::Deserialize;

/// A rule of the catalogue. Names are compared in lower case.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Rule {
    And(Vec<Self>),
    Or(Vec<Self>),
    Contains(Lower),
    EndsWith(Lower),
    Equals(Lower),
    Regex(Pattern),
    StartsWith(Lower),
}

impl Rule {
    /// Whether `name`, in lower case, is meant.
    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::And(rules) => rules.iter().all(|rule| rule.matches(name)),
            Self::Or(rules) => rules.iter().any(|rule| rule.matches(name)),
            Self::Contains(part) => name.contains(&*part.0),
            Self::EndsWith(end) => name.ends_with(&*end.0),
            Self::Equals(whole) => name == &*whole.0,
            Self::Regex(pattern) => pattern.matches(name),
            Self::StartsWith(start) => name.starts_with(&*start.0),
        }
    }
}

/// A literal, in lower case.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
pub(super) struct Lower(Box<str>);

impl From<String> for Lower {
    fn from(text: String) -> Self {
        Self(text.to_lowercase().into())
    }
}

/// The few shapes of regular expression the catalogue uses, read without a regex engine: names
/// come from clients, and a backtracking engine is no place for them.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
pub(super) enum Pattern {
    /// `^literal\d{8}$` and the like: a sequence of characters and digits from the start.
    Sequence { steps: Box<[Step]>, to_end: bool },
    /// No part between dashes is `tts`.
    NotSpeech,
    /// A shape we don't read: means no name at all, so that its model stays unpriced.
    Unread,
}

/// One step of a sequence.
#[derive(Debug)]
pub(super) enum Step {
    Char(char),
    Digits(usize),
    OneOf(Box<str>),
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        if text == r"^(?!.*-[tT][tT][sS](?:$|-))" {
            return Self::NotSpeech;
        }
        sequence(&text).unwrap_or(Self::Unread)
    }
}

fn sequence(text: &str) -> Option<Pattern> {
    let mut rest = text.strip_prefix('^')?;
    let mut steps = Vec::new();
    let mut to_end = false;
    while let Some(next) = rest.chars().next() {
        rest = &rest[next.len_utf8()..];
        match next {
            '\\' => {
                let escaped = rest.chars().next()?;
                rest = &rest[escaped.len_utf8()..];
                match escaped {
                    'd' => {
                        let mut count = 1;
                        if let Some((digits, after)) =
                            rest.strip_prefix('{').and_then(|braced| braced.split_once('}'))
                        {
                            count = digits.parse().ok()?;
                            rest = after;
                        }
                        steps.push(Step::Digits(count));
                    }
                    '.' | '[' | ']' => steps.push(Step::Char(escaped)),
                    _ => return None,
                }
            }
            '[' => {
                let (set, after) = rest.split_once(']')?;
                // A dash between two others is a range, which none of the rules uses.
                if set.is_empty()
                    || set.contains(['\\', '^'])
                    || set.chars().skip(1).any(|c| c == '-')
                {
                    return None;
                }
                steps.push(Step::OneOf(set.into()));
                rest = after;
            }
            '$' if rest.is_empty() => to_end = true,
            '.' | '*' | '+' | '?' | '(' | ')' | '|' | '{' | '}' | '$' | '^' => return None,
            literal => steps.push(Step::Char(literal)),
        }
    }
    Some(Pattern::Sequence { steps: steps.into(), to_end })
}

impl Pattern {
    fn matches(&self, name: &str) -> bool {
        let (steps, to_end) = match self {
            Self::NotSpeech => return name.split('-').skip(1).all(|part| part != "tts"),
            Self::Unread => return false,
            Self::Sequence { steps, to_end } => (steps, *to_end),
        };
        let mut rest = name.chars();
        for step in steps {
            let matched = match step {
                Step::Char(wanted) => rest.next() == Some(*wanted),
                Step::Digits(count) => {
                    (0..*count).all(|_| rest.next().is_some_and(|next| next.is_ascii_digit()))
                }
                Step::OneOf(set) => rest.next().is_some_and(|next| set.contains(next)),
            };
            if !matched {
                return false;
            }
        }
        !to_end || rest.next().is_none()
    }
}

/// `name` with its compact dates (`-20251211`) written with dashes, as the catalogue writes them;
/// `None` where it has none.
pub(super) fn with_dashed_date(name: &str) -> Option<String> {
    let (start, date) = name.match_indices("-20").find_map(|(at, _)| {
        let date = name.get(at + 1..at + 9)?;
        let ends = name[at + 9..].chars().next().is_none_or(|next| next == '-' || next == ':');
        let month: u8 = date.get(4..6)?.parse().ok()?;
        let day: u8 = date.get(6..8)?.parse().ok()?;
        let real = date.bytes().all(|byte| byte.is_ascii_digit())
            && (1..=12).contains(&month)
            && (1..=31).contains(&day);
        (ends && real).then_some((at, date))
    })?;
    let (before, after) = (&name[..start], &name[start + 9..]);
    Some(format!("{before}-{}-{}-{}{after}", &date[..4], &date[4..6], &date[6..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::from(text.to_owned())
    }

    #[test]
    fn the_shapes_the_catalogue_uses_are_read() {
        let dated = pattern(r"^claude-opus-5[-@]\d{8}$");
        assert!(dated.matches("claude-opus-5-20260812"));
        assert!(dated.matches("claude-opus-5@20260812"));
        assert!(!dated.matches("claude-opus-5-2026081"));
        assert!(!dated.matches("claude-opus-5-20260812-x"));
        let dashed = pattern(r"^gpt-5\.6-sol-\d{4}-\d{2}-\d{2}$");
        assert!(dashed.matches("gpt-5.6-sol-2026-08-01"));
        assert!(!dashed.matches("gpt-5x6-sol-2026-08-01"));
        let open = pattern(r"^gemini-4-argon-\d");
        assert!(open.matches("gemini-4-argon-12"));
        let braces = pattern(r"^grok-4\.7\[fast=true\]$");
        assert!(braces.matches("grok-4.7[fast=true]"));
        let speech = pattern(r"^(?!.*-[tT][tT][sS](?:$|-))");
        assert!(speech.matches("gemini-2.5-pro"));
        assert!(!speech.matches("gemini-2.5-pro-tts"));
        assert!(!speech.matches("gemini-tts-2"));
    }

    #[test]
    fn other_shapes_match_nothing() {
        for text in [r"^a.*b", r"a", r"^[a-z]", r"^(?:x)", r"^\w", r"^a$b", r"^a+"] {
            assert!(matches!(pattern(text), Pattern::Unread), "{text}");
        }
        assert!(!pattern("^a.*b").matches("ab"));
    }

    #[test]
    fn compact_dates_get_dashes() {
        assert_eq!(with_dashed_date("gpt-5.2-20251211").as_deref(), Some("gpt-5.2-2025-12-11"));
        assert_eq!(with_dashed_date("m-20251211:free").as_deref(), Some("m-2025-12-11:free"));
        for name in ["gpt-5.2", "m-20251399", "m-202512110", "m-2025-12-11", "m-20é51211"] {
            assert_eq!(with_dashed_date(name), None, "{name}");
        }
    }
}
