//! The processes that a process descends from, nearest first.

use super::proc::{Handle, Stat};
use super::script::{Program, is_interpreter, program};

/// Ancestors looked at: agents start tools through two or three shells.
const DEPTH: usize = 12;

/// A living ancestor.
#[derive(Debug)]
pub(super) struct Ancestor {
    pub(super) handle: Handle,
    pub(super) stat: Stat,
    pub(super) program: Program,
}

/// Ancestors of the process with this `stat`. Ends at the first process of the system, at one that
/// may not be examined, and where the line is broken: a parent is older than its child, so a
/// younger one took the pid of a parent that is gone.
pub(super) fn ancestors(stat: &Stat) -> impl Iterator<Item = Ancestor> {
    let mut next = Some((stat.parent, stat.start_ticks));
    std::iter::from_fn(move || {
        let (pid, child_started) = next.take().filter(|&(pid, _)| pid > 1)?;
        let handle = Handle::open(pid).ok()?;
        let stat = handle.stat().ok()?;
        if stat.kernel || stat.start_ticks > child_started {
            return None;
        }
        let path = handle.exe().ok()?;
        let arguments = if is_interpreter(&path) { handle.arguments().ok()? } else { Vec::new() };
        next = Some((stat.parent, stat.start_ticks));
        Some(Ancestor { handle, stat, program: program(&path, &arguments) })
    })
    .take(DEPTH)
}
