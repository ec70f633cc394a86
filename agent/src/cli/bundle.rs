//! Bundles that contain the local CA beside everything they contained before.
//!
//! Most variables that name a bundle *replace* what a program would trust otherwise, so they are
//! never pointed at the CA alone: then every connection that is not intercepted would fail.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::downstream::ca::{PUBLIC_ROOT, Root, hex};
use crate::downstream::trust::installed::contains;

/// Makes supersets of bundles, in the first of some directories that can be written to.
#[derive(Debug)]
pub(super) struct Bundles<'a> {
    root: &'a Root,
    pem: String,
    directories: Vec<PathBuf>,
}

impl<'a> Bundles<'a> {
    /// Supersets by `root`, whose public file is under `state_dir`. `fallbacks` are tried where
    /// the state directory cannot be written to.
    pub(super) fn new(
        root: &'a Root,
        state_dir: &Path,
        fallbacks: Vec<PathBuf>,
    ) -> anyhow::Result<Self> {
        let pem = fs::read_to_string(state_dir.join(PUBLIC_ROOT))?;
        let mut directories = vec![state_dir.join("bundles")];
        directories.extend(fallbacks);
        Ok(Self { root, pem, directories })
    }

    /// A file with all of `base` and the CA: `base` itself where it has it already.
    pub(super) fn superset(&self, base: &Path) -> anyhow::Result<PathBuf> {
        if contains(base, self.root.certificate())? {
            return Ok(base.to_path_buf());
        }
        let mut content = fs::read(base)?;
        if !content.ends_with(b"\n") {
            content.push(b'\n');
        }
        content.extend_from_slice(self.pem.as_bytes());
        // One file for each base, brought up to date when it is asked for: as many as there are
        // bases, and whoever keeps the path gets the newer content.
        let path = fs::canonicalize(base)?;
        let id = aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA256,
            path.as_os_str().as_encoded_bytes(),
        );
        let name = format!("{}.pem", &hex(id.as_ref())[..16]);
        let mut failed = None;
        for directory in &self.directories {
            let path = directory.join(&name);
            // The state directory's is used by all, whoever may write it.
            if fs::read(&path).is_ok_and(|there| there == content) {
                return Ok(path);
            }
            match put(directory, &name, &content) {
                Ok(()) => return Ok(path),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| anyhow::anyhow!("nowhere to write a bundle to")))
    }
}

fn put(directory: &Path, name: &str, content: &[u8]) -> anyhow::Result<()> {
    let write = || {
        DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        let fresh = directory.join(format!(".{name}.{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&fresh)?;
        let done = file
            .set_permissions(Permissions::from_mode(0o644))
            .and_then(|()| file.write_all(content))
            .and_then(|()| fs::rename(&fresh, directory.join(name)));
        if done.is_err() {
            fs::remove_file(&fresh)?;
        }
        done
    };
    write().with_context(|| format!("writing {}", directory.join(name).display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, System};
    use crate::downstream::ca::Authority;

    #[test]
    fn a_superset_keeps_everything_and_follows_its_base() {
        let dir = tempfile::tempdir().unwrap();
        let (state, other) = (dir.path().join("state"), dir.path().join("other"));
        let now = System.now().wall;
        let ours = Authority::open_or_create(&state, &["api.openai.com"], now).unwrap();
        let theirs = Authority::open_or_create(&other, &["corp.example"], now).unwrap();
        let base = dir.path().join("base.pem");
        let pem = fs::read_to_string(other.join(PUBLIC_ROOT)).unwrap();
        fs::write(&base, pem.trim_end()).unwrap();

        let bundles = Bundles::new(ours.root(), &state, Vec::new()).unwrap();
        let superset = bundles.superset(&base).unwrap();
        assert_ne!(superset, base);
        for root in [&ours, &theirs] {
            assert!(contains(&superset, root.root().certificate()).unwrap());
        }
        let mode = fs::metadata(&superset).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        assert_eq!(bundles.superset(&superset).unwrap(), superset, "nothing to add");

        fs::write(&base, format!("# new\n{pem}")).unwrap();
        assert_eq!(bundles.superset(&base).unwrap(), superset);
        assert!(fs::read_to_string(&superset).unwrap().starts_with("# new"));
        assert_eq!(fs::read_dir(state.join("bundles")).unwrap().count(), 1);
    }

    #[test]
    fn where_the_state_cannot_be_written_the_next_directory_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let now = System.now().wall;
        let ours = Authority::open_or_create(&state, &["api.openai.com"], now).unwrap();
        let base = dir.path().join("base.pem");
        fs::write(&base, "").unwrap();
        // A file in its place stands for a directory that cannot be written to, also for root.
        fs::write(state.join("bundles"), "").unwrap();
        assert!(Bundles::new(ours.root(), &state, Vec::new()).unwrap().superset(&base).is_err());
        let home = dir.path().join("cache/weir");
        let bundles = Bundles::new(ours.root(), &state, vec![home.clone()]).unwrap();
        assert!(bundles.superset(&base).unwrap().starts_with(&home));
    }
}
