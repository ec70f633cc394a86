//! `weir helper`: the process that holds the privileges. Started by the daemon, never by hand.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

use clap::ValueEnum;
use rustix::net::{SocketType, sockopt};

use super::{Exit, Fault};
use crate::app::log;
use crate::capture::Helper;
use crate::capture::helper::confine::{self, Extras};
use crate::config::Log;

/// Hold the privileges on behalf of the daemon (it starts this itself).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which of the two processes this is
    part: Part,
    /// How much to log, as in the configuration
    level: String,
    /// How to log it, as in the configuration
    format: String,
    /// Also keep what freezing a user's workload takes
    #[arg(long)]
    freeze: bool,
    /// Also keep what entering a container's network takes
    #[arg(long)]
    enter: bool,
}

impl Args {
    fn extras(&self) -> Extras {
        Extras { freeze: self.freeze, enter: self.enter }
    }
}

/// The helper's two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Starts the other, again whenever it ends.
    Keep,
    /// Answers the daemon's questions.
    Serve,
}

/// What starts the helper of a daemon with this log.
pub(crate) fn command(log: Log, extras: Extras) -> io::Result<Command> {
    started(Part::Keep, &[word(&log.level)?, word(&log.format)?], extras)
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    let kind = sockopt::socket_type(&stdin);
    if kind != Ok(SocketType::SEQPACKET) {
        let what = "the helper is started by the daemon, with a socket to it as its input";
        let fix = Some("weir daemon".to_owned());
        return Err(Fault { exit: Exit::Usage, what: what.to_owned(), fix }.into());
    }
    let name = match args.part {
        Part::Keep => "weir-keeper",
        Part::Serve => "weir-helper",
    };
    // What it logs stays as it was at its start.
    drop(log::start(Log { level: parsed(&args.level)?, format: parsed(&args.format)? }, name));
    confine::keep(confine::helper(args.extras()), None)?;
    serve(args, &stdin)?;
    Ok(Exit::Ok)
}

fn serve(args: &Args, daemon: &OwnedFd) -> io::Result<()> {
    match args.part {
        Part::Keep => {
            confine::ignore_signals();
            rustix::thread::set_name(c"weir-keeper")?;
            let words = [args.level.clone(), args.format.clone()];
            let serving = started(Part::Serve, &words, args.extras())?;
            let program = serving.get_program().to_owned();
            let arguments: Vec<_> = serving.get_args().map(ToOwned::to_owned).collect();
            Helper::keep(daemon, || {
                let mut command = Command::new(&program);
                command.args(&arguments);
                command
            })
        }
        Part::Serve => {
            rustix::thread::set_name(c"weir-helper")?;
            Helper::serve(daemon)
        }
    }
}

fn started(part: Part, log: &[String; 2], extras: Extras) -> io::Result<Command> {
    // The very program that runs, even where a package has replaced its file meanwhile.
    let mut command = Command::new("/proc/self/exe");
    let part = part.to_possible_value().ok_or(io::ErrorKind::InvalidInput)?;
    command.args(["helper", part.get_name()]).args(log);
    for (flag, wanted) in [("--freeze", extras.freeze), ("--enter", extras.enter)] {
        if wanted {
            command.arg(flag);
        }
    }
    Ok(command)
}

/// A value of the configuration as it is written there.
fn word(value: &impl serde::Serialize) -> io::Result<String> {
    let value = serde_json::to_value(value)?;
    value.as_str().map(str::to_owned).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn parsed<T: serde::de::DeserializeOwned>(word: &str) -> anyhow::Result<T> {
    Ok(serde_json::from_value(word.into())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Level, LogFormat};

    #[test]
    fn the_command_line_says_what_the_daemons_configuration_does() {
        let log = Log { level: Level::Debug, format: LogFormat::Json };
        let extras = Extras { freeze: true, enter: true };
        let command = command(log, extras).unwrap();
        let words: Vec<_> = command.get_args().collect();
        assert_eq!(words, ["helper", "keep", "debug", "json", "--freeze", "--enter"]);
        assert_eq!(parsed::<Level>("debug").unwrap(), Level::Debug);
        assert!(parsed::<Level>("loud").is_err());
    }
}
