//! The processes that a process descends from, nearest first.

use super::script::{Program, is_interpreter, program};
use crate::capture::helper::{Facts, Helper, Look, Sight, Stat};

/// Ancestors looked at: agents start tools through two or three shells.
const DEPTH: usize = 12;

/// A living ancestor.
#[derive(Debug)]
pub(super) struct Ancestor {
    pub(super) facts: Facts,
    pub(super) program: Program,
}

/// Ancestors of the process with this `stat`. Ends at the first process of the system, at one that
/// may not be examined, and where the line is broken: a parent is older than its child, so a
/// younger one took the pid of a parent that is gone.
pub(super) fn ancestors(helper: &Helper, stat: &Stat) -> impl Iterator<Item = Ancestor> {
    let mut next = Some((stat.parent, stat.start_ticks));
    std::iter::from_fn(move || {
        let (pid, child_started) = next.take().filter(|&(pid, _)| pid > 1)?;
        let Sight::Process(facts) = helper.identify(Look { pid, user: false, known: None }) else {
            return None;
        };
        let stat = &facts.stat;
        if stat.kernel || stat.start_ticks > child_started {
            return None;
        }
        let path = facts.exe.as_deref()?;
        let arguments = if is_interpreter(path) { &facts.arguments[..] } else { &[] };
        let program = program(path, arguments);
        next = Some((stat.parent, stat.start_ticks));
        Some(Ancestor { facts: *facts, program })
    })
    .take(DEPTH)
}
