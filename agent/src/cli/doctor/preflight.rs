//! `weir doctor --preflight`: whether the agent would work here, before it is installed.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::{Row, kernel};
use crate::capture::helper::confine::{self, User};
use crate::capture::{AttachError, Capability, preflight};
use crate::config::{Config, Paths, Toggle};

/// The ledger of some thousand calls a day needs less in a month.
const ROOM: u64 = 256 << 20;
/// With less, calls would soon not be kept.
const LITTLE: u64 = 32 << 20;

/// All checks. `runs` says that an agent runs here already, with these settings.
pub(super) fn rows(config: &Config, paths: &Paths, runs: bool) -> Vec<Row> {
    let mut rows = kernel::rows(Path::new("/"));
    if config.capture.enabled == Toggle::Off {
        rows.push(Row::pass("programs", "not wanted: capture.enabled is false"));
    } else {
        hooks(preflight(config.capture.cgroup.as_deref()), &mut rows);
    }
    for (name, address) in
        [("listen.proxy", config.listen.proxy), ("listen.admin", config.listen.admin)]
    {
        rows.extend(address.map(|address| port(name, address, runs)));
    }
    rows.push(disk(&paths.state));
    rows.push(user(&config.user));
    rows
}

/// Programs that were really loaded and linked.
fn hooks(tried: Result<Vec<Capability>, AttachError>, rows: &mut Vec<Row>) {
    match tried {
        Ok(tried) => rows.extend(tried.into_iter().map(|hook| {
            if hook.ok {
                Row::pass(hook.hook, "loads and links")
            } else {
                Row::warn(hook.hook, hook.missing, hook.consequence)
            }
        })),
        Err(error @ AttachError::Privilege(_)) => rows.push(Row::warn(
            "programs",
            format!("not tried: {error}"),
            "run this as root to have them loaded and linked",
        )),
        Err(error) => {
            let causes = std::iter::successors(std::error::Error::source(&error), |it| it.source());
            let told = causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"));
            let fix = "only the explicit proxy and base URLs would be metered; \
                       where another program holds the hook, end it or give it a cgroup of its own";
            rows.push(Row::fail("programs", told, fix));
        }
    }
}

fn port(name: &str, address: SocketAddr, runs: bool) -> Row {
    if address.port() == 0 {
        return Row::pass(name, "any free port");
    }
    match TcpListener::bind(address) {
        Ok(_free) => Row::pass(name, format!("{address} is free")),
        Err(_) if runs => Row::pass(name, format!("{address} is the running agent's")),
        Err(error) => Row::fail(
            name,
            format!("{address}: {error}"),
            format!("set {name} to another port, or 0 for any; `ss -ltnp` shows whose it is"),
        ),
    }
}

fn disk(state: &Path) -> Row {
    let existing = state.ancestors().find(|path| path.exists()).unwrap_or_else(|| Path::new("/"));
    let room = rustix::fs::statvfs(existing).map_err(io::Error::from);
    room_row(state, room.map(|room| room.f_bavail.saturating_mul(room.f_frsize)))
}

fn room_row(state: &Path, room: io::Result<u64>) -> Row {
    let fix = "make room, or put the state directory elsewhere (--state-dir)";
    let path = state.display();
    match room {
        Err(error) => Row::fail("disk", format!("{path}: {error}"), fix),
        Ok(room) => {
            let told = format!("{} MiB free for {path}", room >> 20);
            match room {
                0..LITTLE => Row::fail("disk", told, fix),
                LITTLE..ROOM => Row::warn("disk", told, fix),
                _ => Row::pass("disk", told),
            }
        }
    }
}

fn user(name: &str) -> Row {
    match User::named(name) {
        Some(User { uid: 0, .. }) => Row::warn(
            "user",
            format!("the agent would run as {name}"),
            "give it a user of its own: `useradd --system weir`, user: weir",
        ),
        Some(user) => Row::pass("user", format!("{name} ({})", user.uid)),
        None if !confine::is_privileged() => {
            Row::pass("user", "the agent runs as whoever starts it")
        }
        None => Row::warn(
            "user",
            format!("there is no user {name}: the agent would stay root, without its capabilities"),
            format!("make it: `useradd --system --no-create-home {name}`"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_somebodys() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(port("listen.proxy", address, false).status, Status::Fail);
        assert_eq!(port("listen.proxy", address, true).status, Status::Pass);
        drop(taken);
        assert_eq!(port("listen.proxy", address, false).status, Status::Pass);
        assert_eq!(port("p", "127.0.0.1:0".parse().unwrap(), false).status, Status::Pass);
    }

    #[test]
    fn room_on_the_disk_is_graded() {
        let status = |room| room_row(Path::new("/s"), room).status;
        assert_eq!(status(Ok(LITTLE - 1)), Status::Fail);
        assert_eq!(status(Ok(LITTLE)), Status::Warn);
        assert_eq!(status(Ok(ROOM)), Status::Pass);
        assert_eq!(status(Err(io::ErrorKind::NotFound.into())), Status::Fail);
        assert_eq!(disk(Path::new("/no/such/directory")).check, "disk");
    }

    #[test]
    fn users_that_are_missing_or_root_are_said() {
        assert_eq!(user("root").status, Status::Warn);
        assert_eq!(user("nobody").status, Status::Pass);
    }

    #[test]
    fn a_hook_in_foreign_hands_fails_with_its_holder() {
        let mut rows = Vec::new();
        let held = "the hook is held exclusively by other (program 7)";
        hooks(Err(AttachError::Connect(held.to_owned())), &mut rows);
        assert_eq!(rows[0].status, Status::Fail);
        assert!(rows[0].detail.contains("other (program 7)"), "{rows:?}");
        hooks(Err(AttachError::Privilege("CAP_BPF".to_owned())), &mut rows);
        assert_eq!(rows[1].status, Status::Warn);
    }
}
