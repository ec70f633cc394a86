//! What a program is made of, as far as that tells where its trusted roots come from: the TLS
//! libraries it has mapped, the Python packages it can import, and what is compiled into it.
//!
//! Reads more than the other answers do (a whole executable), so it is asked once for a client that
//! has rejected our certificate, and by people, never on the way of a connection.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;

use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::proc::Handle;

/// Longest list of mapped files examined: a browser's is some hundred kilobytes.
const MAPS: usize = 4 << 20;

/// Executables are searched no further than this.
const EXECUTABLE: u64 = 256 << 20;

/// What is read at once.
const CHUNK: usize = 1 << 20;

/// What may straddle two chunks is searched with both.
const OVERLAP: usize = 32;

/// Package directories looked into, and entries of each.
const DIRECTORIES: usize = 4;
/// See [`DIRECTORIES`].
const ENTRIES: usize = 20_000;

/// Libraries that decide where roots come from, by how their file names begin.
const LIBRARIES: [&str; 8] = [
    "libssl.so",
    "libssl-",
    "libgnutls.so",
    "libnss3.so",
    "libjvm.so",
    "libnode.so",
    "libpython",
    "_ssl.",
];

/// Python packages that bring TLS clients or roots.
const PACKAGES: [&str; 14] = [
    "openai",
    "anthropic",
    "httpx",
    "httpx2",
    "requests",
    "aiohttp",
    "boto3",
    "botocore",
    "grpcio",
    "certifi",
    "litellm",
    "google_genai",
    "truststore",
    "urllib3",
];

/// What is found in what Go's linker makes.
const GO: &[u8] = b"\xff Go buildinf:";

/// Names of public roots, of which a program that brings its own has all.
const ROOTS: [&[u8]; 2] = [b"ISRG Root X1", b"GlobalSign Root"];

/// What a program is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anatomy {
    /// Paths of mapped libraries that do TLS or run programs.
    pub libraries: Vec<String>,
    /// Python packages it can import, with their versions.
    pub packages: Vec<(String, String)>,
    /// Whether it was made by Go's compiler.
    pub go: bool,
    /// Whether public roots are compiled into the executable.
    pub roots: bool,
}

impl Anatomy {
    /// Whether a library is mapped whose file name begins so.
    pub fn maps(&self, start: &str) -> bool {
        self.libraries.iter().any(|path| name(path).starts_with(start))
    }

    /// The version of a package, where it is there.
    pub fn package(&self, wanted: &str) -> Option<&str> {
        let found = self.packages.iter().find(|(name, _)| name == wanted);
        found.map(|(_, version)| version.as_str())
    }
}

/// The anatomy of a process instance; `None` where it is gone, or may not be looked into.
pub(super) fn of(pid: u32, start_ticks: u64) -> Option<Anatomy> {
    let process = Handle::open(pid).ok()?;
    let maps = process.read("maps", MAPS).ok()?;
    let files = mapped(&String::from_utf8_lossy(&maps));
    let program = process.arguments().unwrap_or_default().into_iter().next().unwrap_or_default();
    let packages = packages(pid, &directories(&files, &program));
    let (go, roots) = process.open_file("exe").map(search).unwrap_or_default();
    if process.stat().ok()?.start_ticks != start_ticks {
        return None;
    }
    let is_telling = |path: &String| LIBRARIES.iter().any(|start| name(path).starts_with(start));
    Some(Anatomy { libraries: files.into_iter().filter(is_telling).collect(), packages, go, roots })
}

/// Paths of mapped files, each once.
fn mapped(maps: &str) -> BTreeSet<String> {
    let path = |line: &str| line.find('/').map(|at| line[at..].to_owned());
    maps.lines()
        .filter_map(path)
        .filter(|path| path.contains(".so") || path.contains("/_ssl"))
        .collect()
}

