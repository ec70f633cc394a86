//! Where a process stands in the cgroup trees: pod, container, unit.
//!
//! Paths are read from the root down, and what stands nearer to the root wins: below a container,
//! a delegated service or a user's manager, names are chosen by whoever lives there.

/// Ending of the groups that only hold other groups.
const SLICE: &str = ".slice";

/// A container as its cgroup names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::capture) enum Container {
    /// 64 hexadecimal digits; what people call it has to be looked up.
    Id(String),
    /// A name given by the host's administrator (LXC, machined).
    Name(String),
}

/// What a cgroup path tells about a process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::capture) struct Placement {
    /// Uid of the Kubernetes pod.
    pub(in crate::capture) pod: Option<String>,
    /// Outermost container, or the pod's own.
    pub(in crate::capture) container: Option<Container>,
    /// Unit with its `.service`.
    pub(in crate::capture) unit: Option<String>,
    /// User whose manager all of this lies below.
    pub(in crate::capture) manager: Option<u32>,
}

impl Placement {
    /// Reads every line of `/proc/PID/cgroup`: the unified tree and systemd's own before the
    /// others. On hosts with both versions the unified path often says nothing (`/`).
    pub(super) fn of_lines(lines: &str) -> Self {
        let mut found: Vec<(u8, Self)> = lines
            .lines()
            .filter_map(|line| {
                let mut fields = line.splitn(3, ':');
                let (tree, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
                let rank = match (tree, controllers) {
                    ("0", "") => 0,
                    (_, "name=systemd") => 1,
                    (_, "memory") => 2,
                    _ => 3,
                };
                Some((rank, Self::of_path(path)))
            })
            .collect();
        found.sort_by_key(|(rank, placement)| (placement.vagueness(), *rank));
        found.into_iter().next().map(|(_, placement)| placement).unwrap_or_default()
    }

    /// Reads one path.
    pub(in crate::capture) fn of_path(path: &str) -> Self {
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        let mut placement = Self::default();
        // True as long as only slices were passed: what comes next was put there by a manager.
        let mut managed = true;
        let mut previous = "";
        for part in path.split('/').filter(|part| !part.is_empty() && *part != "..") {
            placement.note_pod(part, previous);
            if part.ends_with(SLICE) && managed {
                previous = part;
                continue;
            }
            let user = managed.then(|| user_manager(part)).flatten();
            if let (Some(uid), None) = (user, placement.manager) {
                placement.manager = Some(uid);
            } else {
                placement.note_container(part, previous);
                if managed {
                    placement.unit = unit(part, placement.manager);
                }
                managed = false;
            }
            previous = part;
        }
        placement
    }

    /// The uid in `pod<UID>`, as a cgroup of its own or at the end of a slice. A pod below a
    /// user's manager is that user's invention and only counts as a container.
    fn note_pod(&mut self, part: &str, previous: &str) {
        if self.pod.is_some() || self.manager.is_some() {
            return;
        }
        // `kubepods-burstable-pod1f2e….slice:cri-containerd:ID` joins both where the drivers of
        // kubelet and runtime disagree.
        let cgroupfs =
            ["burstable", "besteffort"].contains(&previous) || previous.ends_with("kubepods");
        let uid = match part.split_once(SLICE) {
            Some((slice, _)) if slice.contains("kubepods") => slice.rsplit_once("-pod"),
            None if cgroupfs => part.split_once("pod").filter(|(before, _)| before.is_empty()),
            _ => None,
        };
        let uid = uid.map(|(_, uid)| uid.replace('_', "-"));
        self.pod = uid.filter(|uid| {
            [32, 36].contains(&uid.len()) && uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        });
    }

    fn note_container(&mut self, part: &str, previous: &str) {
        let inside_pod = self.pod.is_some() && previous.contains("pod");
        if self.container.is_none() || inside_pod {
            self.container = container(part, previous).or_else(|| self.container.take());
        }
    }

    /// How little it tells: the line that tells most is believed.
    fn vagueness(&self) -> u8 {
        match self {
            Self { pod: Some(_), .. } => 0,
            Self { container: Some(_), .. } => 1,
            Self { unit: Some(_), manager: None, .. } => 2,
            Self { manager: Some(_), .. } => 3,
            _ => 4,
        }
    }
}

fn user_manager(part: &str) -> Option<u32> {
    part.strip_prefix("user@")?.strip_suffix(".service")?.parse().ok()
}

fn unit(part: &str, manager: Option<u32>) -> Option<String> {
    // systemd puts `_` before names that cgroupfs could take for its own files.
    let name = part.strip_prefix('_').unwrap_or(part);
    // A desktop starts every window as `app-….service`: a session's doing, not a service.
    if !name.ends_with(".service") || (manager.is_some() && name.starts_with("app-")) {
        return None;
    }
    Some(unescape(name))
}

fn container(part: &str, previous: &str) -> Option<Container> {
    if let Some(name) = part.strip_prefix("lxc.payload.") {
        return Some(Container::Name(name.to_owned()));
    }
    if previous == "lxc" || previous == "lxc.payload" {
        return Some(Container::Name(part.to_owned()));
    }
    let scope = part.strip_suffix(".scope");
    if let Some(machine) = scope.and_then(|scope| scope.strip_prefix("machine-")) {
        return Some(Container::Name(unescape(machine)));
    }
    // `docker-ID.scope`, `cri-containerd-ID.scope`, `libpod-ID`, `….slice:cri-containerd:ID`, `ID`.
    let (runtime, id) = match scope.unwrap_or(part).rsplit_once(['-', ':']) {
        Some((runtime, id)) => (runtime, id),
        None => ("", part),
    };
    // `conmon` watches over a container from outside.
    let is_id = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    (is_id && !runtime.ends_with("conmon")).then(|| Container::Id(id.to_ascii_lowercase()))
}

/// Undoes systemd's `\x2d` for every printable character but the path separator.
fn unescape(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find("\\x") {
        let byte = rest.get(at + 2..at + 4).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        text.push_str(&rest[..at]);
        let skip = match byte {
            Some(byte) if byte.is_ascii_graphic() && byte != b'/' => {
                text.push(char::from(byte));
                4
            }
            _ => {
                text.push_str("\\x");
                2
            }
        };
        rest = &rest[at + skip..];
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4c01db0b339c1d6b1d2e2f9b1c1a3b6e8d7f6a5b4c3d2e1f0a9b8c7d6e5f4a3b";
    const OTHER: &str = "aa01db0b339c1d6b1d2e2f9b1c1a3b6e8d7f6a5b4c3d2e1f0a9b8c7d6e5f4abb";
    const POD: &str = "1f2e3d4c-5b6a-7988-8796-a5b4c3d2e1f0";

    fn show(placement: &Placement) -> String {
        let mut words = Vec::new();
        if let Some(pod) = &placement.pod {
            words.push(format!("pod={pod}"));
        }
        match &placement.container {
            Some(Container::Id(id)) => words.push(format!("id={}", &id[..4])),
            Some(Container::Name(name)) => words.push(format!("name={name}")),
            None => {}
        }
        words.extend(placement.unit.as_ref().map(|unit| format!("unit={unit}")));
        words.extend(placement.manager.map(|uid| format!("manager={uid}")));
        words.join(" ")
    }

    fn path(path: &str) -> String {
        let path = path.replace("POD_", &POD.replace('-', "_")).replace("POD", POD);
        show(&Placement::of_path(&path.replace("OTHER", OTHER).replace("ID", ID)))
    }

    #[test]
    fn units_and_sessions() {
        for (given, expected) in [
            ("/", ""),
            ("", ""),
            ("/init.scope", ""),
            ("/system.slice/batch-agent.service", "unit=batch-agent.service"),
            ("/system.slice/batch-agent.service (deleted)", "unit=batch-agent.service"),
            ("/system.slice/system-getty.slice/getty@tty1.service", "unit=getty@tty1.service"),
            (r"/system.slice/my\x2dagent.service", "unit=my-agent.service"),
            (r"/system.slice/odd\x2fone\xzz\x.service", r"unit=odd\x2fone\xzz\x.service"),
            ("/system.slice/_cgroup.service", "unit=cgroup.service"),
            ("/agents.slice/agents-batch.slice/a.service/worker", "unit=a.service"),
            ("/../../system.slice/a.service", "unit=a.service"),
            ("/user.slice/user-1000.slice/session-3.scope", ""),
            ("/user.slice/user-1000.slice/user@1000.service/init.scope", "manager=1000"),
            ("/process_api/85cba0fdd8f1c0829dec74f5a05351ca", ""),
            ("/system.slice/run-u17.scope", ""),
        ] {
            assert_eq!(path(given), expected, "{given}");
        }
    }

    #[test]
    fn what_a_users_manager_names_stays_the_users() {
        let below = "/user.slice/user-1000.slice/user@1000.service";
        for (given, expected) in [
            ("/app.slice/x.service", "unit=x.service manager=1000"),
            ("/app.slice/app-agents.slice/x.service/sub", "unit=x.service manager=1000"),
            ("/system.slice/ssh.service", "unit=ssh.service manager=1000"),
            ("/user@0.service/system.slice/ssh.service", "unit=user@0.service manager=1000"),
            ("/app.slice/app-gnome-term-7.scope", "manager=1000"),
            (r"/app.slice/app-org.kde.konsole@b7e1.service/tab(7).scope", "manager=1000"),
            ("/user.slice/libpod-ID.scope/container", "id=4c01 manager=1000"),
            ("/docker-ID.scope", "id=4c01 manager=1000"),
            ("/kubepods/burstable/podPOD/ID", "id=4c01 manager=1000"),
            ("/app.slice/docker.service/OTHER", "id=aa01 unit=docker.service manager=1000"),
        ] {
            assert_eq!(path(&format!("{below}{given}")), expected, "{given}");
        }
        // Inside a service the word `user@` means nothing.
        assert_eq!(path("/system.slice/a.service/user@5.service/b.service"), "unit=a.service");
    }

    #[test]
    fn containers() {
        for (given, expected) in [
            ("/docker/ID", "id=4c01"),
            ("/docker/ID/init.scope", "id=4c01"),
            ("/system.slice/docker-ID.scope", "id=4c01"),
            ("/system.slice/docker-ID.scope/system.slice/inner.service", "id=4c01"),
            ("/docker/ID/docker/OTHER", "id=4c01"),
            ("/agents.slice/docker-ID.scope", "id=4c01"),
            ("/agents/ID", "id=4c01"),
            ("/system.slice/nerdctl-ID.scope", "id=4c01"),
            ("/default/ID", "id=4c01"),
            ("/machine.slice/libpod-ID.scope", "id=4c01"),
            ("/machine.slice/libpod-ID.scope/container", "id=4c01"),
            ("/machine.slice/machine-libpod_pod_OTHER.slice/libpod-ID.scope", "id=4c01"),
            ("/libpod_parent/libpod-ID", "id=4c01"),
            ("/system.slice/web.service/libpod-payload-ID", "id=4c01 unit=web.service"),
            ("/machine.slice/libpod-conmon-ID.scope", ""),
            ("/lxc/web", "name=web"),
            ("/lxc/web/init.scope", "name=web"),
            ("/lxc.payload.web/system.slice/x.service", "name=web"),
            ("/lxc.payload/web", "name=web"),
            ("/lxc.monitor.web", ""),
            (r"/machine.slice/machine-qemu\x2d1\x2dvm.scope", "name=qemu-1-vm"),
            (
                "/machine.slice/systemd-nspawn@box.service/payload",
                "unit=systemd-nspawn@box.service",
            ),
            ("/ecs/0123456789abcdef0123456789abcdef/ID", "id=4c01"),
        ] {
            assert_eq!(path(given), expected, "{given}");
        }
    }

    #[test]
    fn pods_of_both_drivers_and_all_runtimes() {
        let pod = format!("pod={POD} id=4c01");
        let systemd = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podPOD_.slice";
        for given in [
            "/kubepods/burstable/podPOD/ID".to_owned(),
            "/kubepods/podPOD/ID".to_owned(),
            "/kubepods/besteffort/podPOD/crio-ID".to_owned(),
            format!("{systemd}/cri-containerd-ID.scope"),
            format!("{systemd}/crio-ID.scope"),
            format!("{systemd}/crio-ID.scope/container"),
            format!("{systemd}/docker-ID.scope"),
            "/kubepods.slice/kubepods-podPOD_.slice/docker-ID.scope".to_owned(),
            "/docker/OTHER/kubelet/kubepods/burstable/podPOD/ID".to_owned(),
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podPOD_.slice/cri-containerd-ID.scope"
                .to_owned(),
        ] {
            assert_eq!(path(&given), pod, "{given}");
        }
        assert_eq!(
            path(
                "/system.slice/containerd.service/kubepods-burstable-podPOD_.slice:cri-containerd:ID"
            ),
            format!("{pod} unit=containerd.service")
        );
        assert_eq!(path(&format!("{systemd}/crio-conmon-ID.scope")), format!("pod={POD}"));
        assert_eq!(path("/kubepods/burstable/podPOD"), format!("pod={POD}"));
        let mirror = "0123456789abcdef0123456789abcdef";
        assert_eq!(path(&format!("/kubepods/pod{mirror}/ID")), format!("pod={mirror} id=4c01"));
        assert_eq!(path("/system.slice/podman.service"), "unit=podman.service");
        assert_eq!(path("/system.slice/podPOD"), "", "a pod stands below kubepods");
    }

    #[test]
    fn every_line_is_read_and_the_best_believed() {
        let lines = |text: &str| show(&Placement::of_lines(&text.replace("ID", ID)));
        for (given, expected) in [
            ("0::/system.slice/a.service\n", "unit=a.service"),
            // Hybrid: the unified tree is empty, systemd's own has the path.
            ("9:name=systemd:/system.slice/a.service\n4:memory:/x/y\n0::/\n", "unit=a.service"),
            ("12:cpu,cpuacct:/\n1:name=systemd:/user.slice/user-5.slice/session-1.scope\n0::/", ""),
            // Version 1 with a container only in the resource trees.
            ("11:memory:/docker/ID\n1:name=systemd:/\n", "id=4c01"),
            ("3:cpu:/docker/ID\n1:name=systemd:/system.slice/docker.service\n0::/", "id=4c01"),
            // A path may hold colons.
            ("0::/system.slice/a:b.service\n", "unit=a:b.service"),
            (
                "1:name=systemd:/user.slice/user-5.slice/user@5.service/app.slice/b.service\n\
              4:memory:/system.slice/a.service\n0::/",
                "unit=a.service",
            ),
            ("garbage\n\n7:\n", ""),
            ("", ""),
        ] {
            assert_eq!(lines(given), expected, "{given}");
        }
    }
}
