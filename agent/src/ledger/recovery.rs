//! Reading a segment back from disk: at start, and when the importer fell so far behind that its
//! entries were not kept in memory.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::atomic::AtomicU64;

use super::entry::Entry;
use super::line::Decoder;
use super::segment;

/// What a segment held.
pub(super) struct Recovered {
    pub(super) entries: Vec<Entry>,
    /// Lines that could not be read; they are in the segment's `.corrupt` file.
    pub(super) corrupt: usize,
}

/// Reads a segment. A last line without its end was being written when the process or the machine
/// died: nobody was told that it is kept, and it is left out.
pub(super) fn read(dir: &Path, number: u64, numbers: &AtomicU64) -> io::Result<Recovered> {
    let bytes = match fs::read(segment::path(dir, number)) {
        Ok(bytes) => bytes,
        // Imported and deleted, while the answer to that was lost.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let mut decoder = Decoder::new(numbers);
    let mut entries = Vec::new();
    let mut unreadable: Vec<&[u8]> = Vec::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match decoder.decode(line) {
            Ok(entry) => entries.extend(entry),
            Err(_) if !line.ends_with(b"\n") => {}
            Err(_) => unreadable.push(line),
        }
    }
    if !unreadable.is_empty() {
        keep_aside(dir, number, &unreadable)?;
    }
    Ok(Recovered { entries, corrupt: unreadable.len() })
}

fn keep_aside(dir: &Path, number: u64, lines: &[&[u8]]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(segment::corrupt_path(dir, number))?;
    lines.iter().try_for_each(|line| file.write_all(line))
}
