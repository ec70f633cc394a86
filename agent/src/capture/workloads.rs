//! Workloads that are captured wherever they connect to, as the kernel knows them: units and containers
//! by the id of their cgroup, users by uid.
//!
//! A unit that is started again has another cgroup, so the tree is looked at again whenever something
//! is made in it, and now and then besides. Only what holds workloads is looked into (slices, the
//! groups of container runtimes), never the workloads themselves: the programs choose everything below.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

use super::cgroup;
use super::chosen::ChosenSet;
use super::events::watch;
use super::helper::Helper;
use super::identity::{Container, Placement, uid};
use crate::drain::Drain;
use crate::subject::Pick;

/// Looked at again at the latest after this: where nothing tells of changes, as soon as that.
const PAUSE: Duration = Duration::from_secs(1);
/// And not again before this has passed: a busy runtime makes many groups at once.
const BREATH: Duration = Duration::from_millis(20);
/// Groups looked at; a tree with more is looked at in part.
const MOST: usize = 16_384;
/// Digits of a container's id that are enough to name it.
const ENOUGH: usize = 12;

/// Follows picked workloads to their cgroups.
pub struct Workloads {
    helper: Helper,
    picks: Arc<[Pick]>,
}

impl Workloads {
    /// Nothing followed yet.
    pub fn new(helper: Helper, picks: &[Pick]) -> Self {
        Self { helper, picks: picks.into() }
    }

    /// Hands what is picked to `apply` whenever it has changed, until the agent is told to finish.
    pub async fn keep(self, apply: impl Fn(&ChosenSet) + Send, drain: Drain) {
        let Some((root, deep)) = tree() else {
            tracing::warn!("no cgroup v2 hierarchy: capture.all captures nothing");
            return;
        };
        let mut search = Search {
            root,
            deep,
            helper: self.helper,
            picks: self.picks,
            names: HashMap::new(),
            changes: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok(),
            missing: Vec::new(),
        };
        let changes = search.changes.as_ref().and_then(|fd| fd.try_clone().ok());
        let changes = changes.and_then(|fd| watch(fd).ok());
        let mut last = None;
        loop {
            // Walks a part of the file system: not on a thread that serves others.
            let found = drain.spawn_blocking(move || {
                let found = search.run();
                (search, found)
            });
            let Ok((back, found)) = found.await else { return };
            search = back;
            if last.as_ref() != Some(&found) {
                apply(&found);
                last = Some(found);
            }
            tokio::select! {
                () = drain.signalled() => return,
                () = tokio::time::sleep(PAUSE) => {}
                () = something_new(changes.as_ref()) => tokio::time::sleep(BREATH).await,
            }
        }
    }
}

impl std::fmt::Debug for Workloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workloads").field("picks", &self.picks).finish_non_exhaustive()
    }
}

/// Where the hierarchy is, and whether its top is the host's.
fn tree() -> Option<(PathBuf, bool)> {
    let root = cgroup::mount().ok()??;
    let deep = cgroup::is_host_root(&root).unwrap_or(false);
    Some((root, deep))
}

async fn something_new(changes: Option<&AsyncFd<OwnedFd>>) {
    let Some(changes) = changes else { return std::future::pending().await };
    match changes.readable().await {
        Ok(mut guard) => {
            guard.clear_ready();
            // What it was does not matter: everything is looked at again.
            let mut events = [0; 4096];
            while rustix::io::read(changes.get_ref(), &mut events).is_ok_and(|read| read > 0) {}
        }
        Err(_closed) => std::future::pending().await,
    }
}

struct Search {
    root: PathBuf,
    /// Whether a group's depth below `root` is its depth in the host's hierarchy.
    deep: bool,
    helper: Helper,
    picks: Arc<[Pick]>,
    /// Names of containers by id; empty for those that have none, or none yet.
    names: HashMap<String, String>,
    changes: Option<OwnedFd>,
    /// What was not found last time.
    missing: Vec<Pick>,
}

