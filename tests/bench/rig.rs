//! The rig: a stage whose network is set for measuring, and processes that are pinned to a core
//! and charged to a cgroup of their own.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use agent::demo::stage::{Cgroup, Host, Stage};
use anyhow::{Context, bail};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::process::{Child, Command};

use crate::pki::{NAME, Pki};

/// The generator's core, shared with the provider when there is a proxy between them.
pub(crate) const FRONT: usize = 0;
/// The core of what is measured.
pub(crate) const BACK: usize = 1;

/// The provider, at an address that is local and yet no loopback address.
pub(crate) const PROVIDER: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)), 443);

/// Ephemeral ports above every listener, or sockets in TIME-WAIT take a listener's port; and the
/// plain congestion control, as pacing timers have no place on a loopback.
const SETTINGS: [(&str, &str); 5] = [
    ("ipv4/ip_local_port_range", "20000 65535"),
    ("ipv4/tcp_tw_reuse", "1"),
    ("core/somaxconn", "8192"),
    ("ipv4/tcp_max_syn_backlog", "8192"),
    ("ipv4/tcp_congestion_control", "reno"),
];

/// The rig, with a provider that serves.
#[derive(Debug)]
pub(crate) struct Rig {
    upstream: Charged,
    pub(crate) pki: Pki,
    pub(crate) stage: Stage,
}

/// A process and the cgroup it is charged to. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Charged {
    child: Child,
    pub(crate) cgroup: Cgroup,
}

impl Rig {
    /// Sets everything up. Must run in a thread of its own, as a stage must.
    pub(crate) async fn set() -> anyhow::Result<Self> {
        // A container may not raise the hard limit; what it leaves must do.
        let files = getrlimit(Resource::Nofile);
        let files = Rlimit { current: files.maximum, maximum: files.maximum };
        setrlimit(Resource::Nofile, files).context("raise the limit of open files")?;
        let addresses = [PROVIDER.ip()];
        let stage = Stage::set("weir-bench", &[Host { name: NAME, addresses: &addresses }])?;
        for (key, value) in SETTINGS {
            let path = format!("/proc/sys/net/{key}");
            // The congestion control may not be there; the others are.
            if let Err(error) = fs::write(&path, value) {
                println!("note: {path}: {error}");
            }
        }
        let pki = Pki::make(stage.scratch())?;
        let own = own()?;
        let mut command = vec![own.as_str(), "upstream"];
        let listen = PROVIDER.to_string();
        let [certificate, key] =
            [&pki.certificate, &pki.key].map(|path| path.display().to_string());
        command.extend(["--listen", &listen, "--certificate", &certificate, "--key", &key]);
        let upstream = Charged::start("weir-bench-upstream", FRONT, &command, stage.scratch())?;
        answers(PROVIDER).await?;
        Ok(Self { upstream, pki, stage })
    }

    /// Moves the provider to a core.
    pub(crate) fn pin_upstream(&self, core: usize) -> anyhow::Result<()> {
        pin(self.upstream.pid()?, core)
    }

    /// The provider's cgroup: what a direct call is charged to.
    pub(crate) fn upstream(&self) -> &Cgroup {
        &self.upstream.cgroup
    }

    /// Runs the generator (or another of our own commands) on its core, and returns what it
    /// printed. `captured` puts it where the kernel half looks.
    pub(crate) async fn front(&self, captured: bool, command: &[String]) -> anyhow::Result<String> {
        let own = own()?;
        let child = if captured {
            self.stage.cgroup().command("taskset")
        } else {
            std::process::Command::new("taskset")
        };
        let mut child = Command::from(child);
        child.args(["-c", &FRONT.to_string(), &own]).args(command).kill_on_drop(true);
        let output = child.stderr(Stdio::inherit()).output().await.context("run the generator")?;
        if !output.status.success() {
            bail!("{command:?} ended with {}", output.status);
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Charged {
    /// Starts a command on a core, charged to a new cgroup outside the captured one.
    pub(crate) fn start(
        name: &str,
        core: usize,
        command: &[&str],
        logs: &Path,
    ) -> anyhow::Result<Self> {
        let cgroup = Cgroup::create(name)?;
        let mut child = Command::from(cgroup.command("taskset"));
        let log = fs::File::create(logs.join(format!("{name}.log")))?;
        child
            .args(["-c", &core.to_string()])
            .args(command)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        let child = child.spawn().with_context(|| format!("start {command:?}"))?;
        Ok(Self { child, cgroup })
    }

    fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the process has ended")
    }
}

/// Our own program, for child processes.
pub(crate) fn own() -> anyhow::Result<String> {
    Ok(std::env::current_exe()?.display().to_string())
}

/// Pins every thread of a process.
pub(crate) fn pin(pid: u32, core: usize) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let id = task?.file_name().to_string_lossy().parse::<i32>()?;
        sched_setaffinity(Pid::from_raw(id), &cores)?;
    }
    Ok(())
}

/// Starts a process where it knows of one core only, as a host of that size would have it.
pub(crate) async fn on_core<T>(core: usize, start: impl Future<Output = T>) -> anyhow::Result<T> {
    let before = sched_getaffinity(None)?;
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores)?;
    let started = start.await;
    sched_setaffinity(None, &before)?;
    Ok(started)
}

/// Waits until something listens.
pub(crate) async fn answers(address: SocketAddr) -> anyhow::Result<()> {
    let tries = async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), tries)
        .await
        .with_context(|| format!("nothing listens on {address}"))
}

/// CPU time a cgroup has used, user and system, softirq work it caused included.
pub(crate) fn cpu_micros(cgroup: &Path) -> anyhow::Result<u64> {
    let stat = fs::read_to_string(cgroup.join("cpu.stat"))?;
    let used = stat.lines().find_map(|line| line.strip_prefix("usage_usec "));
    Ok(used.context("no usage_usec in cpu.stat")?.trim().parse()?)
}

/// Resident memory of a cgroup's processes, MiB.
pub(crate) fn rss_mib(cgroup: &Cgroup) -> f64 {
    let of = |pid: u32| -> Option<f64> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib / 1024.0)
    };
    cgroup.processes().into_iter().filter_map(of).sum()
}

/// Where the release build of `weir` is: beside this program.
pub(crate) fn weir() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("weir");
    anyhow::ensure!(path.is_file(), "{} is missing: run `cargo xtask bench`", path.display());
    Ok(path)
}
