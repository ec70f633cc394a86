//! What there is before anything is installed: a provider at addresses of its own, whose CA everybody
//! trusts as they trust the public ones.

use std::path::Path;

use anyhow::Context;

use crate::host;
use crate::provider::{ADDRESSES, NAMES};

/// Where the provider leaves its CA.
const CA: &str = "/run/provider-ca.pem";
const ANCHOR: &str = "/usr/local/share/ca-certificates/provider.crt";

/// Sets it.
pub(crate) async fn set() -> anyhow::Result<String> {
    for address in ADDRESSES {
        let width = if address.contains(':') { 128 } else { 32 };
        let address = format!("{address}/{width}");
        let mut command = vec!["ip", "address", "add", &address, "dev", "lo"];
        if width == 128 {
            command.push("nodad");
        }
        host::succeed(&command).await?;
    }
    let mut hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    hosts.extend(ADDRESSES.map(|address| format!("{address} {}\n", NAMES.join(" "))));
    std::fs::write("/etc/hosts", hosts).context("write /etc/hosts")?;
    let own = std::env::current_exe()?;
    let own = own.to_str().context("a path that is Unicode")?;
    host::start("provider", &[own, "provider", "--ca", CA]).await?;
    host::until("the provider's CA", async || Ok(Path::new(CA).is_file().then_some(()))).await?;
    std::fs::copy(CA, ANCHOR).context("install the provider's CA")?;
    host::succeed(&["update-ca-certificates"]).await?;
    let kernel = host::succeed(&["uname", "-r"]).await?;
    let systemd = host::succeed(&["systemctl", "--version"]).await?;
    let systemd = systemd.lines().next().unwrap_or_default();
    Ok(format!("Linux {}, {systemd}", kernel.trim()))
}
