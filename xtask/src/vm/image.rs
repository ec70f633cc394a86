//! The guest's file system: an archive that the kernel unpacks into memory, so that no disk, no
//! driver and no boot loader is needed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use cpio::newc::Builder;

use super::{kernels, programs};
use crate::shell;

const INIT: &str = include_str!("init.sh");
/// Users by name, for what drops root.
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                      weir:x:990:990:weir:/nonexistent:/bin/false\n\
                      nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
const GROUP: &str = "root:x:0:\nweir:x:990:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n";
/// A name may have several lines, as Debian has it.
const HOST_CONF: &str = "multi on\n";
/// There is no name server: a place for those of the tests.
const RESOLV: &str = "nameserver 127.0.0.1\n";
/// Empty at first.
const DIRECTORIES: [&str; 8] = ["dev", "etc", "proc", "root", "run", "sys", "tmp", "modules"];
/// Where a machine keeps the certificates that clients trust.
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;

/// Writes the archive: this machine's programs, the kernel's modules, the `binaries` where they lie
/// here, and `script`, which is what will be run.
pub(super) fn write(
    path: &Path,
    kernel: &kernels::Files,
    binaries: &[&Path],
    script: &str,
) -> anyhow::Result<()> {
    let mut archive = Archive::new(path)?;
    for directory in DIRECTORIES {
        archive.directory(Path::new(directory))?;
    }
    // As here: where these are links, programs ask for their interpreter through them.
    for name in ["bin", "sbin", "lib", "lib32", "lib64"] {
        if let Ok(target) = fs::read_link(Path::new("/").join(name)) {
            archive.link(Path::new(name), &target)?;
        }
    }
    for (place, source) in programs::collect(binaries)? {
        archive.copy(&place, &source)?;
    }
    for (place, content) in [
        ("etc/passwd", PASSWD),
        ("etc/group", GROUP),
        ("etc/hosts", HOSTS),
        ("etc/host.conf", HOST_CONF),
        ("etc/resolv.conf", RESOLV),
        ("run.sh", script),
    ] {
        archive.file(Path::new(place), FILE, content.as_bytes())?;
    }
    if Path::new(BUNDLE).is_file() {
        archive.file(Path::new(BUNDLE), FILE, &fs::read(BUNDLE)?)?;
    }
    for (number, module) in kernel.modules.iter().enumerate() {
        let name = module.file_name().context("a module has a name")?.to_string_lossy();
        let place = format!("modules/{number}-{name}");
        archive.file(Path::new(&place), FILE, &fs::read(module)?)?;
    }
    for binary in binaries {
        archive.file(binary, PROGRAM, &stripped(binary, path)?)?;
    }
    archive.file(Path::new("init"), PROGRAM, INIT.as_bytes())?;
    archive.finish()
}

/// A binary without what only a debugger reads: most of it, and the guest has to unpack it.
fn stripped(binary: &Path, beside: &Path) -> anyhow::Result<Vec<u8>> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    let out = beside.with_extension("stripped");
    let mut strip = shell::command("strip", &["--strip-debug", "-o"]);
    let done = shell::output(strip.arg(&out).arg(binary)).is_some();
    let content = read(if done { &out } else { binary })?;
    if done {
        fs::remove_file(&out)?;
    }
    Ok(content)
}

/// Entries in the order in which they are written; directories come before what they hold.
struct Archive {
    out: BufWriter<File>,
    there: BTreeSet<PathBuf>,
}

impl Archive {
    fn new(path: &Path) -> anyhow::Result<Self> {
        let out = File::create(path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { out: BufWriter::new(out), there: BTreeSet::new() })
    }

    fn directory(&mut self, place: &Path) -> anyhow::Result<()> {
        let place = relative(place);
        if place.as_os_str().is_empty() || !self.there.insert(place.to_owned()) {
            return Ok(());
        }
        if let Some(parent) = place.parent() {
            self.directory(parent)?;
        }
        self.entry(place, DIRECTORY, b"")
    }

    fn link(&mut self, place: &Path, target: &Path) -> anyhow::Result<()> {
        self.new_entry(place, LINK, target.as_os_str().as_encoded_bytes())
    }

    fn file(&mut self, place: &Path, mode: u32, content: &[u8]) -> anyhow::Result<()> {
        self.new_entry(place, mode, content)
    }

    /// A program or a library of this machine's.
    fn copy(&mut self, place: &Path, source: &Path) -> anyhow::Result<()> {
        let content = fs::read(source).with_context(|| format!("read {}", source.display()))?;
        self.new_entry(place, PROGRAM, &content)
    }

    fn new_entry(&mut self, place: &Path, mode: u32, content: &[u8]) -> anyhow::Result<()> {
        let place = relative(place);
        if let Some(parent) = place.parent() {
            self.directory(parent)?;
        }
        self.there.insert(place.to_owned());
        self.entry(place, mode, content)
    }

    fn entry(&mut self, place: &Path, mode: u32, content: &[u8]) -> anyhow::Result<()> {
        let name = place.to_str().context("a path that is not Unicode")?;
        let size = u32::try_from(content.len()).context("a file of more than 4 GiB")?;
        let mut entry = Builder::new(name).mode(mode).write(&mut self.out, size);
        entry.write_all(content)?;
        entry.finish()?;
        Ok(())
    }

    fn finish(self) -> anyhow::Result<()> {
        let mut out = cpio::newc::trailer(self.out)?;
        Ok(out.flush()?)
    }
}

fn relative(place: &Path) -> &Path {
    place.strip_prefix("/").unwrap_or(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_once_and_before_what_they_hold() {
        let path = std::env::temp_dir().join(format!("weir-image-{}", std::process::id()));
        let mut archive = Archive::new(&path).unwrap();
        archive.file(Path::new("/a/b/one"), FILE, b"1").unwrap();
        archive.file(Path::new("/a/b/two"), PROGRAM, b"22").unwrap();
        archive.link(Path::new("/a/c"), Path::new("b")).unwrap();
        archive.finish().unwrap();
        let mut read = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let mut names = Vec::new();
        loop {
            let entry = cpio::newc::Reader::new(read).unwrap();
            if entry.entry().is_trailer() {
                break;
            }
            names.push((entry.entry().name().to_owned(), entry.entry().mode()));
            read = entry.finish().unwrap();
        }
        let expected = [
            ("a", DIRECTORY),
            ("a/b", DIRECTORY),
            ("a/b/one", FILE),
            ("a/b/two", PROGRAM),
            ("a/c", LINK),
        ];
        assert_eq!(names, expected.map(|(name, mode)| (name.to_owned(), mode)));
    }
}
