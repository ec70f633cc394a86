//! Random input against what must hold for every input.
//!
//! `cargo xtask fuzz` runs each target for a while. A case is made from one number, which is
//! printed when it fails: `cargo xtask fuzz --target NAME --seed NUMBER` plays it again alone.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod corpus;
mod document;
mod provider;
mod meter;
mod translate;
mod policy;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

use agent::clock::{Clock, System};
use clap::Parser;

/// Makes a case from random numbers; panics where something that must hold does not.
type Case = fn(&mut fastrand::Rng);

/// What is tried.
const TARGETS: [(&str, Case); 7] = [
    ("meter", meter::any_stream),
    ("request", translate::any_request),
    ("answer", translate::any_answer),
    ("stream", translate::any_stream),
    ("legal", translate::legal_stream),
    ("limits", policy::limits),
    ("breaker", policy::any_breaker),
];

#[derive(Debug, Parser)]
#[command(name = "cargo xtask fuzz")]
struct Arguments {
    /// How long each target is tried
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only this one
    #[arg(long)]
    target: Option<String>,
    /// Play this one case
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let is_wanted = |name: &str| arguments.target.as_deref().is_none_or(|wanted| wanted == name);
    let wanted: Vec<_> = TARGETS.into_iter().filter(|(name, _)| is_wanted(name)).collect();
    if wanted.is_empty() {
        let names = TARGETS.map(|(name, _)| name).join(", ");
        eprintln!("no such target; there are {names}");
        return ExitCode::from(2);
    }
    for (name, case) in wanted {
        let tried = match arguments.seed {
            Some(seed) => play(case, seed).map(|()| 1),
            None => try_for(case, Duration::from_secs(arguments.seconds)),
        };
        match tried {
            Ok(cases) => println!("{name}: {cases} cases"),
            Err(seed) => {
                eprintln!("{name} fails; again with --target {name} --seed {seed}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Tries cases for so long; tells how many, or the one that failed.
fn try_for(case: Case, time: Duration) -> Result<u64, u64> {
    let clock = System;
    let until = clock.now().mono + time;
    let mut cases = 0;
    while clock.now().mono < until {
        for _ in 0..64 {
            play(case, fastrand::u64(..))?;
            cases += 1;
        }
    }
    Ok(cases)
}

fn play(case: Case, seed: u64) -> Result<(), u64> {
    let mut random = fastrand::Rng::with_seed(seed);
    catch_unwind(AssertUnwindSafe(|| case(&mut random))).map_err(|_panic| seed)
}
