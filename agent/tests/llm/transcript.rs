//! Transcripts of responses, and what the meter makes of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agent::llm::call::{Kind, Operation, Route};
use agent::llm::meter::{Encoding, Fed, Meter, MeterOptions, Reading};
use agent::llm::providers::{Format, Provider, Providers};
use bytes::Bytes;

/// 1 November 2026: after the day of the catalogue.
pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_hours(498_192)
}

/// A file of `tests/golden`.
pub(crate) fn golden(name: &str) -> Bytes {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

/// Every stream of `tests/golden`, by file name.
pub(crate) fn streams() -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let files = std::fs::read_dir(folder).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| is_stream(name)).collect();
    names.sort_unstable();
    assert!(names.len() > 20);
    names
}

fn is_stream(file: &str) -> bool {
    file.strip_suffix(".sse").is_some()
}

pub(crate) fn provider(name: &str) -> Arc<Provider> {
    Arc::clone(Providers::builtin().by_name(name).unwrap())
}

/// How a transcript of this file name is to be read: the name begins with the operation.
pub(crate) fn options(file: &str) -> MeterOptions {
    let (format, operation) = match file.split(['-', '.']).next().unwrap() {
        "chat" => (Format::OpenAi, Operation::Chat),
        "completions" => (Format::OpenAi, Operation::Completions),
        "embeddings" => (Format::OpenAi, Operation::Embeddings),
        "responses" => (Format::OpenAi, Operation::Responses),
        "messages" => (Format::Anthropic, Operation::Messages),
        "gemini" => (Format::Gemini, Operation::Generate),
        other => panic!("unknown operation {other}"),
    };
    MeterOptions {
        route: Route { operation, kind: Kind::Call },
        format,
        sse: is_stream(file),
        encoding: Encoding::Identity,
        hide_usage: false,
        status: 200,
    }
}

/// What came out of a metered body.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Forwarded {
    pub(crate) released: Vec<u8>,
    pub(crate) held: Vec<u8>,
    pub(crate) content: usize,
}

/// Feeds a body in the given pieces.
pub(crate) fn forward(
    options: MeterOptions,
    pieces: impl IntoIterator<Item = Bytes>,
) -> (Forwarded, Reading) {
    let mut meter = Meter::new(options);
    let mut out = Forwarded::default();
    for piece in pieces {
        let Fed { release, hold, content } = meter.feed(piece);
        assert!(out.held.is_empty() || release.is_empty(), "released after something was held");
        out.released.extend_from_slice(&release);
        out.held.extend_from_slice(&hold);
        out.content += usize::from(content);
    }
    let rest = meter.end();
    assert!(out.held.is_empty() || rest.is_empty(), "released after something was held");
    out.released.extend_from_slice(&rest);
    (out, meter.reading())
}

pub(crate) fn read(file: &str) -> Reading {
    forward(options(file), [golden(file)]).1
}