/// Where a Python keeps packages: seen from extension modules it has mapped, and from the virtual
/// environment it was started from.
fn directories(files: &BTreeSet<String>, program: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files {
        for word in ["/site-packages/", "/dist-packages/"] {
            if let Some(at) = file.find(word) {
                found.insert(file[..at + word.len() - 1].to_owned());
            }
        }
        // The standard library's own modules stand beside it.
        if let Some(at) = file.find("/lib-dynload/") {
            found.insert(format!("{}/site-packages", &file[..at]));
        }
    }
    if let Some(home) = program.strip_prefix('/').and_then(|path| path.rsplit_once("/bin/")) {
        let version = files.iter().find_map(|file| {
            let at = file.find("/lib/python3.")?;
            file[at + "/lib/".len()..].split('/').next()
        });
        found.extend(version.map(|version| format!("/{}/lib/{version}/site-packages", home.0)));
    }
    found.into_iter().take(DIRECTORIES).collect()
}

fn packages(pid: u32, directories: &BTreeSet<String>) -> Vec<(String, String)> {
    let mut found = BTreeSet::new();
    for directory in directories {
        // As the process sees it, which may be inside a container.
        let entries = std::fs::read_dir(format!("/proc/{pid}/root{directory}"));
        for entry in entries.into_iter().flatten().take(ENTRIES).flatten() {
            let entry = entry.file_name();
            let Some(stem) = entry.to_str().and_then(|name| name.strip_suffix(".dist-info")) else {
                continue;
            };
            let Some((name, version)) = stem.split_once('-') else { continue };
            let name = name.to_ascii_lowercase();
            if PACKAGES.contains(&name.as_str()) {
                found.insert((name, version.chars().take(32).collect()));
            }
        }
    }
    found.into_iter().collect()
}

/// Whether an executable is Go's, and whether it has public roots in it.
fn search(file: File) -> (bool, bool) {
    let (mut go, mut roots) = (false, [false; ROOTS.len()]);
    let mut file = file.take(EXECUTABLE);
    let mut buffer = vec![0; OVERLAP + CHUNK];
    let mut kept = 0;
    while let Ok(read @ 1..) = file.read(&mut buffer[kept..]) {
        let filled = kept + read;
        let text = &buffer[..filled];
        go |= memmem::find(text, GO).is_some();
        for (found, root) in roots.iter_mut().zip(ROOTS) {
            *found |= memmem::find(text, root).is_some();
        }
        kept = filled.min(OVERLAP);
        buffer.copy_within(filled - kept..filled, 0);
    }
    (go, roots.into_iter().all(|found| found))
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_is_compiled_in_is_found_wherever_it_lies() {
        let mut file = tempfile::tempfile().unwrap();
        let mut content = vec![0; CHUNK + OVERLAP_OF_TEST];
        content.extend(b"ISRG Root X1");
        content.extend(vec![0; CHUNK]);
        content.extend(b"GlobalSign Root CA");
        file.write_all(&content).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        assert_eq!(search(file), (false, true));
        assert_eq!(search(tempfile::tempfile().unwrap()), (false, false));
    }

    /// Places the first root across the end of the first chunk.
    const OVERLAP_OF_TEST: usize = 26;

    #[test]
    fn packages_are_looked_for_where_the_process_would() {
        let maps = "7f00-7f01 r-xp 0 08:01 1  /opt/venv/lib/python3.11/site-packages/x/_x.so\n\
            7f02-7f03 r-xp 0 08:01 2  /usr/lib/python3.11/lib-dynload/_ssl.cpython-311.so\n\
            7f04-7f05 rw-p 0 00:00 0  [heap]\n";
        let files = mapped(maps);
        assert_eq!(files.len(), 2);
        let found = directories(&files, "/srv/app/bin/python3");
        let expected = [
            "/opt/venv/lib/python3.11/site-packages",
            "/srv/app/lib/python3.11/site-packages",
            "/usr/lib/python3.11/site-packages",
        ];
        assert!(found.iter().eq(expected), "{found:?}");
    }

    #[test]
    fn only_the_instance_that_was_meant_is_looked_into() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let start = Handle::open(child.id()).unwrap().stat().unwrap().start_ticks;
        let (found, other) = (of(child.id(), start), of(child.id(), start + 1));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((found, other), (Some(Anatomy::default()), None));
    }
}
