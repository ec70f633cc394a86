//! What is done to an agent while its clients connect.

use std::cell::Cell;
use std::time::Duration;

use agent::demo::daemon::{Config, Daemon};
use agent::demo::stage::Stage;
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::dial::now;
use crate::rig::{Rig, weir};

/// From then on the programs take an agent without a sign of life for dead, and a bit.
const HEARTBEAT_MS: u64 = 3_400;
/// How long it hangs: longer than that.
const HANGS: Duration = Duration::from_millis(4_500);
/// How long it is down, and how long there is peace between two upsets.
const DOWN: Duration = Duration::from_millis(700);
const PEACE_MS: std::ops::Range<u64> = 1_000..4_000;
/// Before the end, so that what was upset has come round again.
pub(crate) const QUIET: Duration = Duration::from_secs(12);
/// Network namespaces that come and go at once, and what is done in each: the provider's address is
/// there, nobody listens, and connections to it are tried for a while.
const NAMESPACES: usize = 3;
const VISIT: &str = "ip link set lo up && ip addr add 192.0.2.10/32 dev lo
for _ in 1 2 3 4 5 6; do timeout 2 bash -c '</dev/tcp/192.0.2.10/443'; sleep 0.3; done 2>/dev/null
true";

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// The agent is killed, and started again.
    Kill,
    /// It is stopped for longer than the programs wait, and goes on.
    Hang,
    /// Its helper process is killed.
    Helper,
    /// `weir down`, `weir up`.
    Switch,
    /// Network namespaces are made, used and removed.
    Namespaces,
}

const ALL: [Kind; 5] = [Kind::Kill, Kind::Hang, Kind::Helper, Kind::Switch, Kind::Namespaces];

impl Kind {
    /// The word for it in reports.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill -9 of the agent",
            Self::Hang => "stop and go on",
            Self::Helper => "kill -9 of the helper",
            Self::Switch => "down and up",
            Self::Namespaces => "network namespaces",
        }
    }
}

/// What was done, from when to when it may cost the connections that are in flight, in milliseconds
/// since boot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upset {
    pub(crate) kind: Kind,
    pub(crate) costs: Option<(u64, u64)>,
}

/// The agent that is upset.
pub(crate) struct Victim<'a> {
    stage: &'a Stage,
    config: Config,
    daemon: Option<Daemon>,
    /// Its process and when that was started, for those who watch it.
    pub(crate) process: &'a Cell<Option<(u32, u64)>>,
    pub(crate) upsets: Vec<Upset>,
    /// What was not as it should be.
    pub(crate) complaints: Vec<String>,
    names: usize,
}

impl<'a> Victim<'a> {
    /// Starts the agent, with metered containers.
    pub(crate) async fn start(
        rig: &'a Rig,
        process: &'a Cell<Option<(u32, u64)>>,
    ) -> anyhow::Result<Self> {
        let config = Config::new(&rig.pki.ca, [4180, 4181])
            .capturing(rig.stage.cgroup().path())
            .with(&["containers", "default"], "meter".into());
        let mut this = Self {
            stage: &rig.stage,
            config,
            daemon: None,
            process,
            upsets: Vec::new(),
            complaints: Vec::new(),
            names: 0,
        };
        this.restart().await?;
        Ok(this)
    }

    pub(crate) fn daemon(&self) -> anyhow::Result<&Daemon> {
        self.daemon.as_ref().context("the agent does not run")
    }

    /// Upsets it at random until then, and leaves it running.
    pub(crate) async fn upset(&mut self, random: &mut fastrand::Rng, until: Instant) {
        // Each of them comes first once, in some order, or a short run would do without some.
        let mut order = ALL.to_vec();
        random.shuffle(&mut order);
        while Instant::now() < until {
            let kind = order.pop().or_else(|| random.choice(ALL)).unwrap_or(Kind::Kill);
            if let Err(error) = self.one(kind).await {
                self.complaints.push(format!("{}: {error:#}", kind.word()));
            }
            sleep(Duration::from_millis(random.u64(PEACE_MS))).await;
        }
        if self.daemon.is_none()
            && let Err(error) = self.restart().await
        {
            self.complaints.push(format!("at the end: {error:#}"));
        }
    }

