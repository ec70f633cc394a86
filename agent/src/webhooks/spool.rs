//! Deliveries on disk, one file each, whose name says how it stands.
//!
//! `ID.queued` waits, and holds what the model is to be asked; `ID.OWNER.running` is being asked;
//! `ID.done` is over and holds no content; `ID.OWNER.callback` is an answer that has still to be
//! posted. A state changes by a rename, which succeeds for one process only: after an upgrade two
//! of them share the directory, and none needs to know what the other does. `OWNER.owner` is locked
//! for as long as that process lives; what belongs to a dead one is anybody's.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use parking_lot::Mutex;
use ulid::Ulid;

use super::run::Run;

/// Longest first line of a file: names and an error message are all there is.
const HEAD: u64 = 64 << 10;

/// How a delivery's file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Queued,
    Running,
    Done,
    Callback,
}

impl State {
    fn ending(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Callback => "callback",
        }
    }
}

/// One file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) id: Ulid,
    pub(super) state: State,
    /// Whose it is, for those that are somebody's.
    owner: Option<Ulid>,
}

/// The directory.
#[derive(Debug)]
pub(super) struct Spool {
    dir: PathBuf,
    owner: Ulid,
    /// Held for as long as this process lives; made when it is first needed.
    lock: Mutex<Option<File>>,
}

impl Spool {
    /// A directory that is made when there is something to keep.
    pub(super) fn new(dir: PathBuf, owner: Ulid) -> Self {
        Self { dir, owner, lock: Mutex::new(None) }
    }

    /// Keeps a new delivery. It outlives a power cut when this returns.
    pub(super) fn accept(&self, run: &Run, prompt: &str) -> io::Result<()> {
        self.begin()?;
        let mut text = serde_json::to_vec(run)?;
        text.push(b'\n');
        text.extend_from_slice(prompt.as_bytes());
        self.write(&self.path(run.id, State::Queued), &text)?;
        File::open(&self.dir)?.sync_all()
    }

    /// Takes a delivery over, so that nobody else does; `None` where somebody has.
    pub(super) fn claim(&self, id: Ulid) -> io::Result<Option<(Run, String)>> {
        self.begin()?;
        let (queued, running) = (self.path(id, State::Queued), self.path(id, State::Running));
        if !moved(&queued, &running)? {
            return Ok(None);
        }
        let read = self.begun(&running);
        if read.as_ref().is_err_and(|fault| !is_damage(fault)) {
            // Nothing was asked yet: it is begun when it can be read.
            moved(&running, &queued)?;
        }
        read.map(Some)
    }

    fn begun(&self, running: &Path) -> io::Result<(Run, String)> {
        // A call that was begun must not look as if it had not been, whatever happens.
        File::open(&self.dir)?.sync_all()?;
        let mut reader = BufReader::new(File::open(running)?);
        let run = head(&mut reader)?;
        let mut prompt = String::new();
        reader.read_to_string(&mut prompt)?;
        Ok((run, prompt))
    }

    /// Keeps how a delivery ended, and what is to be posted.
    pub(super) fn finish(&self, run: &Run, callback: Option<&[u8]>) -> io::Result<()> {
        self.begin()?;
        if let Some(body) = callback {
            self.write(&self.path(run.id, State::Callback), body)?;
        }
        self.put(run)?;
        removed(&self.path(run.id, State::Running))
    }

    /// Keeps how a delivery that is over stands.
    pub(super) fn put(&self, run: &Run) -> io::Result<()> {
        self.write(&self.path(run.id, State::Done), &serde_json::to_vec(run)?)
    }

    /// An answer has been posted, or given up.
    pub(super) fn posted(&self, run: &Run) -> io::Result<()> {
        self.put(run)?;
        removed(&self.path(run.id, State::Callback))
    }

