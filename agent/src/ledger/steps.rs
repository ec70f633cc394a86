//! Decisions as they are kept: one JSON array for each call, in which the limits of a policy are a
//! number. What the number stands for is kept once for many calls.
//!
//! A step is `[at_us, rule, action, detail]`, or, where limits were asked,
//! `[at_us, action, limits, [used, ...], [tokens, nano_dollars] or null, remark or null]`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use crate::record::{Decision, Detail, Figures, Limits, More};

use super::entry::span;
use super::shape::{Interner, KnownLimits};

/// The decisions on a call, and the limits they speak of.
#[derive(Debug, Default)]
pub(super) struct Steps {
    pub(super) json: Option<Box<RawValue>>,
    pub(super) limits: Vec<Arc<KnownLimits>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Step<'a> {
    Text(i64, &'a str, &'a str, &'a str),
    Limits(i64, &'a str, u64, &'a [u64], Option<(u64, Option<u64>)>, Option<&'a str>),
}

/// The same with texts of its own: JSON's escapes leave nothing to borrow.
#[derive(Deserialize)]
#[serde(untagged)]
enum Read {
    Text(i64, String, String, String),
    Limits(i64, String, u64, Box<[u64]>, Option<(u64, Option<u64>)>, Option<Box<str>>),
}

impl Steps {
    /// Takes decisions down.
    pub(super) fn of(decisions: &[Decision], interner: &mut Interner) -> Self {
        if decisions.is_empty() {
            return Self::default();
        }
        let about = |it: &Decision| match &it.detail {
            Detail::Text(_) => None,
            Detail::Figures(figures) => Some(interner.limits(&figures.limits)),
        };
        let known: Vec<_> = decisions.iter().map(about).collect();
        // Strings and numbers always have a JSON form.
        let json = to_raw_value(&Line(decisions, &known)).ok();
        Self { json, limits: known.into_iter().flatten().collect() }
    }
}

struct Line<'a>(&'a [Decision], &'a [Option<Arc<KnownLimits>>]);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().zip(self.1).map(|(it, known)| {
            match (&it.detail, known) {
                (Detail::Figures(figures), Some(known)) => Step::Limits(
                    span(it.at),
                    &it.action,
                    known.number,
                    &figures.used,
                    figures.more.map(|more| (more.tokens, more.usd)),
                    figures.remark.as_deref(),
                ),
                (Detail::Text(text), _) => Step::Text(span(it.at), &it.rule, &it.action, text),
                (Detail::Figures(_), None) => Step::Text(span(it.at), &it.rule, &it.action, ""),
            }
        }))
    }
}

/// Reads decisions back, with the limits kept beside them.
pub(super) fn read(
    steps: &str,
    limits: &HashMap<u64, Arc<Limits>>,
) -> serde_json::Result<Vec<Decision>> {
    let steps: Vec<Read> = serde_json::from_str(steps)?;
    let at = |micros: i64| Duration::from_micros(micros.unsigned_abs());
    let decisions = steps.into_iter().map(|step| match step {
        Read::Text(micros, rule, action, detail) => Decision {
            at: at(micros),
            rule: rule.into(),
            action: action.into(),
            detail: Detail::Text(detail),
        },
        Read::Limits(micros, action, number, used, more, remark) => {
            let limits = limits.get(&number).cloned().unwrap_or_else(unknown);
            let more = more.map(|(tokens, usd)| More { tokens, usd });
            Decision {
                at: at(micros),
                rule: Arc::clone(&limits.policy),
                action: action.into(),
                detail: Detail::Figures(Box::new(Figures { limits, used, more, remark })),
            }
        }
    });
    Ok(decisions.collect())
}

/// Limits that were not kept, which only a damaged database can have.
fn unknown() -> Arc<Limits> {
    Arc::new(Limits { policy: Arc::from("unknown"), of: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Quantity;

    fn figures(limits: &Arc<Limits>, more: Option<More>, remark: Option<&str>) -> Decision {
        Decision {
            at: Duration::from_micros(7),
            rule: Arc::clone(&limits.policy),
            action: "pass".into(),
            detail: Detail::Figures(Box::new(Figures {
                limits: Arc::clone(limits),
                used: Box::new([1, 2]),
                more,
                remark: remark.map(Into::into),
            })),
        }
    }

    #[test]
    fn decisions_read_back_as_they_were_and_limits_are_kept_once() {
        let of = vec![
            ("requests_per_minute".into(), Quantity::Requests, 5),
            ("daily_limit_usd".into(), Quantity::Usd, 10),
        ];
        let limits = Arc::new(Limits { policy: "rate_limits.\"x\"".into(), of });
        let decisions = vec![
            Decision {
                at: Duration::from_micros(3),
                rule: "route".into(),
                action: "provider openai".into(),
                detail: "host \"a\"\n".into(),
            },
            figures(&limits, None, None),
            figures(&limits, Some(More { tokens: 9, usd: None }), None),
            figures(&limits, Some(More { tokens: 9, usd: Some(4) }), Some("capped \"at\" 9")),
        ];
        let mut interner = Interner::new(Arc::default());
        let steps = Steps::of(&decisions, &mut interner);
        let kept = steps.limits.iter().map(|it| (it.number, Arc::clone(&it.value)));
        let kept: HashMap<_, _> = kept.collect();
        assert_eq!(kept.len(), 1);
        assert_eq!(read(steps.json.unwrap().get(), &kept).unwrap(), decisions);
        assert!(Steps::of(&[], &mut interner).json.is_none());
    }
}
