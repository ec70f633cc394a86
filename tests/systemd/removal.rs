//! Taking it away again.

use std::path::Path;

use anyhow::ensure;

use crate::{clients, host, weir};

/// Asks when the package's own is gone.
const COPY: &str = "/run/weir-copy";

/// Removes it: whoever trusted its CA does no longer, and calls go where they went before.
pub(crate) async fn remove() -> anyhow::Result<String> {
    std::fs::copy("/usr/bin/weir", COPY)?;
    host::succeed(&["dpkg", "--remove", "weir"]).await?;
    ensure!(!weir::is_trusted().await?, "the CA is still in {}", weir::BUNDLE);
    ensure!(!Path::new("/usr/bin/weir").exists(), "the program is still there");
    let state = host::property(weir::UNIT, "ActiveState").await?;
    ensure!(state == "inactive", "{} is {state}", weir::UNIT);
    ensure!(Path::new("/var/lib/weir/ledger.db").is_file(), "the ledger went without being asked");
    ensure!(!clients::call("orphan").await?, "somebody still answers for the provider");
    Ok(String::new())
}

/// Purges it: not even the copy finds anything.
pub(crate) async fn purge() -> anyhow::Result<String> {
    host::succeed(&["dpkg", "--purge", "weir"]).await?;
    for gone in ["/var/lib/weir", "/etc/weir", "/run/weir"] {
        ensure!(!Path::new(gone).exists(), "{gone} is still there");
    }
    let told = host::succeed(&[COPY, "doctor", "--leftovers"]).await?;
    let failed = host::succeed(&["systemctl", "--failed", "--plain", "--no-legend"]).await?;
    ensure!(failed.is_empty(), "failed units: {failed}");
    Ok(format!("weir doctor --leftovers: {}", told.trim()))
}
