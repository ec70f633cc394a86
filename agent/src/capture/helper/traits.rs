//! What decides whom a process trusts, as far as it can be told from outside: its executable's file,
//! its root directory, and the variables that name certificates.
//!
//! Environments hold keys, so of all others nothing leaves this file; of variables with options only
//! the words that bear on trust do.

use std::fs::File;
use std::io;

use rustix::fs::{AtFlags, Stat, statat};
use serde::{Deserialize, Serialize};

use super::proc::Handle;

/// Environments are read no further than this.
const LIMIT: usize = 1 << 20;

/// Longest value kept, in characters: paths are shorter.
const VALUE: usize = 512;

/// Variables whose values are paths or words, and no secrets.
const PLAIN: [&str; 15] = [
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "AWS_CA_BUNDLE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "NODE_EXTRA_CA_CERTS",
    "NODE_USE_SYSTEM_CA",
    "DENO_CERT",
    "DENO_TLS_CA_STORE",
    "NIX_SSL_CERT_FILE",
    "CODEX_CA_CERTIFICATE",
    "HTTPLIB2_CA_CERTS",
    "CLAUDE_CODE_CERT_STORE",
    super::TRUST_VARIABLE,
];

/// Variables with options, and how those that bear on trust begin.
const OPTIONS: [(&str, &[&str]); 3] = [
    ("NODE_OPTIONS", &["--use-system-ca", "--use-openssl-ca", "--use-bundled-ca"]),
    ("JAVA_TOOL_OPTIONS", &[TRUST_STORE]),
    ("JDK_JAVA_OPTIONS", &[TRUST_STORE]),
];

const TRUST_STORE: &str = "-Djavax.net.ssl.trustStore=";

/// What decides whom a process trusts. Two processes of one user with the same traits trust the same,
/// but for what their code says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Traits {
    /// Device, inode, size, and time of the last change (seconds, nanoseconds) of the executable.
    pub image: [u64; 5],
    /// Device and inode of the root directory: another one in a container or a sandbox.
    pub root: [u64; 2],
    /// The variables that bear on trust, as set when the process was started.
    pub variables: Vec<(String, String)>,
}

impl Traits {
    /// The value of a variable; `None` where it is not set, or empty.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let found = self.variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

/// The traits of a process instance; `None` where it is gone, or may not be looked into.
pub(super) fn of(pid: u32, start_ticks: u64) -> Option<Traits> {
    let process = Handle::open(pid).ok()?;
    let found = read(&process).ok()?;
    // After the reading: what was read belongs to the instance that still has this start.
    (process.stat().ok()?.start_ticks == start_ticks).then_some(found)
}

fn read(process: &Handle) -> io::Result<Traits> {
    let exe = process.status_of("exe")?;
    let root = process.status_of("root")?;
    Ok(Traits {
        image: [
            exe.st_dev,
            exe.st_ino,
            exe.st_size.unsigned_abs(),
            exe.st_mtime.unsigned_abs(),
            exe.st_mtime_nsec,
        ],
        root: [root.st_dev, root.st_ino],
        variables: variables(&process.read("environ", LIMIT)?),
    })
}

/// What of an environment bears on trust, sorted: its order says nothing.
fn variables(environment: &[u8]) -> Vec<(String, String)> {
    let entries = environment.split(|byte| *byte == 0).filter_map(|entry| {
        let (name, value) = std::str::from_utf8(entry).ok()?.split_once('=')?;
        if PLAIN.contains(&name) {
            return Some((name.to_owned(), value.chars().take(VALUE).collect()));
        }
        let (_, wanted) = OPTIONS.iter().find(|(known, _)| *known == name)?;
        let is_wanted = |word: &&str| wanted.iter().any(|start| word.starts_with(start));
        let words: Vec<_> = value.split_whitespace().filter(is_wanted).collect();
        (!words.is_empty())
            .then(|| (name.to_owned(), words.join(" ").chars().take(VALUE).collect()))
    });
    let mut found: Vec<_> = entries.collect();
    found.sort();
    found.dedup_by(|later, first| later.0 == first.0);
    found
}

impl Handle {
    /// The status of what a link of the process leads to.
    fn status_of(&self, link: &str) -> io::Result<Stat> {
        Ok(statat(self.directory(), link, AtFlags::empty())?)
    }

    /// Opens a file below the process's directory.
    pub(super) fn open_file(&self, name: &str) -> io::Result<File> {
        use rustix::fs::{Mode, OFlags, openat};
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        Ok(openat(self.directory(), name, flags, Mode::empty())?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    #[test]
    fn only_what_bears_on_trust_leaves() {
        let environment = b"OPENAI_API_KEY=sk-1\0SSL_CERT_FILE=/a\0PATH=/bin\0\
            JAVA_TOOL_OPTIONS=-Dpassword=x -Djavax.net.ssl.trustStore=/b\0\
            NODE_OPTIONS=--max-old-space-size=1\0CURL_CA_BUNDLE=\0";
        let found = variables(environment);
        let expected = [
            ("CURL_CA_BUNDLE", ""),
            ("JAVA_TOOL_OPTIONS", "-Djavax.net.ssl.trustStore=/b"),
            ("SSL_CERT_FILE", "/a"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(found, expected);
        let traits = Traits { variables: found, ..Traits::default() };
        assert_eq!(traits.variable("SSL_CERT_FILE"), Some("/a"));
        assert_eq!(traits.variable("CURL_CA_BUNDLE"), None);
    }

    /// Starts `cat` with variables, and returns its traits once it has left exec(2).
    fn started(program: &std::path::Path, file: &str) -> Option<Traits> {
        let mut child = Command::new(program)
            .env("SSL_CERT_FILE", file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let start = Handle::open(child.id()).unwrap().stat().unwrap().start_ticks;
        let found = of(child.id(), start);
        assert_eq!(of(child.id(), start + 1), None, "another instance");
        child.kill().unwrap();
        child.wait().unwrap();
        found
    }

    #[test]
    fn another_file_or_another_environment_makes_other_traits() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one"), dir.path().join("other"));
        std::fs::copy("/bin/cat", &one).unwrap();
        std::fs::copy("/bin/cat", &other).unwrap();
        let first = started(&one, "/a").unwrap();
        assert_eq!(started(&one, "/a").unwrap(), first);
        assert_ne!(started(&one, "/b").unwrap(), first);
        assert_ne!(started(&other, "/a").unwrap().image, first.image);
    }
}
