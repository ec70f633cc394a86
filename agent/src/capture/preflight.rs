//! Tries the kernel half out where nobody is: the programs are really loaded and linked, to a cgroup
//! made for it, and taken away again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::attach::{self, Attachment};
use super::attached::Doors;
use super::error::AttachError;
use super::{Capability, Settings, cgroup};

/// What would work on this host. `below` is the cgroup that is to be captured; `None` for the root.
/// Nothing stays behind, and no connection is touched.
pub fn preflight(below: Option<&Path>) -> Result<Vec<Capability>, AttachError> {
    attach::check_privileges()?;
    let parent = match below {
        Some(path) => path.to_owned(),
        None => cgroup::mount()?.ok_or(AttachError::NoCgroup)?,
    };
    let trial = Trial::create(&parent)?;
    let settings = Settings { cgroup: Some(trial.0.clone()), ..Settings::default() };
    let (attachment, made) = Attachment::new(&settings, Doors::nowhere())?;
    drop(attachment);
    Ok(made.capabilities.rows)
}

/// A cgroup without processes, removed on drop.
struct Trial(PathBuf);

impl Trial {
    fn create(parent: &Path) -> Result<Self, AttachError> {
        let path = parent.join(format!("weir-preflight-{}", std::process::id()));
        let failed = |source: io::Error| AttachError::Cgroup { path: path.clone(), source };
        fs::create_dir(&path).map_err(failed)?;
        Ok(Self(path))
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "an empty cgroup stays");
        }
    }
}
