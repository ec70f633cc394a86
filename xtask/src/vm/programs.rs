//! This machine's programs with the libraries they need: what the guest is made of.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::shell;

/// What the tests and the guest's first process run.
const PROGRAMS: [&str; 23] = [
    "sh", "env", "cat", "sleep", "timeout", "true", "ls", "id", "stty", "mkdir", "mount", "umount",
    "insmod", "setpriv", "nsenter", "unshare", "ip", "curl", "kill", "uname", "dirname", "chmod",
    "cp",
];

/// Files of the guest by where they lie in it; the value is where they are here.
pub(super) type Files = BTreeMap<PathBuf, PathBuf>;

/// The programs and, with them, whatever they and the `binaries` are linked with.
pub(super) fn collect(binaries: &[&Path]) -> anyhow::Result<Files> {
    let mut files = Files::new();
    for name in PROGRAMS {
        let script = format!("command -v {name} || which {name}");
        let found = shell::output(shell::command("sh", &["-c", &script]).env("PATH", PATH));
        // A shell answers with the bare name of what it has itself.
        let found = found.map(PathBuf::from).filter(|path| path.is_absolute());
        let found = found.or_else(|| {
            let places = PATH.split(':').map(|place| Path::new(place).join(name));
            places.into_iter().find(|path| path.is_file())
        });
        let found = found.with_context(|| format!("{name} is missing: the guest needs it"))?;
        add(&mut files, &found)?;
    }
    for binary in binaries {
        libraries(&mut files, binary)?;
    }
    Ok(files)
}

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// A program and its libraries.
fn add(files: &mut Files, program: &Path) -> anyhow::Result<()> {
    files.insert(place(program)?, program.to_owned());
    libraries(files, program)
}

fn libraries(files: &mut Files, program: &Path) -> anyhow::Result<()> {
    let mut ldd = shell::command("ldd", &[]);
    // A program without libraries fails here, and needs none.
    let told = shell::output(ldd.arg(program)).unwrap_or_default();
    if told.contains("not found") {
        bail!("{} lacks libraries: {told}", program.display());
    }
    for library in told.split_whitespace().filter(|word| word.starts_with('/')) {
        files.insert(place(Path::new(library))?, library.into());
    }
    Ok(())
}

/// Where a file goes: by its own name, in a directory that is one (`/bin` often is a link).
fn place(path: &Path) -> anyhow::Result<PathBuf> {
    let parent = path.parent().context("a file has a directory")?;
    let parent = fs::canonicalize(parent).with_context(|| format!("look up {}", path.display()))?;
    Ok(parent.join(path.file_name().context("a file has a name")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_brings_its_c_library() {
        let mut files = Files::new();
        let sh = PathBuf::from("/bin/sh");
        add(&mut files, &sh).unwrap();
        assert!(files.values().any(|path| path == &sh));
        let mut names = files.keys().filter_map(|path| path.file_name()?.to_str());
        assert!(names.any(|name| name.starts_with("libc.")), "{files:?}");
    }
}
