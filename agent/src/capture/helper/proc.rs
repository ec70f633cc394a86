//! One process instance under `/proc`, read through a directory handle.
//!
//! The handle stays with the process it was opened on: once that process is gone every read
//! fails, even if its pid lives again. So whatever one [`Handle`] returns belongs together.

use std::io;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// Longest command line examined; `java` with its class path needs tens of kilobytes.
const COMMAND_LINE: usize = 32 * 1024;

/// Longest `cgroup`, `stat` or `status` file examined; real ones stay below a page or two.
const FILE: usize = 16 * 1024;

/// Flag of kernel threads in field 9 of `stat`.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// A process instance, alive when the handle was opened.
#[derive(Debug)]
pub(super) struct Handle {
    dir: OwnedFd,
}

/// What `/proc/PID/stat` tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::capture) struct Stat {
    /// Name of the leading thread: a hint.
    pub(in crate::capture) comm: String,
    /// Parent's pid; 0 where it lies outside this pid namespace.
    pub(in crate::capture) parent: u32,
    /// Whether the process leads its session and that session has a terminal.
    pub(in crate::capture) leads_terminal: bool,
    /// Whether this is a thread of the kernel.
    pub(in crate::capture) kernel: bool,
    /// Start time in clock ticks since boot.
    pub(in crate::capture) start_ticks: u64,
    /// Where execve(2) put code, stack and arguments. Address space randomisation makes these new
    /// with every execve, so that a process which turned into another program is recognised even
    /// where the executable is the same. All zero without the right to trace the process.
    pub(in crate::capture) image: [u64; 4],
}

