//! What happens to the package on a host that runs systemd, from its installation to its removal.
//!
//! This runs inside that host: `cargo xtask vm systemd` sets it up, in namespaces or in a virtual
//! machine, puts this program and the packages there and reads what `play` says. `provider` and `load`
//! are the units that it starts: the one that is called, and a program that calls.

mod host;
mod weir;
mod stage;
mod provider;
mod load;
mod link;
mod play;
mod install;
mod clients;
mod upsets;
mod removal;

use clap::Parser;

#[derive(Debug, Parser)]
enum Act {
    /// Lives through everything, and says how it went
    Play(play::Options),
    /// Is the provider until it is told to stop
    Provider(provider::Options),
    /// Calls the provider until it is told to stop, and counts
    Load(load::Options),
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match Act::parse() {
            Act::Play(options) => play::run(&options).await,
            Act::Provider(options) => provider::run(&options).await,
            Act::Load(options) => load::run(&options).await,
        }
    })
}