    /// All files, oldest delivery first.
    pub(super) fn entries(&self) -> io::Result<Vec<Entry>> {
        let read = match fs::read_dir(&self.dir) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read?,
        };
        let mut entries = Vec::new();
        for file in read {
            entries.extend(file?.file_name().to_str().and_then(entry));
        }
        entries.sort_unstable();
        Ok(entries)
    }

    /// What one of these files says of its delivery; `None` where it is gone, or damaged.
    pub(super) fn read(&self, entry: &Entry) -> Option<Run> {
        let file = File::open(self.dir.join(name(entry))).ok()?;
        head(&mut BufReader::new(file)).ok()
    }

    /// How a delivery that is over stands.
    pub(super) fn done(&self, id: Ulid) -> Option<Run> {
        self.read(&Entry { id, state: State::Done, owner: None })
    }

    /// What is known of a delivery whose call is ours.
    pub(super) fn claimed(&self, id: Ulid) -> Option<Run> {
        self.read(&Entry { id, state: State::Running, owner: Some(self.owner) })
    }

    /// Takes over what a dead process was at; `None` where it lives, is this one, or another was
    /// faster.
    pub(super) fn inherit(&self, entry: &Entry) -> io::Result<Option<Bytes>> {
        if entry.owner.is_none_or(|owner| owner == self.owner || !self.is_dead(owner)) {
            return Ok(None);
        }
        self.begin()?;
        let mine = self.path(entry.id, entry.state);
        if !moved(&self.dir.join(name(entry)), &mine)? {
            return Ok(None);
        }
        fs::read(&mine).map(|body| Some(body.into()))
    }

    /// Lets go of what was inherited and is no use.
    pub(super) fn discard(&self, id: Ulid, state: State) -> io::Result<()> {
        removed(&self.path(id, state))
    }

    /// Takes away what is over and more than `most`, oldest first, and what dead processes have left
    /// for themselves alone. `keep` says what must be remembered a little longer.
    pub(super) fn prune(&self, most: usize, keep: impl Fn(&Run) -> bool) -> io::Result<()> {
        let entries = self.entries()?;
        let posting: BTreeSet<Ulid> =
            entries.iter().filter(|it| it.state == State::Callback).map(|it| it.id).collect();
        let done = || entries.iter().filter(|it| it.state == State::Done);
        let over = done().count().saturating_sub(most);
        for entry in done().filter(|it| !posting.contains(&it.id)).take(over) {
            if !self.read(entry).is_some_and(|run| keep(&run)) {
                removed(&self.dir.join(name(entry)))?;
            }
        }
        for file in fs::read_dir(&self.dir).into_iter().flatten() {
            let file = file?;
            let Some(owner) = file.file_name().to_str().and_then(own) else { continue };
            let has = |entry: &Entry| entry.owner == Some(owner);
            if owner != self.owner && !entries.iter().any(has) && self.is_dead(owner) {
                removed(&file.path())?;
            }
        }
        Ok(())
    }

    /// Makes the directory, and says that we live.
    fn begin(&self) -> io::Result<()> {
        let mut lock = self.lock.lock();
        if lock.is_some() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        // Never there without being locked: it would look like a dead one's.
        let own = self.owner_path(self.owner);
        let beside = own.with_extension("lock");
        let file = private().open(&beside)?;
        file.lock()?;
        fs::rename(&beside, &own)?;
        *lock = Some(file);
        Ok(())
    }

    fn is_dead(&self, owner: Ulid) -> bool {
        match File::open(self.owner_path(owner)) {
            Ok(file) => file.try_lock().is_ok(),
            Err(fault) => fault.kind() == io::ErrorKind::NotFound,
        }
    }

    fn owner_path(&self, owner: Ulid) -> PathBuf {
        self.dir.join(format!("{owner}.owner"))
    }

    fn path(&self, id: Ulid, state: State) -> PathBuf {
        let owned = matches!(state, State::Running | State::Callback);
        self.dir.join(name(&Entry { id, state, owner: owned.then_some(self.owner) }))
    }

    /// Replaces a file by another whole one: a crash leaves the old or the new.
    fn write(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        let mut next = path.as_os_str().to_owned();
        next.push(format!(".{}.new", self.owner));
        let written = private().open(&next).and_then(|mut file| {
            file.write_all(text)?;
            file.sync_all()?;
            fs::rename(&next, path)
        });
        if written.is_err() {
            // What is only half there takes up what may be the last of the space.
            drop(fs::remove_file(&next));
        }
        written
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
}