impl Handle {
    /// Opens process `pid` of this pid namespace.
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty())?;
        Ok(Self { dir })
    }

    /// The process's directory.
    pub(super) fn directory(&self) -> &OwnedFd {
        &self.dir
    }

    /// Reads `stat`.
    pub(super) fn stat(&self) -> io::Result<Stat> {
        let text = self.read("stat", FILE)?;
        Stat::parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Path of the executable as the kernel knows it; fails for threads of the kernel, zombies,
    /// and processes this one may not look into.
    pub(super) fn exe(&self) -> io::Result<String> {
        let path = readlinkat(&self.dir, "exe", Vec::with_capacity(256))?;
        let path = String::from_utf8_lossy(path.as_bytes()).into_owned();
        Ok(path.strip_suffix(" (deleted)").map(str::to_owned).unwrap_or(path))
    }

    /// Command line; empty where the process has none.
    pub(super) fn arguments(&self) -> io::Result<Vec<String>> {
        let bytes = self.read("cmdline", COMMAND_LINE)?;
        Ok(split_arguments(&bytes))
    }

    /// Every line of `cgroup`.
    pub(super) fn cgroups(&self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.read("cgroup", FILE)?).into_owned())
    }

    /// Real user id.
    pub(super) fn uid(&self) -> io::Result<u32> {
        let status = String::from_utf8_lossy(&self.read("status", FILE)?).into_owned();
        real_uid(&status).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Its network namespace.
    pub(super) fn network(&self) -> Result<OwnedFd, Errno> {
        openat(&self.dir, "ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    }

    pub(super) fn read(&self, name: &str, limit: usize) -> io::Result<Vec<u8>> {
        let file = openat(&self.dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut bytes = Vec::with_capacity(2048);
        while bytes.len() < limit {
            bytes.reserve(1024);
            if rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes))? == 0 {
                break;
            }
        }
        Ok(bytes)
    }
}

impl Stat {
    /// Time of the start on `CLOCK_BOOTTIME`, rounded down to a tick (10 ms): never later than the
    /// true start.
    pub(in crate::capture) fn started(&self) -> Duration {
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        Duration::from_secs(self.start_ticks / per_second)
            + Duration::from_nanos(self.start_ticks % per_second * (1_000_000_000 / per_second))
    }

    /// Parses one line. The name in parentheses may itself hold parentheses, blanks and line ends;
    /// what follows the last one is digits.
    fn parse(line: &[u8]) -> Option<Self> {
        let open = line.iter().position(|&b| b == b'(')?;
        let close = line.iter().rposition(|&b| b == b')')?;
        let pid: u64 = std::str::from_utf8(line.get(..open)?).ok()?.trim().parse().ok()?;
        let comm = String::from_utf8_lossy(line.get(open + 1..close)?).into_owned();
        let rest = std::str::from_utf8(line.get(close + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // Fields are numbered as in proc(5); the third is the first after the name. Addresses are
        // unsigned, and a missing one (old kernels) counts as unknown.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let address = |number| field(number).unwrap_or(0);
        let terminal: i64 = fields.get(7 - 3)?.parse().ok()?;
        Some(Self {
            comm,
            parent: u32::try_from(field(4)?).ok()?,
            leads_terminal: field(6)? == pid && terminal != 0,
            kernel: field(9)? & KERNEL_THREAD != 0,
            start_ticks: field(22)?,
            image: [address(26), address(28), address(48), address(49)],
        })
    }
}

fn split_arguments(bytes: &[u8]) -> Vec<String> {
    // A title written over the arguments is padded with zeros.
    let end = bytes.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
    if end == 0 {
        return Vec::new();
    }
    bytes[..end].split(|&b| b == 0).map(|a| String::from_utf8_lossy(a).into_owned()).collect()
}

fn real_uid(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(pid: u32, comm: &str, session: u32, terminal: i32) -> Vec<u8> {
        format!(
            "{pid} ({comm}) S 7 1 {session} {terminal} -1 4194304 100 0 0 0 0 0 0 0 20 0 1 0 140311 \
             1 390 18446744073709551615 94 95 96 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 97 98 99 100 101 \
             102 103 0\n"
        )
        .into_bytes()
    }

    #[test]
    fn names_cannot_shift_the_fields() {
        for comm in ["sleep", "a) R 1 (b", "x y) S 1 1", "((", "", "n\nl"] {
            let stat = Stat::parse(&line(42, comm, 1, 0)).unwrap();
            assert_eq!((stat.comm.as_str(), stat.parent, stat.start_ticks), (comm, 7, 140_311));
            assert_eq!(stat.image, [94, 96, 100, 101]);
        }
        assert_eq!(Stat::parse(b"42 (x) S 7"), None);
        assert_eq!(Stat::parse(b""), None);
    }

    #[test]
    fn who_leads_a_terminal() {
        assert!(Stat::parse(&line(42, "bash", 42, 34816)).unwrap().leads_terminal);
        assert!(!Stat::parse(&line(42, "bash", 42, 0)).unwrap().leads_terminal, "no terminal");
        assert!(!Stat::parse(&line(42, "bash", 41, 34816)).unwrap().leads_terminal, "not leader");
    }

    #[test]
    fn start_is_counted_in_ticks() {
        let mut stat = Stat::parse(&line(1, "x", 1, 0)).unwrap();
        stat.start_ticks = 140_311;
        assert_eq!(stat.started(), Duration::from_millis(1_403_110));
    }

    #[test]
    fn command_lines() {
        assert_eq!(split_arguments(b"python3\0agent.py\0"), ["python3", "agent.py"]);
        assert_eq!(split_arguments(b"a\0\0b\0"), ["a", "", "b"]);
        assert_eq!(split_arguments(b"claude\0\0\0\0\0"), ["claude"]);
        assert_eq!(split_arguments(b"no end"), ["no end"]);
        assert_eq!(split_arguments(b"\xff\0"), ["\u{fffd}"]);
        assert!(split_arguments(b"").is_empty());
        assert!(split_arguments(b"\0\0").is_empty());
    }

    #[test]
    fn real_uid_is_the_first() {
        assert_eq!(real_uid("Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t5\n"), Some(1000));
        assert_eq!(real_uid("Name:\tx\n"), None);
    }

    #[test]
    fn a_handle_stays_with_its_process() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let handle = Handle::open(child.id()).unwrap();
        assert!(handle.stat().unwrap().start_ticks > 0);
        assert!(handle.exe().is_ok());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(handle.stat().is_err());
        assert!(Handle::open(child.id()).is_err());
    }
}
