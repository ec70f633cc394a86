//! Which processes a process came from, as `/proc` has it.

use std::path::Path;

/// Longest way up that is gone: shells in shells end somewhere.
const MOST: usize = 64;

/// A process and those above it, nearest first.
pub(super) fn chain(first: Option<u32>) -> Vec<u32> {
    std::iter::successors(first, |pid| parent(*pid)).take(MOST).collect()
}

/// The process that a process came from; `None` where there is none to be seen.
pub(super) fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parent_in(&stat)
}

/// proc(5): the name stands in parentheses and can have any sign in it, also a closing one.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, after) = stat.rsplit_once(')')?;
    let parent = after.split_whitespace().nth(1)?.parse().ok()?;
    (parent > 0).then_some(parent)
}

/// Whether a process runs this program, as far as one may know: another user's is not shown.
pub(super) fn runs(pid: u32, program: &str) -> bool {
    match std::fs::read_link(format!("/proc/{pid}/exe")) {
        Ok(exe) => {
            // A program that was replaced while it runs keeps its name with a note behind it.
            let exe = exe.to_string_lossy();
            Path::new(exe.trim_end_matches(" (deleted)")) == Path::new(program)
        }
        Err(fault) => fault.kind() == std::io::ErrorKind::PermissionDenied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_found_behind_any_name() {
        assert_eq!(parent_in("42 (node) S 17 42 42 0 -1"), Some(17));
        assert_eq!(parent_in("42 (a) S 9 (b) R 17 42"), Some(17));
        assert_eq!(parent_in("1 (systemd) S 0 1 1"), None);
        assert_eq!(parent_in(""), None);
    }

    #[test]
    fn the_way_up_begins_with_the_process_itself() {
        let own = std::process::id();
        let chain = chain(Some(own));
        assert_eq!(chain[0], own);
        assert_eq!(chain.get(1).copied(), parent(own));
        assert!(super::chain(None).is_empty());
        let exe = std::env::current_exe().unwrap();
        assert!(runs(own, &exe.to_string_lossy()));
        assert!(!runs(own, "/bin/other"));
    }
}
