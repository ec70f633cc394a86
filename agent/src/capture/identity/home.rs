//! The control groups of workloads that have one of their own: pods, containers and units.
//!
//! What is named after its program has none: others may be in the same group.

use std::path::PathBuf;
use std::sync::Arc;

use moka::sync::Cache;

use super::cgroup::Placement;

/// Workloads remembered.
const REMEMBERED: u64 = 256;

/// Where workloads were last seen, below the root of the unified tree.
#[derive(Debug)]
pub(super) struct Homes(Cache<Arc<str>, Arc<str>>);

impl Homes {
    pub(super) fn new() -> Self {
        Self(Cache::new(REMEMBERED))
    }

    /// Remembers the group of a workload, given every line of the `cgroup` file of one of its
    /// processes and what that was taken to mean.
    pub(super) fn note(&self, workload: &Arc<str>, lines: &str, placement: &Placement) {
        let unified = lines.lines().find_map(|line| line.strip_prefix("0::"));
        let Some(home) = unified.and_then(|path| own(path, placement)) else { return };
        if self.0.get(workload).is_none_or(|known| &*known != home) {
            self.0.insert(Arc::clone(workload), Arc::from(home));
        }
    }

    /// All of them below `root`.
    pub(super) fn all(&self, root: &std::path::Path) -> Vec<(Arc<str>, PathBuf)> {
        let place = |home: &str| root.join(home.trim_start_matches('/'));
        let mut all: Vec<_> = self
            .0
            .iter()
            .map(|(workload, home)| (Arc::clone(workload.as_ref()), place(&home)))
            .collect();
        all.sort();
        all
    }
}

/// The part of a path that leads to the group after which a workload is named: the shortest that
/// means the same.
fn own<'a>(path: &'a str, placement: &Placement) -> Option<&'a str> {
    // Beyond the root of a namespace is nothing that could be looked into.
    if path.split('/').any(|part| part == "..") {
        return None;
    }
    let same = |found: &Placement| {
        if placement.pod.is_some() {
            found.pod == placement.pod
        } else if placement.container.is_some() {
            found.container == placement.container
        } else {
            placement.unit.is_some() && found.unit == placement.unit
        }
    };
    let mut end = 0;
    for part in path.split_inclusive('/') {
        end += part.len();
        let prefix = path[..end].trim_end_matches('/');
        if same(&Placement::of_path(prefix)) {
            return Some(prefix);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4c01db0b339c1d6b1d2e2f9b1c1a3b6e8d7f6a5b4c3d2e1f0a9b8c7d6e5f4a3b";
    const POD: &str = "1f2e3d4c-5b6a-7988-8796-a5b4c3d2e1f0";

    fn home(path: &str) -> Option<String> {
        let path = path.replace("POD", POD).replace("ID", ID);
        let own = own(&path, &Placement::of_path(&path))?;
        Some(own.replace(POD, "POD").replace(ID, "ID"))
    }

    #[test]
    fn the_group_after_which_it_is_named() {
        for (path, expected) in [
            ("/system.slice/a.service", Some("/system.slice/a.service")),
            ("/system.slice/a.service/worker/1", Some("/system.slice/a.service")),
            (
                "/system.slice/docker-ID.scope/system.slice/x.service",
                Some("/system.slice/docker-ID.scope"),
            ),
            (
                "/system.slice/web.service/libpod-payload-ID",
                Some("/system.slice/web.service/libpod-payload-ID"),
            ),
            ("/lxc.payload.web/init.scope", Some("/lxc.payload.web")),
            // All of a pod, not the one of its containers.
            ("/kubepods/burstable/podPOD/ID", Some("/kubepods/burstable/podPOD")),
            (
                "/user.slice/user-5.slice/user@5.service/app.slice/b.service/x",
                Some("/user.slice/user-5.slice/user@5.service/app.slice/b.service"),
            ),
            ("/user.slice/user-5.slice/session-1.scope", None),
            ("/", None),
            ("", None),
            ("/../../system.slice/a.service", None),
        ] {
            assert_eq!(home(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn what_was_taken_from_another_tree_is_not_looked_for_in_this_one() {
        let homes = Homes::new();
        let lines = "1:name=systemd:/system.slice/a.service\n0::/\n";
        homes.note(&Arc::from("unit:a.service"), lines, &Placement::of_lines(lines));
        assert!(homes.all("/sys/fs/cgroup".as_ref()).is_empty());
        let lines = "0::/system.slice/a.service/sub\n";
        homes.note(&Arc::from("unit:a.service"), lines, &Placement::of_lines(lines));
        let group = PathBuf::from("/sys/fs/cgroup/system.slice/a.service");
        assert_eq!(homes.all("/sys/fs/cgroup".as_ref()), [(Arc::from("unit:a.service"), group)]);
    }
}
