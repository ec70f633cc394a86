//! The reader of streams: what it forwards is what came, and where it is split does not matter.

use agent::llm::call::{Kind, Operation, Route};
use agent::llm::meter::{Encoding, Meter, MeterOptions, Reading};
use agent::llm::providers::Format;
use agent::llm::translate::Wire;
use bytes::Bytes;

use crate::corpus;

pub(crate) fn any_stream(random: &mut fastrand::Rng) {
    let (name, body) = corpus::damaged(random, ".sse");
    let operation = match corpus::wire(name) {
        Wire::Chat => Operation::Chat,
        Wire::Responses => Operation::Responses,
        Wire::Messages => Operation::Messages,
        Wire::Gemini => Operation::Generate,
    };
    let options = MeterOptions {
        route: Route { operation, kind: Kind::Call },
        format: Format::OpenAi,
        sse: true,
        encoding: Encoding::Identity,
        hide_usage: random.bool(),
        status: 200,
    };
    let (whole, expected) = forward(options, &[&body]);
    let (split, reading) = forward(options, &corpus::pieces(random, &body));
    assert!(options.hide_usage || whole == body, "something was lost");
    let body = String::from_utf8_lossy(&body);
    assert!(split == whole, "the split changed what was forwarded of\n{body}");
    assert_eq!(reading, expected, "the split changed what was read");
}

fn forward(options: MeterOptions, pieces: &[&[u8]]) -> (Vec<u8>, Reading) {
    let mut meter = Meter::new(options);
    let mut out = Vec::new();
    for piece in pieces {
        let fed = meter.feed(Bytes::copy_from_slice(piece));
        out.extend_from_slice(&fed.release);
        out.extend_from_slice(&fed.hold);
    }
    out.extend_from_slice(&meter.end());
    (out, meter.reading())
}
