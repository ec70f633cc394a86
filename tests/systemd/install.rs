//! From the package to a host that is metered.

use anyhow::{Context, ensure};

use crate::{host, weir};

/// Installs the package: it observes, and nobody's trust is touched.
pub(crate) async fn first(package: &str) -> anyhow::Result<String> {
    host::succeed(&["dpkg", "--install", package]).await?;
    let status = weir::answers().await?;
    ensure!(weir::mode(&status) == "observe", "not observing but {}", status["mode"]);
    ensure!(!weir::is_trusted().await?, "a CA is trusted that nobody has agreed to");
    let state = host::property(weir::UNIT, "ActiveState").await?;
    ensure!(state == "active", "{} is {state}", weir::UNIT);
    let enabled = host::succeed(&["systemctl", "is-enabled", weir::UNIT]).await?;
    ensure!(enabled.trim() == "enabled", "{} is {enabled}", weir::UNIT);
    let pid = host::property(weir::UNIT, "MainPID").await?;
    let user = host::succeed(&["ps", "-o", "user=", "-p", &pid]).await?;
    let user = user.trim();
    ensure!(user == "weir", "runs as {user}");
    let failed = host::succeed(&["systemctl", "--failed", "--plain", "--no-legend"]).await?;
    ensure!(failed.is_empty(), "failed units: {failed}");
    Ok(format!("weir {}, user {user}", status["version"].as_str().unwrap_or_default()))
}

/// Agrees to be metered.
pub(crate) async fn set_up() -> anyhow::Result<String> {
    // With a key, so that it makes a call and tells what that cost.
    let said = host::succeed(&["env", "OPENAI_API_KEY=sk-setup", "weir", "setup", "--yes"]).await?;
    let status = weir::answers().await?;
    ensure!(weir::mode(&status) == "meter", "not metering: {}", status["mode"]);
    ensure!(weir::is_trusted().await?, "the CA is not in {}", weir::BUNDLE);
    let call = said.lines().find(|line| line.starts_with("call "));
    let call = call.with_context(|| format!("weir setup made no call:\n{said}"))?;
    ensure!(call.contains("$0.00027"), "{call}");
    Ok(call.to_owned())
}
