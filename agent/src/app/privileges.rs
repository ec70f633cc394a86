//! Giving up privileges at the start: first the helper process is started, which keeps those that
//! its work takes; then this process, which terminates TLS, drops its own.
//!
//! Root becomes the agent's own user as well. A service that is started as that user, with the
//! helper's capabilities as ambient ones, needs no root at any time: then the directories are its
//! own already.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::path::Path;

use anyhow::Context as _;
use rustix::thread::CapabilitySet;

use crate::capture::Helper;
use crate::capture::helper::confine::{self, Extras, User};
use crate::cli;
use crate::config::{Config, Paths};
use crate::downstream::trust::ledger;
use crate::policy::settings::{OnBreach, Says};

/// Most files whose owner is changed; a ledger of years has some hundreds.
const FILES: usize = 100_000;

/// What a process running as root takes to work with files that are not root's.
const OTHERS_FILES: CapabilitySet =
    CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::CHOWN).union(CapabilitySet::FOWNER);

/// What came of it.
pub(super) struct Split {
    pub(super) helper: Helper,
    /// What someone should know about how this process runs.
    pub(super) remark: Option<String>,
}

/// Starts the helper and gives up what it holds from now on. Before any thread is started: users
/// and capabilities are a thread's.
pub(super) fn split(config: &Config, paths: &Paths) -> anyhow::Result<Split> {
    if !confine::is_privileged() {
        // Nobody to split from; still nobody needs to look into this process.
        confine::keep(CapabilitySet::all(), None).context("giving up privileges")?;
        return Ok(Split { helper: Helper::in_process(), remark: None });
    }
    let extras = Extras { freeze: freezes(config), enter: config.containers.meters_any() };
    let daemon = cli::helper::own_command().context("finding out what runs here")?;
    let command = cli::helper::command(config.log, extras, &daemon)?;
    let helper = Helper::start(command).context("starting the helper process")?;
    let (user, remark) = user(config);
    let mut kept = confine::daemon();
    match user {
        Some(user) => {
            hand_over(&paths.state, user, (0o711, true))?;
            hand_over(&paths.run, user, (0o755, false))?;
            ledger::lend_to(&paths.state, user.gid).context("letting the trust ledger be read")?;
        }
        // To anybody else these are their own files.
        None if is_root() && owns_others_files(paths) => kept |= OTHERS_FILES,
        None => {}
    }
    confine::keep(kept, user).context("giving up privileges")?;
    if user.is_some() {
        for path in [&paths.state, &paths.run] {
            fs::read_dir(path).with_context(|| {
                let (path, name) = (path.display(), &config.user);
                format!("user {name} cannot reach {path}: let it pass through, or set user: root")
            })?;
        }
    }
    Ok(Split { helper, remark })
}

/// The user to become, where this is root.
fn user(config: &Config) -> (Option<User>, Option<String>) {
    if !is_root() {
        return (None, None);
    }
    match User::named(&config.user) {
        Some(User { uid: 0, .. }) => (None, None),
        Some(user) => (Some(user), None),
        None => {
            let remark = format!(
                "runs as root, without its capabilities: there is no user {} to become",
                config.user
            );
            (None, Some(remark))
        }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a policy may freeze a workload.
fn freezes(config: &Config) -> bool {
    config.policy.rules.iter().any(|rule| match &rule.says {
        Says::Limit(limit) => limit.on_breach == OnBreach::Freeze,
        Says::Loops(loops) => loops.on_breach == OnBreach::Freeze,
        Says::Guard(_) | Says::Price(_) => false,
    })
}

fn owns_others_files(paths: &Paths) -> bool {
    [&paths.state, &paths.run]
        .into_iter()
        .any(|path| fs::metadata(path).is_ok_and(|meta| meta.uid() != 0))
}

/// Makes a directory the user's, and with `all` what is in it: an earlier run may have been root's.
/// What root itself is told by a file there (what to undo) stays root's.
fn hand_over(path: &Path, user: User, (mode, all): (u32, bool)) -> anyhow::Result<()> {
    let failed = || format!("{} cannot be given to user id {}", path.display(), user.uid);
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).with_context(failed)?;
    let meta = fs::symlink_metadata(path).with_context(failed)?;
    anyhow::ensure!(
        meta.is_dir() && meta.mode() & 0o002 == 0,
        "{} is a directory for everybody: it cannot be the agent's",
        path.display()
    );
    let mut budget = if all { FILES } else { 0 };
    give(path, user, &mut budget).with_context(failed)
}

/// Never through a link: what it points to need not be ours.
fn give(path: &Path, user: User, budget: &mut usize) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_dir() && *budget > 0 {
        for entry in fs::read_dir(path)? {
            *budget = budget.saturating_sub(1);
            give(&entry?.path(), user, budget)?;
        }
    }
    // By that file root changes the host: it is never anybody else's.
    if path.file_name().is_some_and(|name| name == ledger::NAME) {
        return Ok(());
    }
    let linked = meta.is_file() && meta.nlink() > 1;
    if (meta.uid(), meta.gid()) != (user.uid, user.gid) && !linked {
        lchown(path, Some(user.uid), Some(user.gid))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_may_write_to_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shared");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
        let own = fs::metadata(&path).unwrap();
        let user = User { uid: own.uid(), gid: own.gid() };
        assert!(hand_over(&path, user, (0o711, true)).is_err());
        hand_over(&dir.path().join("new/state"), user, (0o711, true)).unwrap();
    }

    #[test]
    fn files_of_an_earlier_run_change_hands_and_links_do_not() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("state/ca"), dir.path().join("outside"));
        fs::create_dir_all(&inside).unwrap();
        fs::write(inside.join("key"), "x").unwrap();
        fs::write(&outside, "x").unwrap();
        fs::write(dir.path().join("state").join(ledger::NAME), "{}").unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("soft")).unwrap();
        fs::hard_link(&outside, inside.join("hard")).unwrap();
        let user = User { uid: 65_534, gid: 65_533 };
        hand_over(&dir.path().join("state"), user, (0o711, true)).unwrap();
        let owner = |path: &Path| fs::metadata(path).unwrap().uid();
        assert_eq!(owner(&inside.join("key")), 65_534);
        assert_eq!(owner(&inside), 65_534);
        assert_eq!(owner(&dir.path().join("state").join(ledger::NAME)), 0);
        assert_eq!(owner(&outside), 0);
    }
}
