//! Files that are written to make the host trust the CA, each whole and with the owner and mode it had.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::downstream::ca::hex;

/// Largest file read: a key store or a database of certificates is below a megabyte.
const LIMIT: u64 = 64 << 20;

/// A file and what it is to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    /// Where.
    pub(super) path: PathBuf,
    /// What; `None` to delete it.
    pub(super) content: Option<Vec<u8>>,
    /// In whose name, where that is not root: never as root in a place that others control.
    pub(super) owner: Option<(u32, u32)>,
}

impl Write {
    /// Writes it.
    pub(super) fn perform(&self) -> io::Result<()> {
        match (&self.content, self.owner) {
            (Some(content), None) => replace(&self.path, content),
            (Some(content), Some(owner)) => as_owner(owner, "cat > \"$0\"", &self.path, content),
            (None, None) => fs::remove_file(&self.path),
            (None, Some(owner)) => as_owner(owner, "rm -f \"$0\"", &self.path, &[]),
        }
    }
}

/// A regular file's content; `None` where there is none. Links are followed only for files that
/// nobody but root controls.
pub(super) fn read(path: &Path, owner: Option<(u32, u32)>) -> io::Result<Option<Vec<u8>>> {
    let flags = rustix::fs::OFlags::NONBLOCK
        | match owner {
            Some(_) => rustix::fs::OFlags::NOFOLLOW,
            None => rustix::fs::OFlags::empty(),
        };
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let meta = file.metadata()?;
    let is_theirs = owner.is_none_or(|(uid, _)| meta.uid() == uid);
    if !meta.is_file() || meta.len() > LIMIT || !is_theirs {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a file that could be changed"));
    }
    let mut content = Vec::new();
    file.take(LIMIT).read_to_end(&mut content)?;
    Ok(Some(content))
}

/// The digest of a file's content; `None` where it cannot be read.
pub(super) fn digest_of(path: &Path) -> Option<String> {
    fs::read(path).ok().map(|content| digest(&content))
}

/// SHA-256 in hex.
pub(super) fn digest(content: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, content).as_ref())
}

/// Puts a file in place whole: readable for all, or as the one that was there.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    // A link stays one: what it leads to is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let before = fs::metadata(&path).ok();
    let mode = before.as_ref().map_or(0o644, |meta| meta.mode() & 0o7777);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // A name that no distribution's tool takes for a certificate.
    let fresh = path.with_file_name(format!(".{name}.weir-new"));
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    if let Some(before) = &before {
        std::os::unix::fs::chown(&fresh, Some(before.uid()), Some(before.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, &path)
}

fn as_owner((uid, gid): (u32, u32), script: &str, path: &Path, input: &[u8]) -> io::Result<()> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).arg(path).env_clear().stdin(Stdio::piped());
    if !is_us(uid) {
        command.uid(uid).gid(gid);
    }
    let mut child = command.spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(input)?;
    }
    let status = child.wait()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("writing it: {status}"))) }
}

/// Whether that is this process's own user.
pub(super) fn is_us(uid: u32) -> bool {
    rustix::process::geteuid().as_raw() == uid
}
