//! Translation: nothing panics, what comes out is JSON or a legal stream, and a legal stream that
//! succeeds still does.

use agent::llm::translate::{Feature, Plan, Stream, Wire, error, grammar, request, response};
use serde_json::Value;

use crate::{corpus, document, provider};

const ALL: [Wire; 4] = [Wire::Chat, Wire::Responses, Wire::Messages, Wire::Gemini];
const PROVIDERS: [Wire; 3] = [Wire::Chat, Wire::Messages, Wire::Gemini];
const MODELS: [&str; 6] = [
    "gpt-4o",
    "gpt-5",
    "mistral-large-latest",
    "claude-opus-5",
    "claude-sonnet-4-5",
    "gemini-3-pro",
];

pub(crate) fn any_request(random: &mut fastrand::Rng) {
    let plan = Plan {
        from: ALL[random.usize(..ALL.len())],
        to: PROVIDERS[random.usize(..PROVIDERS.len())],
        model: MODELS[random.usize(..MODELS.len())],
        allow_loss: if random.u8(..4) == 0 { &[] } else { &Feature::ALL },
    };
    let body = document::request(random).to_string();
    let Ok(sent) = request(&plan, body.as_bytes()) else { return };
    let read: Result<Value, _> = serde_json::from_slice(&sent.body);
    assert!(read.is_ok(), "{body}\nbecomes\n{}", String::from_utf8_lossy(&sent.body));
    // What was written can be read, and goes back.
    let back = Plan { from: plan.to, to: plan.from, model: "gpt-4o", allow_loss: &Feature::ALL };
    if plan.from != Wire::Responses {
        assert!(request(&back, &sent.body).is_ok(), "{}", String::from_utf8_lossy(&sent.body));
    }
}

pub(crate) fn any_answer(random: &mut fastrand::Rng) {
    let from = PROVIDERS[random.usize(..PROVIDERS.len())];
    let to = ALL[random.usize(..ALL.len())];
    let body = if random.bool() {
        document::value(random, 6).to_string().into_bytes()
    } else {
        corpus::damaged(random, ".json").1
    };
    let written = response(from, to, &body).unwrap_or_default();
    let failed = error(from, to, random.u16(400..600), &body);
    for written in [written, failed].iter().filter(|written| !written.is_empty()) {
        let read: Result<Value, _> = serde_json::from_slice(written);
        assert!(read.is_ok(), "{}", String::from_utf8_lossy(written));
    }
}

pub(crate) fn any_stream(random: &mut fastrand::Rng) {
    let (name, body) = corpus::damaged(random, ".sse");
    drop(grammar::check(corpus::wire(name), &body));
    let from = PROVIDERS[random.usize(..PROVIDERS.len())];
    let to = ALL[random.usize(..ALL.len())];
    let whole = translated(from, to, &[&body]);
    legal(to, &whole);
    let split = translated(from, to, &corpus::pieces(random, &body));
    let body = String::from_utf8_lossy(&body);
    assert!(split == whole, "the split changed the translation of\n{body}");
}

pub(crate) fn legal_stream(random: &mut fastrand::Rng) {
    let from = PROVIDERS[random.usize(..PROVIDERS.len())];
    let to = ALL[random.usize(..ALL.len())];
    let (body, fails) = provider::stream(random, from);
    legal(from, &body);
    let out = translated(from, to, &corpus::pieces(random, &body));
    legal(to, &out);
    assert_eq!(is_failure(to, &out), fails, "{}", String::from_utf8_lossy(&out));
}

fn translated(from: Wire, to: Wire, pieces: &[&[u8]]) -> Vec<u8> {
    let mut stream = Stream::new(from, to, true);
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&stream.feed(piece));
    }
    out.extend_from_slice(&stream.end());
    out
}

fn legal(wire: Wire, stream: &[u8]) {
    let checked = grammar::check(wire, stream);
    assert_eq!(checked, Ok(()), "{}", String::from_utf8_lossy(stream));
}

/// Whether a stream's last event is an error.
fn is_failure(wire: Wire, stream: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stream);
    let last = text.lines().rfind(|line| line.starts_with("data: ")).unwrap_or_default();
    match wire {
        Wire::Messages => last.contains(r#""type":"error""#),
        Wire::Responses => {
            last.contains(r#""type":"response.failed""#) || last.contains(r#""type":"error""#)
        }
        _ => last.starts_with(r#"data: {"error""#),
    }
}
