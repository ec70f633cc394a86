//! The daemon as a child process, run as its users run it: a file of settings, a state and a run
//! directory, and reads through the command line.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// How long a start may take before it counts as failed: a debug build makes its keys and loads
/// its programs in less than a second, a loaded machine needs more.
const START: Duration = Duration::from_secs(20);
/// How long it may take to drain before it is killed.
const STOP: Duration = Duration::from_secs(10);
/// How often readiness is asked for.
const ASK: Duration = Duration::from_millis(20);

/// As its unit has it: a call makes and frees a hundred pieces of memory, more of a size than a
/// thread keeps at hand by default.
const ALLOCATOR: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.tcache_count=127");

/// Why the daemon does not run or answer.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// It could not be prepared, started or reached.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It ended or hung before it was ready; its last words follow.
    #[error("the daemon did not become ready:\n{log}")]
    NotReady {
        /// The end of its log.
        log: String,
    },
    /// A command failed.
    #[error("`weir {command}` failed: {stderr}")]
    Command {
        /// The arguments.
        command: String,
        /// What it said.
        stderr: String,
    },
    /// A command's output is not the JSON that was asked for.
    #[error("`weir {command}` printed something else than JSON: {source}")]
    Json {
        /// The arguments.
        command: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

fn io(doing: &'static str) -> impl FnOnce(io::Error) -> DaemonError {
    move |source| DaemonError::Io { doing, source }
}

/// A configuration that meters the mocked providers. YAML is a superset of JSON, so it is
/// built and written as JSON.
#[derive(Debug, Clone)]
pub struct Config(Value);

impl Config {
    /// Meters with everything on. `ca_file` vouches for the providers, `ports` are those of the
    /// explicit proxy and the admin listener.
    pub fn new(ca_file: &Path, [proxy, admin]: [u16; 2]) -> Self {
        let provider = |host: &str| json!({"hosts": [host], "ca_file": ca_file});
        Self(json!({
            "mode": "meter",
            "trust": {"assume": true},
            "listen": {
                "proxy": format!("127.0.0.1:{proxy}"),
                "admin": format!("127.0.0.1:{admin}"),
            },
            "providers": {
                "openai": provider("api.openai.com"),
                "anthropic": provider("api.anthropic.com"),
                "gemini": provider("generativelanguage.googleapis.com"),
            },
        }))
    }

    /// Captures the processes of a cgroup.
    #[must_use]
    pub fn capturing(mut self, cgroup: &Path) -> Self {
        self.0["capture"]["cgroup"] = json!(cgroup);
        self
    }

    /// Sends what comes by base URL to `base` instead of the providers' own hosts. As in the
    /// SDKs, OpenAI's base has the version in it and Anthropic's has not.
    #[must_use]
    pub fn rerouted(mut self, base: &str) -> Self {
        self.0["providers"]["openai"]["base_url"] = json!(format!("{base}/v1"));
        self.0["providers"]["anthropic"]["base_url"] = json!(base);
        self
    }

    /// Sets anything else, by its path: `["budgets", "nightly"]`.
    #[must_use]
    pub fn with(mut self, path: &[&str], value: Value) -> Self {
        *path.iter().fold(&mut self.0, |at, key| &mut at[*key]) = value;
        self
    }
}

/// A running daemon. Dropped, it is killed; [`Daemon::stop`] lets it drain.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    program: PathBuf,
    home: PathBuf,
}

