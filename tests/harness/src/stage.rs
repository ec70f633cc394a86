//! A stage for tests: provider, daemon and clients in namespaces of their own.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use agent::demo::daemon::{Config, Daemon};
use agent::demo::mock::Control;
use agent::demo::stage;
use anyhow::Context;
use serde_json::Value;

use crate::artefacts;
use crate::provider::Provider;

/// Addresses from documentation ranges: on loopback, yet not loopback addresses, so the kernel
/// half treats them as it treats the real ones.
const PROVIDER: [&str; 2] = ["192.0.2.10", "2001:db8::10"];
const NAMES: [&str; 2] = ["api.openai.com", "api.anthropic.com"];
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
        let addresses: Vec<IpAddr> =
            PROVIDER.iter().map(|address| address.parse()).collect::<Result<_, _>>()?;
        let hosts = NAMES.map(|name| stage::Host { name, addresses: &addresses });
        let inner = stage::Stage::set("weir-test", &hosts)?;
        let listen = addresses.iter().map(|&ip| SocketAddr::new(ip, 443)).collect();
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
        let home = self.inner.scratch().join("weir");
        let daemon = Daemon::start(&artefacts::weir()?, &home, config).await?;
        let root = std::fs::read_to_string(daemon.root()).context("the daemon's root")?;
        self.inner.trust(&[&root])?;
        self.daemon = Some(daemon);
        Ok(())
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

    /// The rows of `weir spend --by …`.
    pub async fn spend(&self, by: &str) -> anyhow::Result<Vec<Value>> {
        rows(self.daemon()?.read(&["spend", "--by", by]).await?)
    }

    /// The rows of `/api/calls`, in the order they began.
    pub async fn calls(&self) -> anyhow::Result<Vec<Value>> {
        let (status, body) = self.daemon()?.admin("/api/calls?last=1000").await?;
        anyhow::ensure!(status == 200, "{status}: {body}");
        let mut calls = rows(serde_json::from_str(&body)?)?;
        // Call ids sort by time.
        calls.sort_by_key(|call| call["call_id"].as_str().map(str::to_owned));
        Ok(calls)
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        Ok(self.daemon()?.admin("/metrics").await?.1)
    }

    async fn strike(self) {
        if let Some(daemon) = self.daemon {
            daemon.stop().await;
        }
    }
}

fn rows(mut answer: Value) -> anyhow::Result<Vec<Value>> {
    match answer["rows"].take() {
        Value::Array(rows) => Ok(rows),
        other => anyhow::bail!("no rows in the answer but {other}"),
    }
}
