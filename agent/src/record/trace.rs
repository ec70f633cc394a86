//! Whose trace a call belongs to (W3C Trace Context, <https://www.w3.org/TR/trace-context/>), and
//! whether it is kept.
//!
//! A client that has a span of its own is its parent, and its decision holds: what it samples is
//! kept, what it does not is not, and is passed on untouched. Of calls without one a share is kept,
//! told by the trace's own id, so that everyone who goes by the same share keeps the same traces.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::sync::Arc;

use http::{HeaderMap, HeaderName};

/// Version, trace, parent and flags.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What each tracing system on the way has to say.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Kept by whoever asks.
const SAMPLED: u8 = 1;
/// The trace's id is random (level 2 of the recommendation).
const RANDOM: u8 = 2;
/// Members of a state that are passed on.
const MEMBERS: usize = 32;
/// Characters of a state that are passed on: what the recommendation asks for.
const STATE: usize = 512;

/// A trace; never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(NonZeroU128);

/// A span within a trace; never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId(NonZeroU64);

impl TraceId {
    /// As it is sent.
    pub fn bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }
}

impl SpanId {
    /// As it is sent.
    pub fn bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The share of traces begun here that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleRate(u32);

impl SampleRate {
    /// All of them, in millionths.
    pub const WHOLE: u32 = 1_000_000;

    /// From millionths.
    pub fn millionths(share: u32) -> Self {
        Self(share.min(Self::WHOLE))
    }

    /// Whether a trace is kept. Decided by the 56 bits that are random in every trace's id.
    fn keeps(self, id: TraceId) -> bool {
        let random = id.0.get() & ((1 << 56) - 1);
        random * u128::from(Self::WHOLE) < u128::from(self.0) << 56
    }
}

/// A call's place in a trace that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The trace.
    pub id: TraceId,
    /// The call's own span.
    pub span: SpanId,
    /// The client's span, where it has one.
    pub parent: Option<SpanId>,
    /// What came with the client's, to be passed on.
    pub state: Option<Arc<str>>,
    flags: u8,
}

impl Trace {
    /// The place of a call whose request has these headers; `None` where it is not kept. `random`
    /// draws numbers.
    pub fn of(
        headers: &HeaderMap,
        rate: SampleRate,
        mut random: impl FnMut() -> u64,
    ) -> Option<Self> {
        let mut draw = || loop {
            if let Some(span) = NonZeroU64::new(random()) {
                return span;
            }
        };
        if let Some(parent) = Parent::of(headers) {
            return (parent.flags & SAMPLED != 0).then(|| Self {
                id: parent.trace,
                span: SpanId(draw()),
                parent: Some(parent.span),
                state: state(headers),
                flags: parent.flags & (SAMPLED | RANDOM),
            });
        }
        let (high, low) = (NonZeroU128::from(draw()), NonZeroU128::from(draw()));
        let id = TraceId(low | (high.get() << 64));
        let span = SpanId(draw());
        rate.keeps(id).then_some(Self { id, span, parent: None, state: None, flags: SAMPLED })
    }

    /// The span of a call's try; tries count from 1. Follows from the call's own, by a bijection:
    /// two tries never share one.
    pub fn attempt(&self, number: usize) -> SpanId {
        // SplitMix64.
        let step = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.span.0.get().wrapping_add(step);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        SpanId(NonZeroU64::new(mixed).unwrap_or(NonZeroU64::MAX))
    }

    /// What a try tells the provider.
    pub fn traceparent(&self, attempt: usize) -> String {
        format!("00-{}-{}-{:02x}", self.id, self.attempt(attempt), self.flags)
    }
}

/// A client's span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parent {
    trace: TraceId,
    span: SpanId,
    flags: u8,
}

impl Parent {
    /// Where there are two, neither counts.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let mut all = headers.get_all(TRACEPARENT).iter();
        let (Some(only), None) = (all.next(), all.next()) else { return None };
        Self::parse(only.to_str().ok()?.trim_matches([' ', '\t']))
    }

    fn parse(text: &str) -> Option<Self> {
        let (known, rest) = (text.get(..55)?, text.get(55..)?);
        let mut parts = known.split('-');
        let version = u8::try_from(hex(parts.next()?, 2)?).ok()?;
        let trace = hex(parts.next()?, 32)?;
        let span = u64::try_from(hex(parts.next()?, 16)?).ok()?;
        let flags = u8::try_from(hex(parts.next()?, 2)?).ok()?;
        // Later versions may say more after this one's fields.
        let fits = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest.starts_with('-'),
        };
        let is_whole = fits && parts.next().is_none();
        is_whole.then_some(Self {
            trace: TraceId(NonZeroU128::new(trace)?),
            span: SpanId(NonZeroU64::new(span)?),
            flags,
        })
    }
}

