//! A small set of entries that outlives the process: every change is one line at the end of a
//! file, and the last line about an entry holds.
//!
//! A line is with the kernel when [`Journal::put`] returns: it survives `kill -9`. A power cut can
//! take the last lines; whatever is torn is passed over at the next start.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;
use ulid::Ulid;

/// Lines beyond four per entry that are there before the file is written anew.
const SLACK: usize = 4096;

/// Something kept.
pub(super) trait Entry: Serialize + DeserializeOwned {
    /// Identifies it; sorts by time.
    fn id(&self) -> Ulid;
    /// Whether nobody waits for it any more: it goes first when there are too many.
    fn is_over(&self) -> bool;
}

/// Entries, in memory and in a file.
#[derive(Debug)]
pub(super) struct Journal<T> {
    path: PathBuf,
    file: File,
    entries: BTreeMap<Ulid, T>,
    lines: usize,
    most: usize,
    /// The last line may not have its end.
    torn: bool,
}

impl<T: Entry> Journal<T> {
    /// Reads what is there; at most `most` entries are kept.
    pub(super) fn open(path: &Path, most: usize) -> io::Result<Self> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(fault) => return Err(fault),
        };
        let mut entries = BTreeMap::new();
        let (mut lines, mut damaged) = (0, 0);
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            lines += 1;
            match serde_json::from_slice::<T>(line) {
                Ok(entry) => drop(entries.insert(entry.id(), entry)),
                Err(_) => damaged += 1,
            }
        }
        let torn = text.last().is_some_and(|last| *last != b'\n');
        let mut journal =
            Self { path: path.to_owned(), file: append(path)?, entries, lines, most, torn };
        if damaged > 0 {
            tracing::warn!(file = %path.display(), damaged, "lines that cannot be read are dropped");
        }
        if damaged > 0 || torn || journal.entries.len() > most {
            while journal.make_room().is_some() {}
            journal.rewrite()?;
        }
        Ok(journal)
    }

    /// Keeps an entry, new or changed; the entry that had to go for it is returned. It is kept in
    /// memory even where it cannot be written.
    pub(super) fn put(&mut self, entry: T) -> (Option<T>, io::Result<()>) {
        let line = serde_json::to_vec(&entry);
        self.entries.insert(entry.id(), entry);
        let gone = self.make_room();
        let written = line.map_err(io::Error::from).and_then(|mut line| {
            if self.lines > SLACK + 4 * self.entries.len() {
                return self.rewrite();
            }
            if self.torn {
                line.insert(0, b'\n');
            }
            line.push(b'\n');
            // One write: a line is there whole, or is the torn one.
            self.torn = true;
            self.file.write_all(&line)?;
            self.torn = false;
            self.lines += 1;
            Ok(())
        });
        (gone, written)
    }

    /// An id for an entry of this time, after all that are there: order holds within a millisecond,
    /// and when the clock is set back.
    pub(super) fn fresh(&self, at: SystemTime) -> Ulid {
        let fresh = Ulid::from_datetime(at);
        match self.entries.last_key_value() {
            Some((last, _)) if *last >= fresh => last.increment().unwrap_or(fresh),
            _ => fresh,
        }
    }

    /// One entry.
    pub(super) fn get(&self, id: Ulid) -> Option<&T> {
        self.entries.get(&id)
    }

    /// All entries, oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.entries.values()
    }

    /// Takes one entry out where there are too many: the oldest that is over, or else the oldest.
    fn make_room(&mut self) -> Option<T> {
        if self.entries.len() <= self.most {
            return None;
        }
        let over = self.entries.values().find(|entry| entry.is_over()).map(Entry::id);
        let id = over.or_else(|| self.entries.keys().next().copied())?;
        self.entries.remove(&id)
    }

    /// Writes the file anew, with one line per entry: the old one holds until it is complete.
    fn rewrite(&mut self) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        let mut text = Vec::new();
        for entry in self.entries.values() {
            serde_json::to_writer(&mut text, entry)?;
            text.push(b'\n');
        }
        // One left behind may be anything.
        match fs::remove_file(&beside) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault),
            _ => {}
        }
        let mut file = append(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        self.file = file;
        self.lines = self.entries.len();
        self.torn = false;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Thing {
        id: Ulid,
        over: bool,
        text: String,
    }

    impl Entry for Thing {
        fn id(&self) -> Ulid {
            self.id
        }

        fn is_over(&self) -> bool {
            self.over
        }
    }

    fn thing(number: u64, over: bool, text: &str) -> Thing {
        Thing { id: Ulid::from_parts(number, 0), over, text: text.to_owned() }
    }

    fn texts(journal: &Journal<Thing>) -> Vec<&str> {
        journal.iter().map(|thing| thing.text.as_str()).collect()
    }

    #[test]
    fn the_last_line_about_an_entry_holds_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("things.jsonl");
        let mut journal = Journal::open(&path, 10).unwrap();
        for thing in [thing(2, false, "b"), thing(1, false, "a"), thing(2, true, "c")] {
            journal.put(thing).1.unwrap();
        }
        // Nothing is closed: as after `kill -9`.
        assert_eq!(texts(&Journal::open(&path, 10).unwrap()), ["a", "c"]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_torn_anywhere_loses_only_what_is_torn() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("things.jsonl");
        let mut journal = Journal::open(&path, 10).unwrap();
        for number in 1..=3 {
            journal.put(thing(number, false, "x")).1.unwrap();
        }
        let whole = fs::read(&path).unwrap();
        let line = whole.len() / 3;
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut journal = Journal::open(&path, 10).unwrap();
            // A line that lacks nothing but its end is whole.
            assert_eq!(journal.iter().count(), (cut + 1) / line, "cut at {cut}");
            journal.put(thing(9, false, "after")).1.unwrap();
            let again = Journal::<Thing>::open(&path, 10).unwrap();
            assert_eq!(again.iter().count(), (cut + 1) / line + 1, "cut at {cut}");
        }
    }

    #[test]
    fn garbage_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("things.jsonl");
        let good = serde_json::to_string(&thing(1, false, "good")).unwrap();
        fs::write(&path, format!("\0\0\0\n{good}\n{{\"id\":7}}\n")).unwrap();
        assert_eq!(texts(&Journal::open(&path, 10).unwrap()), ["good"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{good}\n"));
    }

    #[test]
    fn there_are_never_more_than_asked_for_and_what_is_over_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("things.jsonl");
        let mut journal = Journal::open(&path, 2).unwrap();
        journal.put(thing(1, false, "waits")).1.unwrap();
        journal.put(thing(2, true, "over")).1.unwrap();
        assert_eq!(journal.put(thing(3, false, "new")).0, Some(thing(2, true, "over")));
        assert_eq!(journal.put(thing(4, false, "newer")).0, Some(thing(1, false, "waits")));
        assert_eq!(texts(&journal), ["new", "newer"]);
        assert_eq!(Journal::<Thing>::open(&path, 1).unwrap().iter().count(), 1);
    }

    #[test]
    fn the_file_stays_small() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("things.jsonl");
        let mut journal = Journal::open(&path, 10).unwrap();
        for change in 0..3 * SLACK {
            journal.put(thing(1, false, &change.to_string())).1.unwrap();
        }
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= SLACK + 8, "{lines}");
        assert_eq!(texts(&Journal::open(&path, 10).unwrap()), [(3 * SLACK - 1).to_string()]);
    }
}
