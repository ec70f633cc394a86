//! What does not work here is found out, named, and does not stop what works.
#![expect(unsafe_code, reason = "bpf(2) has no safe wrapper for exclusive attachment")]

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};

use agent::capture::{Capability, Capture, Helper};
use agent_common::program;
use aya::programs::loaded_programs;

use super::world::{Cgroup, isolated, world};

fn row<'a>(capture: &'a Capture, hook: &str) -> &'a Capability {
    capture.capabilities().rows.iter().find(|row| row.hook == hook).expect("a row")
}

#[test]
fn without_ipv6() {
    isolated(async || {
        // Of this thread's namespace.
        fs::write("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "1").unwrap();
        let cgroup = Cgroup::new();
        let capture =
            Capture::attach(&cgroup.settings(), &Helper::in_process(), &agent::drain::Drain::new())
                .unwrap();
        assert_eq!(capture.listeners().unwrap().len(), 1);
        for hook in ["connect4", "connect6 (IPv4-mapped)", "sockops", "getpeername6"] {
            assert!(row(&capture, hook).ok, "{hook}");
        }
        let connect6 = row(&capture, "connect6");
        assert!(!connect6.ok && connect6.missing.contains("::1"), "{connect6:?}");
        assert!(connect6.consequence.contains("IPv4 is captured"));
    });
}

#[test]
fn with_a_hook_that_somebody_else_holds() {
    world(async |world| {
        let cgroup = Cgroup::new();
        let id = hold_exclusively(&cgroup.open(), program::CONNECT6, 11);
        let capture =
            Capture::attach(&cgroup.settings(), &Helper::in_process(), &world.drain).unwrap();
        let connect6 = row(&capture, "connect6");
        let owner = format!("exclusively by {} (program {id})", program::CONNECT6);
        assert!(!connect6.ok && connect6.missing.ends_with(&owner), "{connect6:?}");
        assert!(row(&capture, "connect4").ok);
    });
}

#[test]
fn without_hearing_name_servers() {
    world(async |world| {
        let cgroup = Cgroup::new();
        hold_exclusively(&cgroup.open(), program::ANSWERS, 0);
        let capture =
            Capture::attach(&cgroup.settings(), &Helper::in_process(), &world.drain).unwrap();
        let answers = row(&capture, "DNS answers");
        assert!(!answers.ok && answers.missing.contains("exclusively"), "{answers:?}");
        assert!(answers.consequence.contains("our own look-ups"));
        let others = capture.capabilities().rows.iter().filter(|row| row.hook != "DNS answers");
        assert!(others.into_iter().all(|row| row.ok), "{:#?}", capture.capabilities());
    });
}

#[test]
fn without_seeing_what_is_sent() {
    world(async |world| {
        let cgroup = Cgroup::new();
        hold_exclusively(&cgroup.open(), program::QUIC, 1);
        let capture =
            Capture::attach(&cgroup.settings(), &Helper::in_process(), &world.drain).unwrap();
        let egress = row(&capture, "quic egress");
        assert!(!egress.ok && egress.missing.contains("exclusively"), "{egress:?}");
        assert!(egress.consequence.contains("connections over TCP are captured"));
        let others = capture.capabilities().rows.iter().filter(|row| row.hook != "quic egress");
        assert!(others.into_iter().all(|row| row.ok), "{:#?}", capture.capabilities());
    });
}

/// Attaches the loaded program `name` to a hook the old way, as some tools do; returns its id.
fn hold_exclusively(cgroup: &File, name: &str, hook: u32) -> u32 {
    const BPF_PROG_ATTACH: libc::c_long = 8;
    let found = loaded_programs().filter_map(Result::ok).find(|it| it.name() == name.as_bytes());
    let info = found.expect("loaded by this test's world, if by nobody else");
    let program = info.fd().unwrap();
    let fd = |fd: &dyn AsRawFd| fd.as_raw_fd().unsigned_abs();
    // Target, program, hook, flags: none, that is exclusively.
    let attr: [u32; 4] = [fd(cgroup), fd(&program.as_fd()), hook, 0];
    // SAFETY: the kernel reads as many bytes as it is told `attr` has.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, attr.as_ptr(), size_of_val(&attr)) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    info.id()
}
