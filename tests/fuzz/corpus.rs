//! What real providers send, whole and damaged.

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use agent::llm::translate::Wire;

/// The transcripts of `tests/golden`, by file name.
pub(crate) static CORPUS: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden");
    let files = fs::read_dir(folder).expect("the transcripts are in the repository");
    let mut corpus: Vec<_> = files
        .filter_map(|file| {
            let file = file.ok()?;
            Some((file.file_name().into_string().ok()?, fs::read(file.path()).ok()?))
        })
        .filter(|(name, _)| name.contains(".sse") || name.contains(".json"))
        .collect();
    corpus.sort();
    assert!(corpus.len() > 40, "the transcripts are missing");
    corpus
});

/// The format a transcript's name tells.
pub(crate) fn wire(name: &str) -> Wire {
    match name.split(['-', '.']).next() {
        Some("messages") => Wire::Messages,
        Some("responses") => Wire::Responses,
        Some("gemini") => Wire::Gemini,
        _ => Wire::Chat,
    }
}

/// A transcript whose name ends so, with some bytes damaged, moved or repeated.
pub(crate) fn damaged(random: &mut fastrand::Rng, end: &str) -> (&'static str, Vec<u8>) {
    let files: Vec<_> = CORPUS.iter().filter(|(name, _)| name.ends_with(end)).collect();
    let (name, body) = files[random.usize(..files.len())];
    let mut body = body.clone();
    for _ in 0..random.usize(..6) {
        let at = random.usize(..body.len());
        let length = random.usize(..40).min(body.len() - at);
        match random.u8(..4) {
            0 => body[at] = random.u8(..),
            1 => drop(body.drain(at..at + length.min(body.len() - 1))),
            2 => {
                let copy = body[at..at + length].to_vec();
                let to = random.usize(..body.len());
                drop(body.splice(to..to, copy));
            }
            _ => {
                let word = WORDS[random.usize(..WORDS.len())];
                drop(body.splice(at..at + length, word.bytes()));
            }
        }
        if body.is_empty() {
            body.push(b'\n');
        }
    }
    (name, body)
}

const WORDS: [&str; 10] =
    ["\n\n", "null", "{}", "[]", "\"\"", "\r", "data: ", "-1", "\\u0000", "99999999999999999999"];

/// A body in pieces.
pub(crate) fn pieces<'a>(random: &mut fastrand::Rng, mut body: &'a [u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !body.is_empty() {
        let length = match random.u8(..4) {
            0 => 1,
            1 => random.usize(..20),
            _ => random.usize(..2_000),
        };
        let (piece, rest) = body.split_at(length.min(body.len()));
        pieces.push(piece);
        body = rest;
    }
    pieces
}
