//! `weir helper`: the process that holds the privileges. Started by the daemon, never by hand.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use clap::ValueEnum;
use rustix::net::{SocketType, sockopt};

use super::{Exit, Fault};
use crate::app::log;
use crate::capture::Helper;
use crate::capture::helper::confine::{self, Extras};
use crate::config::Log;

/// Flag of a daemon that takes over from another, at the other end of its standard input.
const SUCCEED: &str = "--succeed";

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
    /// The daemon's own command line, for its successor
    #[arg(last = true)]
    daemon: Vec<OsString>,
}

impl Args {
    fn extras(&self) -> Extras {
        Extras { freeze: self.freeze, enter: self.enter }
    }
}

/// The helper's two processes, and those on the way to a successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Starts the other, again whenever it ends.
    Keep,
    /// Answers the daemon's questions.
    Serve,
    /// Starts the third, and ends: whose parent is gone is a child of the service manager's.
    Launch,
    /// Becomes the daemon's successor.
    Succeed,
}

/// What starts the helper of a daemon with this log, which has been started as `daemon` says.
pub(crate) fn command(log: Log, extras: Extras, daemon: &[OsString]) -> io::Result<Command> {
    started(Part::Keep, &[word(&log.level)?, word(&log.format)?], (extras, daemon))
}

/// What starts a successor of a daemon that has nothing given up, and so has no helper process.
pub(crate) fn launcher(log: Log, daemon: &[OsString]) -> io::Result<Command> {
    let words = [word(&log.level)?, word(&log.format)?];
    started(Part::Launch, &words, (Extras::default(), daemon))
}

/// The command line by which this daemon is started again: from the file that it was started from,
/// whatever lies there by now.
pub(crate) fn own_command() -> io::Result<Vec<OsString>> {
    let program = std::env::current_exe()?.into_os_string().into_vec();
    // So the kernel calls a file that was replaced.
    let program = program.strip_suffix(b" (deleted)").unwrap_or(&program);
    let mut words = vec![OsString::from_vec(program.to_owned())];
    words.extend(std::env::args_os().skip(1).filter(|word| word != SUCCEED));
    Ok(words)
}

pub(super) fn run(args: &Args) -> anyhow::Result<Exit> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    if !is_handed(&stdin) {
        let what = "the helper is started by the daemon, with a socket to it as its input";
        let fix = Some("weir daemon".to_owned());
        return Err(Fault { exit: Exit::Usage, what: what.to_owned(), fix }.into());
    }
    let name = match args.part {
        Part::Serve => "weir-helper",
        Part::Keep | Part::Launch | Part::Succeed => "weir-keeper",
    };
    // What it logs stays as it was at its start.
    drop(log::start(Log { level: parsed(&args.level)?, format: parsed(&args.format)? }, name));
    serve(args, &stdin)?;
    Ok(Exit::Ok)
}

/// Whether an input is a socket as processes of the agent hand it to one another.
pub(super) fn is_handed(input: &OwnedFd) -> bool {
    sockopt::socket_type(input) == Ok(SocketType::SEQPACKET)
}

fn serve(args: &Args, daemon: &OwnedFd) -> io::Result<()> {
    let part = |part: Part| -> io::Result<Command> {
        let words = [args.level.clone(), args.format.clone()];
        // The server has no use for the daemon's words.
        let daemon = if part == Part::Serve { &[] } else { &*args.daemon };
        started(part, &words, (args.extras(), daemon))
    };
    match args.part {
        Part::Keep => {
            confine::keep(confine::keeper(args.extras()), None)?;
            confine::ignore_signals();
            rustix::thread::set_name(c"weir-keeper")?;
            let (serving, launching) = (again(&part(Part::Serve)?), again(&part(Part::Launch)?));
            Helper::keep(daemon, serving, launching)
        }
        Part::Serve => {
            confine::keep(confine::helper(args.extras()), None)?;
            rustix::thread::set_name(c"weir-helper")?;
            Helper::serve(daemon)
        }
        Part::Launch => part(Part::Succeed)?.stdout(Stdio::null()).spawn().map(drop),
        Part::Succeed => Err(succeed(&args.daemon)),
    }
}

/// Becomes the daemon's successor; returns why it cannot.
fn succeed(daemon: &[OsString]) -> io::Error {
    let Some((program, arguments)) = daemon.split_first() else {
        return io::ErrorKind::InvalidInput.into();
    };
    confine::heed_signals();
    let mut command = Command::new(program);
    command.args(arguments).arg(SUCCEED);
    // The service manager's words were for the predecessor alone; its patience is for any of us.
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
        command.env_remove(name);
    }
    command.env("WATCHDOG_PID", std::process::id().to_string());
    command.exec()
}

/// The same command, as often as it is wanted.
fn again(command: &Command) -> impl FnMut() -> Command + use<> {
    let program = command.get_program().to_owned();
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    move || {
        let mut command = Command::new(&program);
        command.args(&arguments);
        command
    }
}

fn started(
    part: Part,
    log: &[String; 2],
    (extras, daemon): (Extras, &[OsString]),
) -> io::Result<Command> {
    // The very program that runs, even where a package has replaced its file meanwhile.
    let mut command = Command::new("/proc/self/exe");
    let part = part.to_possible_value().ok_or(io::ErrorKind::InvalidInput)?;
    command.args(["helper", part.get_name()]).args(log);
    for (flag, wanted) in [("--freeze", extras.freeze), ("--enter", extras.enter)] {
        if wanted {
            command.arg(flag);
        }
    }
    if !daemon.is_empty() {
        command.arg("--").args(daemon);
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
        let daemon = ["/usr/bin/weir", "daemon"].map(OsString::from);
        let command = command(log, extras, &daemon).unwrap();
        let words: Vec<_> = command.get_args().collect();
        let expected = [
            &["helper", "keep", "debug", "json", "--freeze", "--enter"][..],
            &["--", "/usr/bin/weir", "daemon"],
        ];
        assert_eq!(words, expected.concat());
        assert_eq!(parsed::<Level>("debug").unwrap(), Level::Debug);
        assert!(parsed::<Level>("loud").is_err());
    }
}
