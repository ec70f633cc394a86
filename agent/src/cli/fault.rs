//! How commands end: exit codes, and errors in one clear line with what to do next.

use std::io::Write;
use std::process::ExitCode;

use super::text::clean;
use crate::config::Problems;

/// Exit codes. Those from 64 on are those of sysexits(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, healthy.
    Ok,
    /// Failed.
    Failure,
    /// The command line makes no sense.
    Usage,
    /// The agent does less than it was asked to.
    Degraded,
    /// A budget is spent, or a policy test refused.
    Over,
    /// No agent answers.
    NoDaemon,
    /// Not allowed.
    Permission,
    /// The configuration has problems.
    Config,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::Degraded => 10,
            Exit::Over => 11,
            Exit::NoDaemon => 69,
            Exit::Permission => 77,
            Exit::Config => 78,
        })
    }
}

/// A failure with its exit code and what to do about it. Any other error exits with 1.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Fault {
    /// Exit code.
    pub exit: Exit,
    /// What went wrong.
    pub what: String,
    /// What to do about it.
    pub fix: Option<String>,
}

/// Tells the user on stderr what went wrong.
pub(super) fn report(wrong: &anyhow::Error) -> Exit {
    // `weir calls | head`: the reader has what it wanted.
    if broken_pipe(wrong) {
        return Exit::Ok;
    }
    let (exit, lines) = if let Some(problems) = wrong.downcast_ref::<Problems>() {
        (Exit::Config, problems.0.iter().map(ToString::to_string).collect())
    } else if let Some(fault) = wrong.downcast_ref::<Fault>() {
        let mut lines = vec![format!("weir: {}", fault.what)];
        lines.extend(fault.fix.as_ref().map(|fix| format!("  → {fix}")));
        (fault.exit, lines)
    } else {
        (Exit::Failure, vec![format!("weir: {wrong:#}")])
    };
    let mut stderr = std::io::stderr().lock();
    for line in lines {
        // Nobody is left to be told if this fails.
        drop(writeln!(stderr, "{}", clean(&line)));
    }
    exit
}

fn broken_pipe(wrong: &anyhow::Error) -> bool {
    wrong.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let json =
            cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(std::io::ErrorKind::BrokenPipe)
    })
}