fn name(entry: &Entry) -> String {
    let Entry { id, state, owner } = entry;
    match owner {
        Some(owner) => format!("{id}.{owner}.{}", state.ending()),
        None => format!("{id}.{}", state.ending()),
    }
}

fn entry(name: &str) -> Option<Entry> {
    let (rest, ending) = name.rsplit_once('.')?;
    let states = [State::Queued, State::Running, State::Done, State::Callback];
    let state = states.into_iter().find(|state| state.ending() == ending)?;
    let (id, owner) = match rest.split_once('.') {
        Some((id, owner)) => (id, Some(Ulid::from_string(owner).ok()?)),
        None => (rest, None),
    };
    Some(Entry { id: Ulid::from_string(id).ok()?, state, owner })
}

/// Whose file it is, of those that mean nothing to others: a lock, or what was being written.
fn own(name: &str) -> Option<Ulid> {
    let owner = match name.strip_suffix(".new") {
        Some(rest) => rest.rsplit_once('.')?.1,
        None => name.strip_suffix(".owner")?,
    };
    Ulid::from_string(owner).ok()
}

fn head(reader: &mut impl BufRead) -> io::Result<Run> {
    let mut line = Vec::new();
    reader.take(HEAD).read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line)?)
}

/// Whether a file holds what no delivery does: it reads no better later.
fn is_damage(fault: &io::Error) -> bool {
    matches!(fault.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// Renames a file; false where there is none.
fn moved(from: &Path, to: &Path) -> io::Result<bool> {
    match fs::rename(from, to) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(false),
        renamed => renamed.map(|()| true),
    }
}

fn removed(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::subject::Process;
    use crate::webhooks::run::Status;

    fn run(number: u64) -> Run {
        let poster = Process {
            pid: 7,
            start_ticks: 1,
            exe: Arc::from("/usr/bin/curl"),
            command: Arc::from("curl"),
            uid: 1000,
            user: None,
            verified: true,
        };
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(number);
        let id = Ulid::from_parts(number, 0);
        Run::new((id, at), &Arc::from("hook"), poster, ([7; 16], at + Duration::from_mins(5)))
    }

    fn spool(dir: &tempfile::TempDir, owner: u64) -> Spool {
        Spool::new(dir.path().join("webhooks"), Ulid::from_parts(owner, 1))
    }

    fn states(spool: &Spool) -> Vec<State> {
        spool.entries().unwrap().iter().map(|entry| entry.state).collect()
    }

    #[test]
    fn a_delivery_goes_through_its_states_and_leaves_no_content() {
        let dir = tempfile::tempdir().unwrap();
        let spool = spool(&dir, 1);
        assert_eq!(spool.entries().unwrap(), []);
        assert!(!dir.path().join("webhooks").exists(), "nothing was kept yet");
        let mut run = run(1);
        spool.accept(&run, "what\nis this?").unwrap();
        assert_eq!(states(&spool), [State::Queued]);
        let (found, prompt) = spool.claim(run.id).unwrap().unwrap();
        assert_eq!((&found, &*prompt), (&run, "what\nis this?"));
        assert_eq!(found.tag(), Some([7; 16]));
        assert_eq!(states(&spool), [State::Running]);
        run.status = Status::Ok;
        spool.finish(&run, Some(b"answer")).unwrap();
        assert_eq!(states(&spool), [State::Done, State::Callback]);
        spool.posted(&run).unwrap();
        assert_eq!(states(&spool), [State::Done]);
        assert_eq!(spool.done(run.id), Some(run));
        for file in fs::read_dir(dir.path().join("webhooks")).unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            let text = fs::read_to_string(file.path()).unwrap();
            assert!(!text.contains("what") && !text.contains("answer"), "{text}");
        }
        let mode = fs::metadata(dir.path().join("webhooks")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn one_of_many_gets_a_delivery() {
        let dir = tempfile::tempdir().unwrap();
        let first = spool(&dir, 1);
        first.accept(&run(1), "p").unwrap();
        let claimed: Vec<bool> = std::thread::scope(|scope| {
            let claim = |owner| spool(&dir, owner).claim(run(1).id).unwrap().is_some();
            let threads: Vec<_> = (2..10).map(|owner| scope.spawn(move || claim(owner))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(claimed.iter().filter(|claimed| **claimed).count(), 1);
    }

    #[test]
    fn what_cannot_be_read_now_is_begun_later_and_what_is_damaged_never() {
        let dir = tempfile::tempdir().unwrap();
        let spool = spool(&dir, 1);
        spool.accept(&run(1), "p").unwrap();
        let file = spool.path(run(1).id, State::Queued);
        // It can be opened and renamed, and not be read.
        let aside = dir.path().join("aside");
        fs::rename(&file, &aside).unwrap();
        fs::create_dir(&file).unwrap();
        spool.claim(run(1).id).unwrap_err();
        assert_eq!(states(&spool), [State::Queued]);
        fs::remove_dir(&file).unwrap();
        fs::rename(&aside, &file).unwrap();
        assert!(spool.claim(run(1).id).unwrap().is_some());
        for text in [&b"{\"id\":"[..], b"{}\n"] {
            fs::write(spool.path(run(2).id, State::Queued), text).unwrap();
            spool.claim(run(2).id).unwrap_err();
            assert_eq!(states(&spool), [State::Running, State::Running]);
        }
    }

    #[test]
    fn what_a_dead_process_was_at_is_inherited_and_what_a_living_one_is_at_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (spool(&dir, 1), spool(&dir, 2));
        first.accept(&run(1), "p").unwrap();
        first.claim(run(1).id).unwrap().unwrap();
        first.finish(&run(2), Some(b"answer")).unwrap();
        let entries = second.entries().unwrap();
        assert_eq!(states(&second), [State::Running, State::Done, State::Callback]);
        for entry in &entries {
            assert_eq!(second.inherit(entry).unwrap(), None, "{entry:?}");
            assert_eq!(first.inherit(entry).unwrap(), None, "its own: {entry:?}");
        }
        // As when the process dies.
        drop(first);
        let torn = dir.path().join(format!("webhooks/x.queued.{}.new", Ulid::from_parts(1, 1)));
        fs::write(&torn, "half of").unwrap();
        assert!(second.inherit(&entries[0]).unwrap().is_some());
        assert_eq!(second.inherit(&entries[1]).unwrap(), None, "nobody's");
        assert_eq!(second.inherit(&entries[2]).unwrap().as_deref(), Some(&b"answer"[..]));
        assert!(second.inherit(&entries[0]).unwrap().is_none(), "taken");
        second.finish(&run(1), None).unwrap();
        assert_eq!(states(&second), [State::Done, State::Done, State::Callback]);
        second.prune(9, |_| false).unwrap();
        assert!(!second.owner_path(Ulid::from_parts(1, 1)).exists());
        assert!(second.owner_path(Ulid::from_parts(2, 1)).exists());
        assert!(!torn.exists());
    }

    #[test]
    fn the_oldest_that_are_over_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let spool = spool(&dir, 1);
        spool.accept(&run(1), "p").unwrap();
        spool.finish(&run(2), Some(b"still to be posted")).unwrap();
        for number in 3..=9 {
            spool.put(&run(number)).unwrap();
        }
        let kept = |run: &Run| run.id == Ulid::from_parts(3, 0);
        spool.prune(5, kept).unwrap();
        let ids: Vec<_> =
            spool.entries().unwrap().iter().map(|it| it.id.timestamp_ms()).take(5).collect();
        assert_eq!(ids, [1, 2, 2, 3, 6], "4 and 5 are gone");
    }

    #[test]
    fn what_is_damaged_or_somebody_elses_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let spool = spool(&dir, 1);
        spool.accept(&run(1), "p").unwrap();
        let within = |name: &str| dir.path().join("webhooks").join(name);
        for name in ["x", "x.done", "01.done", ".queued", "a.b.c.running", "x.owner"] {
            fs::write(within(name), "?").unwrap();
        }
        fs::write(within(&format!("{}.done", run(2).id)), "{\"id\":").unwrap();
        let found = spool.entries().unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(spool.read(&found[1]), None);
        spool.prune(9, |_| false).unwrap();
    }
}
