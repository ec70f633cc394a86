//! What the dashboard is built with and not by us: its chart library, pinned by a lock file. The agent's
//! build script embeds it from `target/dashboard`.

use super::clients;
use crate::shell;

/// Installs it where it is missing or another version. No script of a package runs.
pub(super) fn prepare() -> anyhow::Result<()> {
    let root = shell::root();
    clients::node(&root.join("target/dashboard"), &root.join("agent/dashboard/package-lock.json"))
}
