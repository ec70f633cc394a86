//! Callers that are gone, or not who they were.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::*;

#[test]
fn a_process_that_is_gone_is_attributed_from_what_the_kernel_saved() {
    let mut running = Running::start("bash", &["-c", "echo; read"]);
    let caller = Caller { uid: 0, cgroup: u64::MAX, ..running.caller() };
    running.end();
    let subject = identities(&[]).resolve(&caller);
    assert_eq!(&*subject.workload.name, "exe:worker");
    let process = &subject.process;
    assert!(!process.verified);
    assert_eq!((process.pid, process.start_ticks, process.uid), (caller.tgid, 0, 0));
    assert_eq!(process.user.as_deref(), Some("root"));
    assert_eq!(&*process.exe, "");
}

#[test]
fn one_that_is_dead_but_not_reaped_is_gone() {
    let mut child = Command::new("bash").args(["-c", "exit 0"]).spawn().unwrap();
    let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).unwrap();
    let subject = identities(&[]).resolve(&caller(child.id()));
    assert!(!subject.process.verified);
    assert_eq!(&*subject.workload.name, "exe:worker");
    child.wait().unwrap();
}

#[test]
fn one_known_before_keeps_its_name_but_not_our_word() {
    let mut running = Running::start("bash", &["-c", "echo; read"]);
    let identities = identities(&[]);
    let caller = Caller { comm: "bash".to_owned(), ..running.caller() };
    let alive = identities.resolve(&caller);
    assert!(alive.process.verified);
    running.end();
    let gone = identities.resolve(&caller);
    assert!(!gone.process.verified);
    assert_eq!(gone.workload, alive.workload);
    assert_eq!(gone.process.start_ticks, alive.process.start_ticks);
    // Another user, cgroup or thread name says that it may be another process.
    for other in [
        Caller { uid: caller.uid + 1, ..caller.clone() },
        Caller { cgroup: 2, ..caller.clone() },
        Caller { comm: "sh".to_owned(), ..caller },
    ] {
        assert_eq!(identities.resolve(&other).process.start_ticks, 0);
    }
}

#[test]
fn exits_at_any_moment_never_yield_a_wrong_answer() {
    let identities = identities(&[]);
    for _ in 0..100 {
        let mut child = Command::new("true").spawn().unwrap();
        let subject = identities.resolve(&caller(child.id()));
        if subject.process.verified {
            assert!(subject.process.exe.ends_with("true"), "{}", subject.process.exe);
        } else {
            assert_eq!(&*subject.workload.name, "exe:worker");
        }
        child.wait().unwrap();
    }
}

#[test]
fn a_process_younger_than_the_connect_is_not_the_caller() {
    let running = Running::start("bash", &["-c", "echo; read"]);
    let look = Look { pid: running.pid(), user: true, known: None };
    let Sight::Process(facts) = Helper::in_process().identify(look) else { panic!("it runs") };
    assert_eq!(facts.uid, Some(rustix::process::getuid().as_raw()));
    let started = facts.stat.started();
    let identities = identities(&[]);
    let before = started.checked_sub(Duration::from_nanos(1)).unwrap();
    let subject = identities.resolve(&Caller { at: before, ..running.caller() });
    assert!(!subject.process.verified);
    assert_eq!(&*subject.workload.name, "exe:worker");
    assert!(identities.resolve(&Caller { at: started, ..running.caller() }).process.verified);
}

#[test]
fn a_pid_used_again_is_not_taken_for_the_caller() {
    let identities = identities(&[]);
    let mut first = Running::start("bash", &["-c", "echo; read"]);
    let old = first.caller();
    assert!(identities.resolve(&old).process.verified);
    first.end();
    // Until the clock has left the tick in which the first one connected.
    while since_boot() < old.at + Duration::from_millis(20) {
        std::thread::yield_now();
    }
    // With privilege the next pid can be chosen; others may take it first.
    let again = (0..50).find_map(|_| {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (old.tgid - 1).to_string()).ok()?;
        let next = Running::start("bash", &["-c", "echo; read"]);
        (next.pid() == old.tgid).then_some(next)
    });
    let Some(again) = again else { return };
    assert_eq!(identities.resolve(&again.caller()).process.pid, old.tgid);
    let subject = identities.resolve(&old);
    assert!(!subject.process.verified);
    assert_eq!(&*subject.workload.name, "exe:worker");
}
