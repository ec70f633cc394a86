//! Files that are named, and secrets, wherever they stand.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Check;
use crate::config::problem::Trail;
use crate::config::secret::SecretSource;

impl Check<'_> {
    /// A file that must be there, relative to the file that names it.
    pub(super) fn file(&mut self, file: &Path, trail: &Trail) -> PathBuf {
        let beside = self.tree.find(trail).and_then(|node| node.at.file.parent());
        let file = beside.map_or_else(|| file.to_owned(), |dir| dir.join(file));
        if !file.is_file() {
            self.problem(trail, format!("there is no file {}", file.display()));
        }
        file
    }

    /// A secret's file must be there; one written out should not be for everyone.
    pub(super) fn secret(&mut self, source: &SecretSource, trail: &Trail) -> SecretSource {
        match source {
            SecretSource::File(file) => SecretSource::File(self.file(file, trail)),
            SecretSource::Literal(_) => {
                self.exposed(trail);
                source.clone()
            }
            SecretSource::Env(_) | SecretSource::Credential(_) => source.clone(),
        }
    }

    /// A provider's key, which no configuration file is the place for.
    pub(super) fn api_key(&mut self, source: &SecretSource, trail: &Trail) -> Option<SecretSource> {
        if let SecretSource::Literal(_) = source {
            let what = "no key belongs in this file: write {env: …}, {file: …} or \
                        {systemd-credential: …}";
            self.problem(trail, what.to_owned());
            return None;
        }
        Some(self.secret(source, trail))
    }

    /// Whether everyone on this host can read the file that a secret is written in.
    fn exposed(&mut self, trail: &Trail) {
        let file = self.tree.find(trail).map(|node| Arc::clone(&node.at.file));
        let mode = file.as_ref().and_then(|file| std::fs::metadata(file).ok());
        if mode.is_some_and(|found| found.permissions().mode() & 0o004 != 0) {
            let what = "everyone on this host can read this secret: take the right to read from \
                        the file (chmod o-r), or use env, file or systemd-credential";
            self.warning(trail, what.to_owned());
        }
    }
}
