//! The mark by which a process shows that it was given the CA by environment variables, without
//! any change to the host's trust stores (`weir run`, `eval "$(weir env)"`).

use super::proc::Handle;

/// The variable. Its value is the fingerprint of the root that its neighbours point to.
pub const VARIABLE: &str = "WEIR_TRUST";

/// Environments are read no further than this.
const LIMIT: usize = 1 << 20;

/// Whether the process instance was started with the root `fingerprint` in its environment. Only
/// this one variable is looked at, and nothing of what is read is kept: environments hold keys.
pub(super) fn vouched(pid: u32, start_ticks: u64, fingerprint: &str) -> bool {
    let Ok(process) = Handle::open(pid) else { return false };
    process.stat().is_ok_and(|stat| stat.start_ticks == start_ticks)
        && process.read("environ", LIMIT).is_ok_and(|found| marked(&found, fingerprint))
}

fn marked(environment: &[u8], fingerprint: &str) -> bool {
    environment
        .split(|byte| *byte == 0)
        .filter_map(|entry| entry.strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"="))
        .any(|value| value == fingerprint.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    #[test]
    fn only_the_right_fingerprint_counts() {
        let environment = b"PATH=/bin\0WEIR_TRUST=abc\0OPENAI_API_KEY=secret\0";
        assert!(marked(environment, "abc"));
        assert!(!marked(environment, "ab"));
        assert!(!marked(b"XWEIR_TRUST=abc\0", "abc"));
        assert!(!marked(b"WEIR_TRUST=\0", "abc"));
    }

    #[test]
    fn a_running_process_is_asked() {
        let mut child = Command::new("cat")
            .env(VARIABLE, "f1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Its answer shows that it has left exec(2), in which a process has no environment yet.
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let started = Handle::open(child.id()).unwrap().stat().unwrap().start_ticks;
        let asked = |started, fingerprint| vouched(child.id(), started, fingerprint);
        let (right, wrong) = (asked(started, "f1"), asked(started, "f2"));
        let before = asked(started - 1, "f1");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(right && !wrong);
        assert!(!before, "the pid was another's then");
        assert!(!vouched(child.id(), started, "f1"));
    }
}
