//! What the kernel tests need to happen in other processes: `dial` is a client, `knock` one that
//! comes often, `ask` one that asks a name server first, `resolve` one that asks the C library, `elsewhere` one
//! in a network namespace without an agent, `squat` one who listens where another wants to, and `capture`
//! an agent that can be killed.
//!
//! Parameters are `name=value`; the answer is JSON, one object on a line of standard output.
#![expect(clippy::print_stdout, reason = "the answer")]

mod args;
mod ask;
mod capture;
mod datagrams;
mod dial;
mod elsewhere;
mod knock;
mod resolve;
mod squat;
mod uring;

use anyhow::{Context, Result, bail};

fn main() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let act = words.next().context("dial, ask, resolve, knock, elsewhere, squat or capture?")?;
    let args = args::Args::parse(words)?;
    // First of all: what this process does counts as the cgroup's.
    if let Some(cgroup) = args.find("cgroup") {
        std::fs::write(format!("{cgroup}/cgroup.procs"), "0").context("entering the cgroup")?;
    }
    match act.as_str() {
        "dial" => println!("{}", dial::run(&args)?),
        "ask" => println!("{}", ask::run(&args)?),
        "resolve" => println!("{}", resolve::run(&args)?),
        "knock" => println!("{}", knock::run(&args)?),
        "elsewhere" => println!("{}", elsewhere::run(&args)?),
        "capture" => capture::run(&args)?,
        "squat" => squat::run(&args)?,
        other => bail!("{other} is no act"),
    }
    Ok(())
}