impl Daemon {
    /// Starts `program daemon` with all its files in `home`, and waits until it is ready.
    /// Files of an earlier run are taken over.
    pub async fn start(program: &Path, home: &Path, config: &Config) -> Result<Self, DaemonError> {
        for part in ["state", "run"] {
            std::fs::create_dir_all(home.join(part)).map_err(io("make a directory"))?;
        }
        std::fs::write(home.join("weir.yaml"), format!("{:#}\n", config.0))
            .map_err(io("write the settings"))?;
        let log = std::fs::File::create(home.join("daemon.log")).map_err(io("make the log"))?;
        let mut command = command(program, home, &["daemon"]);
        command
            .env(ALLOCATOR.0, ALLOCATOR.1)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(io("make the log"))?)
            .stderr(log)
            // Ctrl-C ends the whole foreground group: the daemon is to go last, and drained.
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(io("start the daemon"))?;
        let mut daemon = Self { child, program: program.to_owned(), home: home.to_owned() };
        match timeout(START, daemon.ready()).await {
            Ok(true) => Ok(daemon),
            Ok(false) | Err(_) => Err(DaemonError::NotReady { log: daemon.log_tail() }),
        }
    }

    /// Waits until it says it is ready; `false` if it ends before.
    async fn ready(&mut self) -> bool {
        loop {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return false;
            }
            if matches!(self.admin("/readyz").await, Ok((200, _))) {
                return true;
            }
            sleep(ASK).await;
        }
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Where its files are.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The public root of its CA.
    pub fn root(&self) -> PathBuf {
        self.home.join("state/weir-ca.pem")
    }

    /// The end of its log, for error messages.
    pub fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.home.join("daemon.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// A `weir` command that talks to this daemon.
    pub fn weir(&self, arguments: &[&str]) -> Command {
        command(&self.program, &self.home, arguments)
    }

    /// Runs a read command with `--json` and returns what it printed. Exit code 10 (degraded) is
    /// an answer too.
    pub async fn read(&self, arguments: &[&str]) -> Result<Value, DaemonError> {
        let command = format!("{} --json", arguments.join(" "));
        let mut weir = self.weir(arguments);
        let output = weir.arg("--json").output().await.map_err(io("run weir"))?;
        if !matches!(output.status.code(), Some(0 | 10)) {
            let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(DaemonError::Command { command, stderr });
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|source| DaemonError::Json { command, source })
    }

    /// Asks its admin socket, and returns status and body.
    pub async fn admin(&self, path: &str) -> Result<(u16, String), DaemonError> {
        let socket = self.home.join("run/weir.sock");
        fetch(&socket, path).await.map_err(io("reach the admin socket"))
    }

    /// Tells it to drain, waits, and kills it if it takes too long. Returns its exit code.
    pub async fn stop(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        let Ok(ended) = timeout(STOP, self.child.wait()).await else {
            self.kill().await;
            return None;
        };
        ended.ok().and_then(|status| status.code())
    }

    /// Kills it as a crash would, and reaps it.
    pub async fn kill(&mut self) {
        // It may be gone already: then there is nothing to kill.
        self.child.kill().await.ok();
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // The child is not reaped yet, so the id is still its own.
            kill_process(pid, signal).ok();
        }
    }
}

fn command(program: &Path, home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .arg("--config")
        .arg(home.join("weir.yaml"))
        .arg("--state-dir")
        .arg(home.join("state"))
        .arg("--run-dir")
        .arg(home.join("run"))
        .args(arguments);
    command
}

/// HTTP/1.0, so that the answer ends with the connection and is never chunked.
async fn fetch(socket: &Path, path: &str) -> io::Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(malformed)?;
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_allocated_as_under_the_unit() {
        let unit = include_str!("../../packaging/systemd/weir.service");
        let (name, value) = ALLOCATOR;
        assert!(unit.lines().any(|line| line == format!("Environment={name}={value}")), "{unit}");
    }

    #[test]
    fn settings_can_be_set_by_path() {
        let config = Config::new(Path::new("/ca.pem"), [4180, 4181])
            .capturing(Path::new("/sys/fs/cgroup/x"))
            .with(&["budgets", "nightly"], json!({"daily_limit_usd": 1.0}));
        assert_eq!(config.0["capture"]["cgroup"], "/sys/fs/cgroup/x");
        assert_eq!(config.0["budgets"]["nightly"]["daily_limit_usd"], 1.0);
        assert_eq!(config.0["providers"]["openai"]["ca_file"], "/ca.pem");
    }
}
