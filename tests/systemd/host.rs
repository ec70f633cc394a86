//! The host: its commands, its units, and waiting for what will be.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

/// Nothing takes longer, also where every instruction is emulated.
const LONGEST: Duration = Duration::from_mins(3);
/// How often is asked.
const PAUSE: Duration = Duration::from_millis(50);

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command to its end.
pub(crate) async fn run(command: &[&str]) -> anyhow::Result<Said> {
    let (program, arguments) = command.split_first().context("a command has a program")?;
    let mut child = Command::new(program);
    child.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(LONGEST, child.output())
        .await
        .with_context(|| format!("{command:?} does not end"))?
        .with_context(|| format!("start {program}"))?;
    Ok(Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a command that has to succeed, and returns what it printed.
pub(crate) async fn succeed(command: &[&str]) -> anyhow::Result<String> {
    let Said { code, out, err } = run(command).await?;
    ensure!(code == Some(0), "{} ended with {code:?}\n{out}{err}", command.join(" "));
    Ok(out)
}

/// Asks until there is an answer, and tells how long that took; `what` names it where there is none.
pub(crate) async fn until<T>(
    what: &str,
    mut ask: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<(T, Duration)> {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask().await? {
            return Ok((answer, start.elapsed()));
        }
        ensure!(start.elapsed() < LONGEST, "in vain: {what}");
        sleep(PAUSE).await;
    }
}

/// A property of a unit, as systemd prints it.
pub(crate) async fn property(unit: &str, name: &str) -> anyhow::Result<String> {
    let value = succeed(&["systemctl", "show", "--property", name, "--value", unit]).await?;
    Ok(value.trim().to_owned())
}

/// Starts a transient service and leaves it running.
pub(crate) async fn start(unit: &str, command: &[&str]) -> anyhow::Result<()> {
    let unit = format!("--unit={unit}");
    let words = [&["systemd-run", "--quiet", "--collect", &unit][..], command].concat();
    succeed(&words).await.map(drop)
}

/// Runs a command as a service of its own and returns what it printed.
pub(crate) async fn in_unit(unit: &str, command: &[&str]) -> anyhow::Result<String> {
    let unit = format!("--unit={unit}");
    let words = ["systemd-run", "--quiet", "--collect", "--wait", "--pipe", &unit];
    succeed(&[&words[..], command].concat()).await
}

/// The same as a service of a user's own manager; the user needs one.
pub(crate) async fn in_session(
    (user, uid): (&str, u32),
    unit: &str,
    command: &[&str],
) -> anyhow::Result<String> {
    let runtime = format!("XDG_RUNTIME_DIR=/run/user/{uid}");
    let unit = format!("--unit={unit}");
    let become_user = ["setpriv", "--reuid", user, "--regid", user, "--init-groups", "env"];
    let start = ["systemd-run", "--user", "--quiet", "--collect", "--wait", "--pipe", &unit];
    succeed(&[&become_user[..], &[&runtime], &start, command].concat()).await
}