    async fn one(&mut self, kind: Kind) -> anyhow::Result<()> {
        if self.daemon.is_none() {
            self.restart().await?;
        }
        let costs = match kind {
            Kind::Kill => Some(self.kill().await?),
            Kind::Hang => Some(self.hang().await?),
            Kind::Helper => Some(self.kill_helper().await?),
            Kind::Switch => {
                self.switch().await?;
                None
            }
            Kind::Namespaces => {
                self.visit().await?;
                None
            }
        };
        self.upsets.push(Upset { kind, costs });
        if kind == Kind::Kill {
            self.restart().await?;
        }
        Ok(())
    }

    async fn kill(&mut self) -> anyhow::Result<(u64, u64)> {
        let mut daemon = self.daemon.take().context("the agent does not run")?;
        self.process.set(None);
        let from = now();
        daemon.kill().await;
        Ok((from, now()))
    }

    async fn restart(&mut self) -> anyhow::Result<()> {
        let home = self.stage.scratch().join("weir");
        let daemon = Daemon::start(&weir()?, &home, &self.config).await?;
        self.process.set(daemon.pid().map(|pid| (pid, now())));
        self.daemon = Some(daemon);
        Ok(())
    }

    async fn hang(&self) -> anyhow::Result<(u64, u64)> {
        let pid = self.daemon()?.pid().context("the agent has ended")?;
        let from = now();
        signal(pid, Signal::STOP)?;
        sleep(HANGS).await;
        signal(pid, Signal::CONT)?;
        Ok((from, from + HEARTBEAT_MS))
    }

    /// Kills it, and waits for the next one.
    async fn kill_helper(&self) -> anyhow::Result<(u64, u64)> {
        let daemon = self.daemon()?.pid().context("the agent has ended")?;
        let helper = helper(daemon).context("no helper process")?;
        let from = now();
        signal(helper, Signal::KILL)?;
        let next = async {
            while self::helper(daemon).is_none_or(|next| next == helper) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(10), next).await;
        waited.context("there is no other helper process")?;
        Ok((from, from + 100))
    }

    async fn switch(&self) -> anyhow::Result<()> {
        for word in ["down", "up"] {
            let output = self.daemon()?.weir(&[word]).output().await?;
            let complaint = String::from_utf8_lossy(&output.stderr);
            anyhow::ensure!(output.status.success(), "weir {word}: {complaint}");
            sleep(DOWN).await;
        }
        Ok(())
    }

    async fn visit(&mut self) -> anyhow::Result<()> {
        let mut visits = Vec::new();
        for _ in 0..NAMESPACES {
            self.names += 1;
            let cgroup = self.stage.cgroup().child(&format!("lxc.payload.chaos{}", self.names))?;
            let mut command = Command::from(cgroup.command("unshare"));
            command.args(["--net", "sh", "-c", VISIT]).kill_on_drop(true);
            let child = command.stderr(std::process::Stdio::null()).spawn()?;
            visits.push((child, cgroup));
        }
        for (mut child, _cgroup) in visits {
            let ended = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
            let status = ended.context("a namespace's visitor hangs")??;
            anyhow::ensure!(status.success(), "a namespace's visitor: {status}");
        }
        Ok(())
    }

    /// Stops the agent in order.
    pub(crate) async fn stop(mut self) -> (Vec<Upset>, Vec<String>) {
        if let Some(daemon) = self.daemon.take()
            && daemon.stop().await != Some(0)
        {
            self.complaints.push("it did not stop in order".to_owned());
        }
        (self.upsets, self.complaints)
    }
}

fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("a process id is not 0")?;
    Ok(kill_process(pid, signal)?)
}

/// The helper process of a daemon: its keeper's child.
fn helper(daemon: u32) -> Option<u32> {
    child(child(daemon)?)
}

fn child(of: u32) -> Option<u32> {
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        (parent.trim().parse() == Ok(of)).then_some(pid)
    })
}
