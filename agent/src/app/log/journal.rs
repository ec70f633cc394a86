//! journald by its own protocol (systemd.journal-fields(7), "Journal native protocol"): the message
//! and its fields apart, so that `journalctl WEIR_WORKLOAD=…` finds them.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

const SOCKET: &str = "/run/systemd/journal/socket";

/// A value that is longer is cut; journald takes at least 208 KiB in one datagram.
const LONGEST: usize = 4 << 10;
/// Fields of one event.
const MOST: usize = 32;
/// A journal that is busy this long is not waited for.
const PATIENCE: Duration = Duration::from_millis(200);

/// Sends events to journald.
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
    /// What entries are found by: `journalctl -t weir-helper`.
    name: &'static str,
}

impl Journal {
    /// Where journald reads our stderr; `None` where it does not, or is not there.
    pub(super) fn of_stderr(name: &'static str) -> Option<Self> {
        #[expect(clippy::disallowed_methods, reason = "systemd tells it by this variable alone")]
        let told = std::env::var("JOURNAL_STREAM").ok()?;
        let stderr = rustix::fs::fstat(io::stderr()).ok()?;
        is_same(&told, (stderr.st_dev, stderr.st_ino))
            .then(|| Self::open(Path::new(SOCKET), name).ok())?
    }

    fn open(path: &Path, name: &'static str) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        // Not connected: journald may be started anew, and then listens on another socket.
        let found = std::fs::metadata(path)?;
        if !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Self { socket, path: path.to_owned(), name })
    }

    fn entry(&self, meta: &Metadata<'_>, fields: &Fields) -> Vec<u8> {
        let mut entry = Vec::with_capacity(512);
        put(&mut entry, "MESSAGE", &fields.line());
        put(&mut entry, "PRIORITY", priority(*meta.level()));
        put(&mut entry, "SYSLOG_IDENTIFIER", self.name);
        put(&mut entry, "CODE_MODULE", meta.target());
        if let (Some(file), Some(line)) = (meta.file(), meta.line()) {
            put(&mut entry, "CODE_FILE", file);
            put(&mut entry, "CODE_LINE", &line.to_string());
        }
        for (name, value) in &fields.named {
            put(&mut entry, &key(name), value);
        }
        entry
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let entry = self.entry(event.metadata(), &fields);
        if self.socket.send_to(&entry, &self.path).is_err() {
            // The stream still leads to the journal, or to whatever follows it.
            let level = event.metadata().level();
            drop(writeln!(io::stderr(), "{level} {}", fields.line()));
        }
    }
}

/// `DEVICE:INODE`, as systemd writes it.
fn is_same(told: &str, (device, inode): (u64, u64)) -> bool {
    told == format!("{device}:{inode}")
}

/// syslog(3).
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

/// A field's name as journald takes it: `WEIR_CALL_ID`.
fn key(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    "WEIR_".chars().chain(name.chars().map(plain)).take(64).collect()
}

/// With its length where it has lines, else as `NAME=VALUE`.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    let value = &value[..value.floor_char_boundary(LONGEST)];
    entry.extend(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend((value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend(value.as_bytes());
    entry.push(b'\n');
}

/// An event's message and fields.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) named: Vec<(&'static str, String)>,
}

impl Fields {
    /// On one line, as it stands in a log of text.
    fn line(&self) -> String {
        let mut line = self.message.clone();
        for (name, value) in &self.named {
            // Writing to a string cannot fail.
            let _infallible = write!(line, " {name}={value}");
        }
        line
    }

    fn take(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            // Where a library's event came from, which its target says as well.
            name if name.starts_with("log.") => {}
            name if self.named.len() < MOST => self.named.push((name, value)),
            _ => {}
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Reads one datagram as journald would.
    fn read(datagram: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        let mut rest = datagram;
        while !rest.is_empty() {
            let end = rest.iter().position(|b| matches!(b, b'=' | b'\n')).unwrap();
            let name = String::from_utf8(rest[..end].to_vec()).unwrap();
            let is_long = rest[end] == b'\n';
            rest = &rest[end + 1..];
            let length = if is_long {
                let length = u64::from_le_bytes(rest[..8].try_into().unwrap());
                rest = &rest[8..];
                usize::try_from(length).unwrap()
            } else {
                rest.iter().position(|b| *b == b'\n').unwrap()
            };
            fields.insert(name, String::from_utf8(rest[..length].to_vec()).unwrap());
            assert_eq!(rest[length], b'\n');
            rest = &rest[length + 1..];
        }
        fields
    }

    #[test]
    fn an_event_arrives_with_its_fields_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::open(&path, "weir").unwrap();
        let subscriber = tracing_subscriber::registry().with(journal);
        tracing::subscriber::with_default(subscriber, || {
            let error = io::Error::other("two\nlines");
            tracing::warn!(workload = %"unit:etl.service", call_id = 7, odd_é = true, %error, "cut");
            tracing::debug!("quiet");
        });
        let mut buffer = [0; 4096];
        let mut next = || {
            let length = journald.recv(&mut buffer).unwrap();
            read(&buffer[..length])
        };
        let first = next();
        assert_eq!(first["PRIORITY"], "4");
        assert_eq!(first["WEIR_WORKLOAD"], "unit:etl.service");
        assert_eq!(first["WEIR_CALL_ID"], "7");
        assert_eq!(first["WEIR_ODD__"], "true");
        assert_eq!(first["WEIR_ERROR"], "two\nlines");
        assert_eq!(first["SYSLOG_IDENTIFIER"], "weir");
        assert_eq!(first["CODE_MODULE"], module_path!());
        assert!(first["MESSAGE"].starts_with("cut workload=unit:etl.service call_id=7"));
        let second = next();
        assert_eq!((&*second["MESSAGE"], &*second["PRIORITY"]), ("quiet", "7"));
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let mut entry = Vec::new();
        put(&mut entry, "MESSAGE", &"é".repeat(LONGEST));
        assert_eq!(read(&entry)["MESSAGE"].len(), LONGEST);
        assert!(Journal::open(Path::new("/nonexistent/socket"), "weir").is_err());
    }

    #[test]
    fn the_stream_is_known_by_its_device_and_inode() {
        assert!(is_same("9:1234", (9, 1234)));
        for other in ["9:123", "", "9:12345", "x"] {
            assert!(!is_same(other, (9, 1234)), "{other}");
        }
    }
}