/// Lower-case digits only, and exactly so many.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let fits = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != digits || !text.bytes().all(fits) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

/// The state that came with a client's span, cut after whole members; `None` where it is none, or
/// not valid.
fn state(headers: &HeaderMap) -> Option<Arc<str>> {
    let mut kept = String::new();
    let mut keys = Vec::new();
    for line in headers.get_all(TRACESTATE) {
        for member in line.to_str().ok()?.split(',').map(|member| member.trim_matches([' ', '\t']))
        {
            if member.is_empty() {
                continue;
            }
            let (key, value) = member.split_once('=')?;
            if !is_key(key) || !is_value(value) || keys.contains(&key) {
                return None;
            }
            let comma = usize::from(!kept.is_empty());
            if keys.len() == MEMBERS || kept.len() + comma + member.len() > STATE {
                return Some(kept.into()).filter(|kept: &Arc<str>| !kept.is_empty());
            }
            keys.push(key);
            if comma == 1 {
                kept.push(',');
            }
            kept.push_str(member);
        }
    }
    (!kept.is_empty()).then(|| kept.into())
}

fn is_key(key: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/@".contains(&b);
    let begins = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    key.len() <= 256 && key.as_bytes().first().is_some_and(begins) && key.bytes().all(fits)
}

fn is_value(value: &str) -> bool {
    let fits = |b: u8| (0x20..=0x7e).contains(&b) && b != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(fits) && !value.ends_with(' ')
}