impl Search {
    fn run(&mut self) -> ChosenSet {
        let mut found = ChosenSet::default();
        let mut hit = vec![false; self.picks.len()];
        for (at, pick) in self.picks.iter().enumerate() {
            if let Pick::User(name) = pick
                && let Some(uid) = uid(name)
            {
                found.users.insert(uid);
                hit[at] = true;
            }
        }
        if self.picks.iter().any(|pick| !matches!(pick, Pick::User(_))) {
            self.walk(&mut found, &mut hit);
        }
        let picks = self.picks.iter().zip(&hit);
        let missing: Vec<Pick> =
            picks.filter(|(_, hit)| !**hit).map(|(pick, _)| pick.clone()).collect();
        for pick in missing.iter().filter(|pick| !self.missing.contains(pick)) {
            tracing::info!(%pick, "capture.all names what is not there at the moment");
        }
        self.missing = missing;
        found
    }

    fn walk(&mut self, found: &mut ChosenSet, hit: &mut [bool]) {
        let mut waiting = vec![(String::new(), 0_u32)];
        let mut seen = 0;
        while let Some((path, level)) = waiting.pop() {
            let at = self.root.join(path.trim_start_matches('/'));
            // Before it is read: what is made while we read must wake us again.
            self.tell_of_changes(&at);
            for name in directories(&at).unwrap_or_default() {
                seen += 1;
                if seen > MOST {
                    tracing::warn!(MOST, "more cgroups than are looked at");
                    return;
                }
                let path = format!("{path}/{name}");
                let placement = Placement::of_path(&path);
                if let Some(pick) = self.picked(&placement) {
                    if let Ok(there) = fs::metadata(at.join(&name)) {
                        found.cgroups.insert(there.ino(), self.deep.then_some(level + 1));
                        hit[pick] = true;
                    }
                } else if is_passage(&placement) {
                    waiting.push((path, level + 1));
                }
            }
        }
    }

    fn tell_of_changes(&self, at: &Path) {
        let Some(changes) = &self.changes else { return };
        let flags = WatchFlags::CREATE | WatchFlags::ONLYDIR;
        // Gone by now, or too many watches: the pause sees to it.
        if let Err(error) = inotify::add_watch(changes.as_fd(), at, flags) {
            tracing::debug!(%error, "a cgroup's changes are not told");
        }
    }

    /// Which of the picks a group is.
    fn picked(&mut self, placement: &Placement) -> Option<usize> {
        // What a user's own manager calls a unit or a container is that user's invention.
        if placement.manager.is_some() {
            return None;
        }
        let name = match &placement.container {
            Some(Container::Name(name)) => Some(name.clone()),
            Some(Container::Id(id)) => Some(self.name(id)),
            None => None,
        };
        self.picks.iter().position(|pick| match (pick, &placement.container) {
            (Pick::Unit(unit), None) => placement.unit.as_deref() == Some(&**unit),
            (Pick::Container(wanted), Some(container)) => {
                name.as_deref() == Some(&**wanted)
                    || matches!(container, Container::Id(id)
                        if wanted.len() >= ENOUGH && id.starts_with(&**wanted))
            }
            _ => false,
        })
    }

    fn name(&mut self, id: &str) -> String {
        if let Some(name) = self.names.get(id).filter(|name| !name.is_empty()) {
            return name.clone();
        }
        let name = self.helper.container(id).unwrap_or_default();
        if self.names.len() >= MOST {
            self.names.clear();
        }
        self.names.insert(id.to_owned(), name.clone());
        name
    }
}

/// Whether other workloads may lie below.
fn is_passage(placement: &Placement) -> bool {
    placement.manager.is_none() && placement.unit.is_none() && placement.container.is_none()
}

fn directories(at: &Path) -> io::Result<Vec<String>> {
    let entries = fs::read_dir(at)?.filter_map(Result::ok);
    let directories = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    Ok(directories.filter_map(|entry| entry.file_name().into_string().ok()).collect())
}
