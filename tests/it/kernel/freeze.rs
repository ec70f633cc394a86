//! Freezing a workload, and letting it go on.

use std::fs;

use agent::capture::Helper;
use agent::capture::helper::{FreezeError, Why};

use super::world::{Cgroup, isolated};

/// Whether the kernel says that everything in the cgroup stands still; it takes a moment.
fn stands_still(cgroup: &Cgroup) -> bool {
    let events = || fs::read_to_string(format!("{}/cgroup.events", cgroup.path())).unwrap();
    (0..10_000).any(|_| {
        std::thread::yield_now();
        events().lines().any(|line| line == "frozen 1")
    })
}

fn start_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    // Field 22; what follows the name begins with field 3.
    fields.split_whitespace().nth(19).unwrap().parse().unwrap()
}

#[test]
fn a_workload_stands_still_until_it_is_let_go_on_and_we_never_do() {
    isolated(async || {
        let (cgroup, helper) = (Cgroup::new(), Helper::in_process());
        let mut sleeper = tokio::process::Command::new("sleep");
        let mut sleeper = sleeper.arg("60").kill_on_drop(true).spawn().unwrap();
        let pid = sleeper.id().unwrap();
        fs::write(format!("{}/cgroup.procs", cgroup.path()), pid.to_string()).unwrap();
        let process = (pid, start_ticks(pid));
        let path = helper.freeze(process, None).unwrap();
        assert!(cgroup.path().ends_with(&path), "{path}");
        assert!(stands_still(&cgroup));
        helper.thaw(&path).unwrap();
        assert_eq!(fs::read_to_string(format!("{}/cgroup.freeze", cgroup.path())).unwrap(), "0\n");
        sleeper.start_kill().unwrap();
        sleeper.wait().await.unwrap();
        assert!(matches!(helper.freeze(process, None), Err(FreezeError::Gone)));
        let own = std::process::id();
        let refused = helper.freeze((own, start_ticks(own)), None);
        assert!(matches!(refused, Err(FreezeError::Forbidden(_, Why::Own | Why::Root))));
    });
}