/// Whether the client has signed its trace headers (AWS Signature Version 4 and its relatives name
/// what they cover, RFC 9421 does): then they may not be touched.
pub fn is_signed(headers: &HeaderMap, query: Option<&str>) -> bool {
    let names = |text: &str| {
        let text = text.to_ascii_lowercase();
        [TRACEPARENT, TRACESTATE].iter().any(|name| text.contains(name.as_str()))
    };
    let signed = ["authorization", "signature", "signature-input"]
        .into_iter()
        .any(|name| headers.get_all(name).iter().any(|value| value.to_str().is_ok_and(names)));
    signed || query.is_some_and(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        fields.iter().map(field).collect()
    }

    /// Numbers that are told apart.
    fn numbers() -> impl FnMut() -> u64 {
        let mut last = 0;
        move || {
            last += 1;
            last * 0x0123_4567_89ab
        }
    }

    fn traced(fields: &[(&'static str, &str)], rate: u32) -> Option<Trace> {
        Trace::of(&headers(fields), SampleRate::millionths(rate), numbers())
    }

    #[test]
    fn a_parent_is_read_as_the_recommendation_says() {
        let id = "0af7651916cd43dd8448eb211c80319c";
        let valid = [
            PARENT.to_owned(),
            format!("00-{id}-b7ad6b7169203331-00"),
            format!("00-{id}-b7ad6b7169203331-ff"),
            format!("cc-{id}-b7ad6b7169203331-01"),
            format!("cc-{id}-b7ad6b7169203331-01-what-the-future-will-be-like"),
        ];
        for text in &valid {
            let parent = Parent::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(parent.trace.to_string(), id, "{text}");
            assert_eq!(parent.span.to_string(), "b7ad6b7169203331", "{text}");
        }
        let zeros = "00000000000000000000000000000000";
        let invalid = [
            String::new(),
            "garbage".to_owned(),
            format!("ff-{id}-b7ad6b7169203331-01"),
            format!("00-{zeros}-b7ad6b7169203331-01"),
            format!("00-{id}-0000000000000000-01"),
            format!("00-{}-b7ad6b7169203331-01", id.to_uppercase()),
            format!("00-{id}-b7ad6b7169203331-1"),
            format!("00-{id}-b7ad6b7169203331-01-"),
            format!("00-{id}-b7ad6b7169203331-01-more"),
            format!("cc-{id}-b7ad6b7169203331-01.more"),
            format!("00-{id}-b7ad6b7169203331-0g"),
            format!("00-{id}-b7ad6b716920333-011"),
            format!("0-0{id}-b7ad6b7169203331-01"),
            format!("00_{id}_b7ad6b7169203331_01"),
            format!("+0-{id}-b7ad6b7169203331-01"),
            format!("00-{id}-b7ad6b7169203331-é"),
            "-".repeat(55),
        ];
        for text in &invalid {
            assert_eq!(Parent::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_client_span_is_the_parent_and_decides() {
        let trace = traced(&[("traceparent", PARENT), ("tracestate", "a=1")], 0).unwrap();
        assert_eq!(trace.id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(trace.parent.unwrap().to_string(), "b7ad6b7169203331");
        assert_ne!(trace.parent, Some(trace.span));
        assert_eq!(trace.state.as_deref(), Some("a=1"));
        let sent = trace.traceparent(1);
        assert_eq!(&sent[..35], &PARENT[..35]);
        assert_eq!(&sent[36..52], trace.attempt(1).to_string());
        assert_eq!(&sent[52..], "-01");
        let unsampled = PARENT.replace("-01", "-00");
        assert_eq!(traced(&[("traceparent", &unsampled)], SampleRate::WHOLE), None);
        let random = PARENT.replace("-01", "-ff");
        let trace = traced(&[("traceparent", &random)], 0).unwrap();
        assert!(trace.traceparent(1).ends_with("-03"), "bits of no meaning are not passed on");
    }

    #[test]
    fn what_cannot_be_read_begins_anew_without_its_state() {
        for fields in [
            &[("traceparent", "00-x"), ("tracestate", "a=1")][..],
            &[("traceparent", PARENT), ("traceparent", PARENT), ("tracestate", "a=1")],
            &[("tracestate", "a=1")],
        ] {
            let trace = traced(fields, SampleRate::WHOLE).unwrap();
            assert_eq!((trace.parent, trace.state.as_deref()), (None, None), "{fields:?}");
        }
    }

    #[test]
    fn a_share_is_kept_by_the_id_alone() {
        let with = |low: u128| TraceId(NonZeroU128::new((7 << 64) | low).unwrap());
        let half = SampleRate::millionths(500_000);
        assert!(half.keeps(with(1)) && half.keeps(with((1 << 55) - 1)));
        assert!(!half.keeps(with(1 << 55)) && !half.keeps(with((1 << 56) - 1)));
        assert!(half.keeps(with(1 << 60)), "above the random bits nothing counts");
        let (none, all) = (SampleRate::millionths(0), SampleRate::millionths(u32::MAX));
        assert!(!none.keeps(with(1)) && all.keeps(with((1 << 56) - 1)));
        let mut random = fastrand::Rng::with_seed(7);
        let kept = (0..10_000).filter(|_| {
            let rate = SampleRate::millionths(100_000);
            Trace::of(&HeaderMap::new(), rate, || random.u64(..)).is_some()
        });
        assert!((800..1_200).contains(&kept.count()));
    }

    #[test]
    fn tries_have_spans_of_their_own() {
        let trace = traced(&[], SampleRate::WHOLE).unwrap();
        let mut seen = std::collections::HashSet::from([trace.span]);
        assert!((1..1_000).all(|number| seen.insert(trace.attempt(number))));
    }

    #[test]
    fn states_are_passed_on_whole_or_not_at_all() {
        let of = |lines: &[&str]| {
            let fields: Vec<_> = lines.iter().map(|line| ("tracestate", *line)).collect();
            state(&headers(&fields)).map(|kept| kept.to_string())
        };
        for (lines, kept) in [
            (&["a=1,b=2"][..], Some("a=1,b=2")),
            (&["a=1", " b=2 , ,\tc@d=x y"], Some("a=1,b=2,c@d=x y")),
            (&["a=1,a=2"], None),
            (&["a"], None),
            (&["A=1"], None),
            (&["a="], None),
            (&["a=1=2"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(of(lines).as_deref(), kept, "{lines:?}");
        }
        let many: Vec<_> = (0..40).map(|n| format!("k{n}=v")).collect();
        assert_eq!(of(&[&many.join(",")]).unwrap().split(',').count(), 32);
        let long = format!("a={},b={},c={}", "x".repeat(250), "y".repeat(250), "z".repeat(250));
        assert_eq!(of(&[&long]).unwrap().len(), 505);
    }

    #[test]
    fn what_is_signed_is_found() {
        let aws = "AWS4-HMAC-SHA256 Credential=AKID/20261122/us-east-1/bedrock/aws4_request, \
                   SignedHeaders=host;x-amz-date";
        let covered = format!("{aws};traceparent, Signature=00");
        for (fields, query, signed) in [
            (&[("authorization", &*covered)][..], None, true),
            (&[("authorization", aws)], None, false),
            (&[("signature-input", "sig=(\"@method\" \"traceparent\");created=1")], None, true),
            (&[("authorization", "Signature keyId=\"k\",headers=\"date TraceState\"")], None, true),
            (&[], Some("X-Amz-SignedHeaders=host%3Btraceparent&X-Amz-Date=1"), true),
            (&[("traceparent", PARENT)], Some("a=b"), false),
        ] {
            assert_eq!(is_signed(&headers(fields), query), signed, "{fields:?} {query:?}");
        }
    }
}
