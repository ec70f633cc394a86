//! A stage for tests: provider, daemon and clients in namespaces of their own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use agent::demo::daemon::{Config, Daemon};
use agent::demo::mock::Control;
use agent::demo::stage;
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use crate::artefacts;
use crate::provider::Provider;

/// Addresses from documentation ranges: on loopback, yet not loopback addresses, so the kernel
/// half treats them as it treats the real ones.
const PROVIDERS: [(&str, [&str; 2]); 3] = [
    ("api.openai.com", ["192.0.2.10", "2001:db8::10"]),
    ("api.anthropic.com", ["192.0.2.11", "2001:db8::11"]),
    ("generativelanguage.googleapis.com", ["192.0.2.12", "2001:db8::12"]),
];
/// A host that is no provider's, and what it resolves to: nobody listens there unless a test does.
pub const BYSTANDER: (&str, IpAddr) =
    ("bystander.example", IpAddr::V4(Ipv4Addr::new(192, 0, 2, 20)));
/// The namespace is ours alone, so the fixed default ports are free.
const PORTS: [u16; 2] = [4180, 4181];

/// Plays a test on a stage of its own, in a thread of its own, and reports its failure.
///
/// Where stages cannot be set (no root, no cgroup2) the test is skipped and says so, unless
/// `WEIR_REQUIRE_KERNEL=1`.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn on_stage<F>(play: F) -> anyhow::Result<()>
where
    F: AsyncFnOnce(&mut Stage) -> anyhow::Result<()> + Send + 'static,
{
    if !rustix::process::geteuid().is_root() && !artefacts::is_required() {
        eprintln!("skipped: needs root for namespaces and cgroups");
        return Ok(());
    }
    // The namespaces are the thread's: a runtime of one thread keeps everything inside.
    let played = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut stage = Stage::set().await?;
            let played = play(&mut stage).await;
            let told = stage.daemon.as_ref().map(Daemon::log_tail);
            stage.strike().await;
            played
                .with_context(|| format!("the daemon's last words:\n{}", told.unwrap_or_default()))
        })
    });
    match played.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The stage, with a provider on it from the start and a daemon once it is started.
#[derive(Debug)]
pub struct Stage {
    daemon: Option<Daemon>,
    provider: Provider,
    inner: stage::Stage,
}

impl Stage {
    async fn set() -> anyhow::Result<Self> {
        let mut places = Vec::new();
        for (name, addresses) in PROVIDERS {
            places.push((
                name,
                addresses.map(str::parse).into_iter().collect::<Result<Vec<_>, _>>()?,
            ));
        }
        let listen: Vec<SocketAddr> = places
            .iter()
            .flat_map(|(_, addresses)| addresses.iter().map(|&ip| SocketAddr::new(ip, 443)))
            .collect();
        places.push((BYSTANDER.0, vec![BYSTANDER.1]));
        let hosts: Vec<_> =
            places.iter().map(|(name, addresses)| stage::Host { name, addresses }).collect();
        let inner = stage::Stage::set("weir-test", &hosts)?;
        let provider = Provider::listening(listen).await?;
        inner.trust(&[provider.ca_pem()])?;
        std::fs::write(inner.scratch().join("provider-ca.pem"), provider.ca_pem())?;
        Ok(Self { daemon: None, provider, inner })
    }

    /// The standard settings: everything metered, hooks on the stage's cgroup.
    pub fn config(&self) -> Config {
        Config::new(&self.inner.scratch().join("provider-ca.pem"), PORTS)
            .capturing(self.inner.cgroup().path())
    }

    /// Starts the daemon and makes the stage's clients trust its CA.
    pub async fn start(&mut self, config: &Config) -> anyhow::Result<()> {
        self.start_by(&artefacts::weir()?, config).await
    }

    /// The same by way of `program`, which ends in running `weir`.
    pub async fn start_by(&mut self, program: &Path, config: &Config) -> anyhow::Result<()> {
        self.launch(program, config).await?;
        let root = std::fs::read_to_string(self.daemon()?.root()).context("the daemon's root")?;
        self.inner.trust(&[&root])?;
        Ok(())
    }

    /// Starts the daemon; the stage's clients do not get to know its CA. After an earlier one it
    /// takes over that one's files.
    pub async fn start_untrusted(&mut self, config: &Config) -> anyhow::Result<()> {
        self.launch(&artefacts::weir()?, config).await
    }

    async fn launch(&mut self, program: &Path, config: &Config) -> anyhow::Result<()> {
        self.daemon = Some(Daemon::start(program, &self.home(), config).await?);
        Ok(())
    }

    /// Where the daemon's files are.
    pub fn home(&self) -> PathBuf {
        self.inner.scratch().join("weir")
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.daemon()?.pid().context("the daemon runs")?;
        let pid = Pid::from_raw(i32::try_from(pid)?).context("a process id is not 0")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Lets the daemon drain, and returns its exit code.
    pub async fn stop(&mut self) -> anyhow::Result<Option<i32>> {
        let daemon = self.daemon.take().context("the daemon was not started")?;
        Ok(daemon.stop().await)
    }

    /// Kills the daemon as a crash would.
    pub async fn crash(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().await;
        }
    }

    /// The daemon, once started.
    pub fn daemon(&self) -> anyhow::Result<&Daemon> {
        self.daemon.as_ref().context("the daemon was not started")
    }

    /// The provider's scripts and counts.
    pub fn provider(&self) -> &Control {
        self.provider.control()
    }

    /// A directory for the test's files.
    pub fn scratch(&self) -> &Path {
        self.inner.scratch()
    }

    /// The namespaces, the cgroup.
    pub fn inner(&self) -> &stage::Stage {
        &self.inner
    }

    async fn strike(self) {
        if let Some(daemon) = self.daemon {
            daemon.stop().await;
        }
    }
}
