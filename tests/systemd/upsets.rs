//! What happens to a daemon that runs: it hangs, it is killed, it is restarted and replaced.

use std::path::Path;

use anyhow::ensure;
use tokio::time::{Duration, sleep};

use crate::load::{Amount, Load};
use crate::play::seconds;
use crate::{clients, host, weir};

/// How long the load runs before and after.
const LEAD: Duration = Duration::from_secs(3);
/// A shorter patience than the package's: the test is not to wait for that.
const WATCHDOG: &str = "10";
const DROP_IN: &str = "/run/systemd/system/weir.service.d";

async fn pid() -> anyhow::Result<String> {
    host::property(weir::UNIT, "MainPID").await
}

/// Another main process than this one, that answers; and how long it took.
async fn replaced(old: &str) -> anyhow::Result<Duration> {
    let ((), took) = host::until("another main process", async || {
        let new = pid().await?;
        Ok((new != old && new != "0").then_some(()))
    })
    .await?;
    let status = weir::answers().await?;
    ensure!(weir::mode(&status) == "meter", "not metering: {}", status["mode"]);
    Ok(took)
}

/// Connections are led to it again.
async fn meters(unit: &str) -> anyhow::Result<()> {
    host::until("a call that is metered", async || Ok(clients::call(unit).await?.then_some(())))
        .await
        .map(drop)
}

/// It hangs: applications go past it, and systemd puts another in its place.
pub(crate) async fn stopped() -> anyhow::Result<String> {
    let patience = host::property(weir::UNIT, "WatchdogUSec").await?;
    ensure!(!["", "0", "infinity"].contains(&patience.as_str()), "there is no watchdog");
    std::fs::create_dir_all(DROP_IN)?;
    let drop_in = Path::new(DROP_IN).join("patience.conf");
    std::fs::write(&drop_in, format!("[Service]\nWatchdogSec={WATCHDOG}\n"))?;
    host::succeed(&["systemctl", "daemon-reload"]).await?;
    host::succeed(&["systemctl", "restart", weir::UNIT]).await?;
    weir::answers().await?;
    meters("before").await?;

    let hung = pid().await?;
    host::succeed(&["kill", "-STOP", &hung]).await?;
    let ((), passed) = host::until("a call that goes past it", async || {
        // What was led there before its silence was noticed is not answered.
        let command = [
            &["timeout", "5"],
            &clients::curl()[..],
            &["https://api.openai.com/v1/chat/completions"],
        ]
        .concat();
        let said = host::run(&command).await?;
        Ok((said.code == Some(0) && !said.out.contains("x-weir-call-id")).then_some(()))
    })
    .await?;
    let took = replaced(&hung).await?;
    meters("after").await?;
    let restarts = host::property(weir::UNIT, "NRestarts").await?;
    ensure!(restarts != "0", "systemd has not restarted it");
    std::fs::remove_dir_all(DROP_IN)?;
    host::succeed(&["systemctl", "daemon-reload"]).await?;
    Ok(format!(
        "WatchdogSec {patience}, here {WATCHDOG} s: calls went past it after {}, another was there \
         {} later",
        seconds(passed),
        seconds(took)
    ))
}

/// It is killed.
pub(crate) async fn killed() -> anyhow::Result<String> {
    let old = pid().await?;
    host::succeed(&["kill", "-KILL", &old]).await?;
    // Nothing stands in anybody's way meanwhile.
    clients::call("meanwhile").await?;
    let took = replaced(&old).await?;
    meters("again").await?;
    Ok(format!("another was there after {}", seconds(took)))
}

/// It is restarted while it is called all the time.
pub(crate) async fn restarted(amount: Amount) -> anyhow::Result<String> {
    let old = pid().await?;
    let load = Load::start(amount).await?;
    sleep(LEAD).await;
    host::succeed(&["systemctl", "restart", weir::UNIT]).await?;
    replaced(&old).await?;
    meters("later").await?;
    sleep(LEAD).await;
    Ok(load.end().await?.told())
}

/// The later package takes its place while it is called all the time; nothing counted is lost.
pub(crate) async fn upgraded(package: &str, amount: Amount) -> anyhow::Result<String> {
    let (old, before) = (pid().await?, weir::answers().await?);
    let counted = weir::counted().await?;
    let load = Load::start(amount).await?;
    sleep(LEAD).await;
    host::succeed(&["dpkg", "--install", package]).await?;
    replaced(&old).await?;
    meters("newer").await?;
    sleep(LEAD).await;
    let tally = load.end().await?;
    let installed =
        host::succeed(&["dpkg-query", "--show", "--showformat=${Version}", "weir"]).await?;
    let status = weir::answers().await?;
    ensure!(weir::counted().await? > counted, "calls were forgotten");
    ensure!(weir::is_trusted().await?, "the CA is no longer trusted");
    Ok(format!(
        "weir {} → {} (package {installed}): {}",
        before["version"].as_str().unwrap_or_default(),
        status["version"].as_str().unwrap_or_default(),
        tally.told()
    ))
}
