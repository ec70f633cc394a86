//! The provider, as a unit.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use harness::Provider;
use tokio::signal::unix::{SignalKind, signal};

/// From ranges for documentation, on loopback and yet no loopback addresses: the kernel half treats
/// them as it treats those of real providers.
pub(crate) const ADDRESSES: [&str; 2] = ["192.0.2.10", "2001:db8::10"];
/// The names that lead there.
pub(crate) const NAMES: [&str; 2] = ["api.openai.com", "api.anthropic.com"];

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where its CA is written, once it serves
    #[arg(long)]
    ca: PathBuf,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let listen = ADDRESSES.iter().map(|ip| Ok(SocketAddr::new(ip.parse()?, 443)));
    let provider = Provider::listening(listen.collect::<anyhow::Result<_>>()?).await?;
    let part = options.ca.with_extension("part");
    std::fs::write(&part, provider.ca_pem()).context("write the CA")?;
    // Whole once it is there.
    std::fs::rename(&part, &options.ca)?;
    signal(SignalKind::terminate())?.recv().await;
    Ok(())
}
