//! Callers in cgroups.

use super::*;

/// A cgroup of the unified tree, where this user may make one.
struct Group(PathBuf);

impl Group {
    /// `name` in a slice of its own; `None` without privilege or without such a tree.
    fn new(identities: &Identities, name: &str) -> Option<Self> {
        let root = identities.hierarchy.root()?;
        let slice = root.join(format!("weirtest{}{}.slice", std::process::id(), &name[..8]));
        std::fs::create_dir_all(slice.join(name)).ok()?;
        Some(Self(slice.join(name)))
    }

    fn id(&self) -> u64 {
        std::fs::metadata(&self.0).unwrap().ino()
    }

    fn take(&self, pid: u32) {
        std::fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(std::fs::remove_dir(&self.0));
        drop(self.0.parent().map(std::fs::remove_dir));
    }
}

#[test]
fn the_cgroup_at_connect_time_decides() {
    let identities = identities(&[]);
    let Some(one) = Group::new(&identities, "batch-agent.service") else { return };
    let Some(other) = Group::new(&identities, "other.service") else { return };
    let mut running = Running::start("bash", &["-c", "echo; read"]);
    one.take(running.pid());
    let caller = Caller { cgroup: one.id(), ..running.caller() };
    let subject = identities.resolve(&caller);
    assert_eq!(&*subject.workload.name, "unit:batch-agent.service");
    assert!(subject.process.verified);
    // Moved after the connect: that one is still the first unit's, the next is not.
    other.take(running.pid());
    let moved = Caller { at: since_boot(), ..caller.clone() };
    assert_eq!(&*identities.resolve(&moved).workload.name, "unit:batch-agent.service");
    let next = Caller { cgroup: other.id(), ..moved };
    assert_eq!(&*identities.resolve(&next).workload.name, "unit:other.service");
    // Gone, and seen in this cgroup by nobody: the id alone leads to the unit.
    running.end();
    let fresh = super::identities(&[]);
    let subject = fresh.resolve(&caller);
    assert_eq!(&*subject.workload.name, "unit:batch-agent.service");
    assert!(!subject.process.verified);
}

#[test]
fn containers_have_names_and_keep_applications_apart() {
    const ID: &str = "4c01db0b339c1d6b1d2e2f9b1c1a3b6e8d7f6a5b4c3d2e1f0a9b8c7d6e5f4a3b";
    let mut identities = identities(&["night-shift"]);
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("var/lib/docker/containers").join(ID);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("config.v2.json"), r#"{"Name":"/web"}"#).unwrap();
    identities.containers = Containers::new(Helper::below(root.path()));
    let Some(group) = Group::new(&identities, &format!("docker-{ID}.scope")) else { return };

    let scripts = Scripts::new();
    let inner = "bash -c 'echo $$; read; true' <&0\ntrue\n";
    let agent = Running::start("bash", &[&scripts.write("night-shift", inner)]);
    let started = caller(agent.told());
    assert_eq!(identities.resolve(&started).workload.app.as_deref(), Some("night-shift"));
    group.take(agent.told());
    let inside = Caller { cgroup: group.id(), ..started };
    let subject = identities.resolve(&inside);
    assert_eq!(&*subject.workload.name, "container:web");
    assert_eq!(subject.workload.container.as_deref(), Some("web"));
    assert_eq!(subject.workload.app, None, "the agent runs outside");
    // The group can go only when nobody is left in it.
    drop(agent);
    while !std::fs::read_to_string(group.0.join("cgroup.procs")).unwrap().is_empty() {
        std::thread::yield_now();
    }
}
