//! A compressed archive of small texts (POSIX.1-2017 pax, "ustar Interchange Format", and gzip).

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

const BLOCK: usize = 512;

/// Files of one directory, written one after the other.
pub(super) struct Archive<W: Write> {
    out: GzEncoder<W>,
    directory: String,
    seconds: i64,
}

impl<W: Write> Archive<W> {
    /// An archive whose files lie in `directory`; `seconds` since 1970 is when they were made.
    pub(super) fn new(out: W, directory: &str, seconds: i64) -> Self {
        let out = GzEncoder::new(out, Compression::default());
        Self { out, directory: directory.to_owned(), seconds }
    }

    /// Adds one.
    pub(super) fn add(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let path = format!("{}/{name}", self.directory);
        self.out.write_all(&header(&path, content.len(), self.seconds)?)?;
        self.out.write_all(content)?;
        let rest = content.len().next_multiple_of(BLOCK) - content.len();
        self.out.write_all(&[0; BLOCK][..rest])
    }

    /// Ends it.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.finish()
    }
}

fn header(path: &str, length: usize, seconds: i64) -> io::Result<[u8; BLOCK]> {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, room: usize, text: &str| {
        let fits = text.len() <= room;
        if fits {
            block[at..at + text.len()].copy_from_slice(text.as_bytes());
        }
        fits
    };
    let fits = put(0, 100, path)
        && put(100, 8, "0000600\0")
        && put(108, 8, "0000000\0")
        && put(116, 8, "0000000\0")
        && put(124, 12, &format!("{length:011o}\0"))
        && put(136, 12, &format!("{:011o}\0", seconds.max(0)))
        // The sum is taken with blanks in its own place.
        && put(148, 8, "        ")
        && put(156, 1, "0")
        && put(257, 8, "ustar\x0000");
    if !fits {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too long for an archive"));
    }
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn tar_reads_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar.gz");
        let mut archive =
            Archive::new(std::fs::File::create(&path).unwrap(), "weir-x", 1_700_000_000);
        let long = "line\n".repeat(300);
        archive.add("empty", b"").unwrap();
        archive.add("long.txt", long.as_bytes()).unwrap();
        archive.add("block", &[b'x'; BLOCK]).unwrap();
        assert!(archive.add(&"n".repeat(200), b"").is_err());
        archive.finish().unwrap();
        let tar = |words: &[&str]| {
            let output = Command::new("tar").args(words).arg(&path).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(tar(&["-tzf"]), "weir-x/empty\nweir-x/long.txt\nweir-x/block\n");
        assert_eq!(tar(&["-xOz", "--wildcards", "*/long.txt", "-f"]), long);
    }
}
