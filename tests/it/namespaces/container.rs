//! A container as runtimes make them: a cgroup that names it, a network namespace, and a cable to
//! the stage.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use agent::demo::stage::Cgroup;
use anyhow::{Context, ensure};
use harness::{Output, Route, Stage, until};
use serde_json::Value;

/// Its address on the cable.
pub(super) const OWN4: &str = "198.51.100.2";
pub(super) const OWN6: &str = "2001:db8:1::2";

/// How far its network goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Network {
    /// To the providers.
    Routed,
    /// To the first provider alone, over IPv4.
    OneProvider,
    /// To the providers, over IPv4 and IPv6, but without `::1`.
    WithoutLocalhost6,
    /// Nowhere beyond its loopback.
    Nowhere,
}

/// A container; dropped, its processes end and it goes.
pub(super) struct Container {
    /// Whoever lives there as long as it does.
    pub(super) pid: u32,
    // Its processes end before their cgroup goes.
    cgroup: Cgroup,
}

impl Container {
    /// Starts one of this name.
    pub(super) async fn start(stage: &Stage, name: &str, network: Network) -> anyhow::Result<Self> {
        let cgroup = stage.inner().cgroup().child(&format!("lxc.payload.{name}"))?;
        let mut holder = cgroup.command("unshare");
        let holder = holder.args(["--net", "sleep", "600"]).stdout(Stdio::null()).spawn()?;
        let this = Self { pid: holder.id(), cgroup };
        let ours = std::fs::read_link("/proc/thread-self/ns/net")?;
        until("a network namespace", async || {
            let its = std::fs::read_link(format!("/proc/{}/ns/net", this.pid))?;
            Ok((its != ours).then_some(()))
        })
        .await?;
        this.lay(network)?;
        Ok(this)
    }

    /// Another container in the same network namespace, as the others of a pod are.
    pub(super) fn beside(&self, stage: &Stage, name: &str) -> anyhow::Result<Self> {
        let cgroup = stage.inner().cgroup().child(&format!("lxc.payload.{name}"))?;
        let mut holder = cgroup.command("nsenter");
        let holder = holder.args([&self.net(), "sleep", "600"]).stdout(Stdio::null()).spawn()?;
        Ok(Self { pid: holder.id(), cgroup })
    }

    fn net(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.pid)
    }

    fn lay(&self, network: Network) -> anyhow::Result<()> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut inside = "link set lo up\n".to_owned();
        if network != Network::Nowhere {
            let cable = format!("weir{}", NEXT.fetch_add(1, Ordering::Relaxed));
            batch(
                Command::new("ip"),
                &format!(
                    "link add {cable} type veth peer name eth0 netns {}\n\
                 link set {cable} up\n\
                 addr add 198.51.100.1/24 dev {cable}\n\
                 addr add 2001:db8:1::1/64 dev {cable} nodad\n",
                    self.pid,
                ),
            )?;
            let own = format!("link set eth0 up\naddr add {OWN4}/24 dev eth0\n");
            let beyond = match network {
                Network::OneProvider => "route add 192.0.2.10/32 via 198.51.100.1\n".to_owned(),
                _ => format!(
                    "addr add {OWN6}/64 dev eth0 nodad\n\
                     route add 192.0.2.0/24 via 198.51.100.1\n\
                     route add 2001:db8::/64 via 2001:db8:1::1\n",
                ),
            };
            inside.push_str(&own);
            inside.push_str(&beyond);
        }
        let mut ip = Command::new("nsenter");
        ip.args([&self.net(), "ip"]);
        batch(ip, &inside)?;
        if network == Network::WithoutLocalhost6 {
            let off = "echo 1 > /proc/sys/net/ipv6/conf/lo/disable_ipv6";
            let done = Command::new("nsenter").args([&self.net(), "sh", "-c", off]).status()?;
            ensure!(done.success(), "IPv6 stays on the loopback interface");
        }
        Ok(())
    }

    /// The words of a command that runs inside.
    pub(super) fn inside<'a>(&'a self, words: &[&'a str]) -> Vec<String> {
        let join = "echo $$ >\"$0/cgroup.procs\" && exec \"$@\"";
        let cgroup = self.cgroup.path().to_string_lossy().into_owned();
        let mut command = ["sh", "-c", join].map(str::to_owned).to_vec();
        command.extend([cgroup, "nsenter".to_owned(), self.net()]);
        command.extend(words.iter().map(|word| (*word).to_owned()));
        command
    }

    /// Runs a program inside to its end.
    pub(super) async fn run(&self, stage: &Stage, words: &[&str]) -> anyhow::Result<Output> {
        let words = self.inside(words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        stage.run(Route::Direct, &words).await
    }

    /// Runs one that has to succeed.
    pub(super) async fn succeed(&self, stage: &Stage, words: &[&str]) -> anyhow::Result<Output> {
        let output = self.run(stage, words).await?;
        ensure!(output.code == Some(0), "{words:?}: {output:?}");
        Ok(output)
    }

    /// Whether somebody listens on a loopback port inside.
    pub(super) async fn listens(&self, stage: &Stage) -> anyhow::Result<bool> {
        let table = self.succeed(stage, &["cat", "/proc/net/tcp", "/proc/net/tcp6"]).await?;
        // State 0A is LISTEN.
        Ok(table.stdout.lines().any(|line| line.split_whitespace().nth(3) == Some("0A")))
    }
}

fn batch(mut ip: Command, lines: &str) -> anyhow::Result<()> {
    let mut ip = ip.args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
    ip.stdin.take().context("stdin")?.write_all(lines.as_bytes())?;
    ensure!(ip.wait()?.success(), "the network could not be laid: {lines}");
    Ok(())
}

/// Waits until so many namespaces are armed.
pub(super) async fn armed(stage: &Stage, number: u64) -> anyhow::Result<()> {
    until("so many armed namespaces", async || {
        let armed = stage.metric::<u64>("weir_namespaces_armed", "").await?;
        Ok((armed == number).then_some(()))
    })
    .await
}

/// Whether an answer (with its head) came without the agent.
pub(super) fn is_direct(output: &Output) -> bool {
    !output.stdout.to_ascii_lowercase().contains("\nx-weir-call-id: ")
}

/// Where the provider's last request came from.
pub(super) fn last_peer(stage: &Stage) -> Option<String> {
    let seen = stage.provider().seen();
    Some(seen.last()?.peer?.ip().to_canonical().to_string())
}

/// The one connection `weir ps` knows of a process.
pub(super) fn connection(process: &Value) -> (&str, &str, &str) {
    let connection = &process["connections"][0];
    let word = |key: &str| connection[key].as_str().unwrap_or_default();
    (word("provider"), word("treatment"), word("reason"))
}
