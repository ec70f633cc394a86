//! `weir debug`: what helps those who look for a fault.

mod bundle;
mod archive;
mod scrub;
mod bpf;

use super::{Ctx, Exit};

/// What helps those who look for a fault.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Put what a report needs into one file: settings, state, doctor, metrics, log; no key, no
    /// prompt. Names of users, programs and hosts are in it: look through it before you send it
    Bundle(bundle::Args),
    /// What of the agent is in the kernel: programs, links, maps, and what they count
    Bpf(bpf::Args),
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    match &args.what {
        What::Bundle(args) => bundle::run(args, ctx),
        What::Bpf(args) => bpf::run(args, ctx),
    }
}
