//! The journal's lines: one JSON object each, with a tag.
//!
//! `subject` and `shape` define numbers that later lines of the same segment use; `open`, `settle`
//! and `connection` are the records. A segment can be read without any other.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::record::{CallId, Limits};
use crate::subject::Subject;

use super::entry::{Call, Entry, Figures, Link, LinkFacts, Try};
use super::shape::{Known, KnownLimits, KnownSubject, Shape};
use super::steps::Steps;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line<'a> {
    Subject(Definition<'a, Subject>),
    Shape(Definition<'a, Shape>),
    Limits(Definition<'a, Limits>),
    #[serde(borrow)]
    Open(CallLine<'a>),
    #[serde(borrow)]
    Settle(CallLine<'a>),
    Connection(LinkLine<'a>),
}

#[derive(Serialize, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct Definition<'a, T: Clone> {
    n: u64,
    is: Cow<'a, T>,
}

#[derive(Serialize, Deserialize)]
struct CallLine<'a> {
    id: CallId,
    at: i64,
    subject: u64,
    shape: u64,
    figures: Cow<'a, Figures>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "<[Try]>::is_empty")]
    tries: Cow<'a, [Try]>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    steps: Option<&'a RawValue>,
    /// Those that the steps speak of, by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    limits: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct LinkLine<'a> {
    subject: u64,
    is: Cow<'a, LinkFacts>,
}

/// Appends an entry's line, and the definitions it needs that this epoch has not had yet.
pub(super) fn encode(entry: &Entry, epoch: u64, to: &mut Vec<u8>) -> serde_json::Result<()> {
    let (subject, shape) = match entry {
        Entry::Open(call) | Entry::Settle(call) => (&call.subject, Some(&call.shape)),
        Entry::Connection(link) => (&link.subject, None),
    };
    if subject.undefined_in(epoch) {
        let is = Cow::Borrowed(&*subject.value);
        put(&Line::Subject(Definition { n: subject.number, is }), to)?;
    }
    if let Some(shape) = shape
        && shape.undefined_in(epoch)
    {
        let is = Cow::Borrowed(&shape.value);
        put(&Line::Shape(Definition { n: shape.number, is }), to)?;
    }
    if let Entry::Settle(call) = entry {
        for limits in &call.steps.limits {
            if limits.undefined_in(epoch) {
                let is = Cow::Borrowed(&*limits.value);
                put(&Line::Limits(Definition { n: limits.number, is }), to)?;
            }
        }
    }
    match entry {
        Entry::Open(call) => put(&Line::Open(CallLine::of(call)), to),
        Entry::Settle(call) => put(&Line::Settle(CallLine::of(call)), to),
        Entry::Connection(link) => {
            let is = Cow::Borrowed(&link.facts);
            put(&Line::Connection(LinkLine { subject: link.subject.number, is }), to)
        }
    }
}

fn put(line: &Line<'_>, to: &mut Vec<u8>) -> serde_json::Result<()> {
    serde_json::to_writer(&mut *to, line)?;
    to.push(b'\n');
    Ok(())
}

impl<'a> CallLine<'a> {
    fn of(call: &'a Call) -> Self {
        Self {
            id: call.id,
            at: call.at,
            subject: call.subject.number,
            shape: call.shape.number,
            figures: Cow::Borrowed(&call.figures),
            error: call.error.as_deref().map(Cow::Borrowed),
            tries: Cow::Borrowed(&call.tries),
            steps: call.steps.json.as_deref(),
            limits: call.steps.limits.iter().map(|it| it.number).collect(),
        }
    }
}

/// Reads a segment's lines back. Numbers are given anew, so that they cannot meet those of the
/// running process.
pub(super) struct Decoder<'a> {
    numbers: &'a AtomicU64,
    subjects: HashMap<u64, Arc<KnownSubject>>,
    shapes: HashMap<u64, Arc<Known<Shape>>>,
    limits: HashMap<u64, Arc<KnownLimits>>,
}

/// A line that is no record of ours, or refers to something that was never defined.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

impl<'a> Decoder<'a> {
    pub(super) fn new(numbers: &'a AtomicU64) -> Self {
        let (subjects, shapes, limits) = Default::default();
        Self { numbers, subjects, shapes, limits }
    }

    /// The record on a line, or `None` where it only defines something.
    pub(super) fn decode(&mut self, line: &[u8]) -> Result<Option<Entry>, Unreadable> {
        match serde_json::from_slice(line).map_err(|_| Unreadable)? {
            Line::Subject(it) => {
                let known = Known::new(Arc::new(it.is.into_owned()), self.numbers);
                self.subjects.insert(it.n, known);
                Ok(None)
            }
            Line::Shape(it) => {
                self.shapes.insert(it.n, Known::new(it.is.into_owned(), self.numbers));
                Ok(None)
            }
            Line::Limits(it) => {
                // Steps name them by this very number.
                let known = Known::numbered(it.n, Arc::new(it.is.into_owned()));
                self.limits.insert(it.n, known);
                Ok(None)
            }
            Line::Open(line) => self.call(line).map(Entry::Open).map(Some),
            Line::Settle(line) => self.call(line).map(Entry::Settle).map(Some),
            Line::Connection(line) => {
                let subject = self.subjects.get(&line.subject).ok_or(Unreadable)?;
                let facts = line.is.into_owned();
                Ok(Some(Entry::Connection(Link { subject: Arc::clone(subject), facts })))
            }
        }
    }

    fn call(&self, line: CallLine<'_>) -> Result<Box<Call>, Unreadable> {
        Ok(Box::new(Call {
            id: line.id,
            at: line.at,
            subject: Arc::clone(self.subjects.get(&line.subject).ok_or(Unreadable)?),
            shape: Arc::clone(self.shapes.get(&line.shape).ok_or(Unreadable)?),
            steps: self.steps(&line)?,
            figures: line.figures.into_owned(),
            error: line.error.map(|it| it.into_owned().into_boxed_str()),
            tries: line.tries.into_owned(),
        }))
    }

    fn steps(&self, line: &CallLine<'_>) -> Result<Steps, Unreadable> {
        let known = |number| self.limits.get(number).cloned().ok_or(Unreadable);
        let limits = line.limits.iter().map(known).collect::<Result<_, _>>()?;
        Ok(Steps { json: line.steps.map(ToOwned::to_owned), limits })
    }
}
