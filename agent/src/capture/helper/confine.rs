//! Giving up privileges, for good: a process keeps what its work takes and can never get more.
//!
//! Capabilities and users are a thread's: everything here is called before there is a second one.
#![expect(
    unsafe_code,
    reason = "users of a whole process and ignored signals have no safe wrapper"
)]

use std::io;
use std::path::Path;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs,
};

/// What the helper keeps, and what for.
pub const HELPER: [(CapabilitySet, &str, &str); 5] = [
    (CapabilitySet::BPF, "CAP_BPF", "loading the programs"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN", "attaching them, marking sockets"),
    (CapabilitySet::PERFMON, "CAP_PERFMON", "callers' names; the verifier before Linux 6.12"),
    (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE", "other users' executables"),
    (
        CapabilitySet::DAC_READ_SEARCH,
        "CAP_DAC_READ_SEARCH",
        "other users' open sockets, their CA variable, and runtimes' files",
    ),
];

/// What it keeps beside that where a policy may freeze a workload: control groups that belong to
/// a user are that user's files.
pub const FREEZE: CapabilitySet = CapabilitySet::DAC_OVERRIDE;

/// What it keeps beside that where containers are metered: nobody enters a network namespace with
/// less.
pub const ENTER: CapabilitySet = CapabilitySet::SYS_ADMIN;

/// What the configuration asks of the helper beside what it always does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extras {
    /// A policy may freeze a workload.
    pub freeze: bool,
    /// Containers are metered.
    pub enter: bool,
}

/// What the helper keeps: the extras only where they are asked for.
pub fn helper(extras: Extras) -> CapabilitySet {
    let mut kept = HELPER.iter().fold(CapabilitySet::empty(), |all, (one, ..)| all | *one);
    kept.set(FREEZE, extras.freeze);
    kept.set(ENTER, extras.enter);
    kept
}

/// What the keeper keeps beside that where it is root's: it starts the daemon's successor, which
/// becomes its own user as the daemon has, and gives up the rest.
const SUCCEED: CapabilitySet =
    CapabilitySet::SETUID.union(CapabilitySet::SETGID).union(CapabilitySet::SETPCAP);

/// What the keeper keeps.
pub fn keeper(extras: Extras) -> CapabilitySet {
    let mut kept = helper(extras);
    kept.set(SUCCEED, rustix::process::geteuid().is_root());
    kept
}

/// What the daemon keeps once the helper runs: nothing, unless an older kernel refuses every use
/// of a map without `CAP_BPF`.
pub fn daemon() -> CapabilitySet {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let unprivileged = std::fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled");
    needed_for_maps(&release, unprivileged.unwrap_or_default().trim())
}

/// Since Linux 5.19 `unprivileged_bpf_disabled` keeps others from making maps and programs only;
/// before, from every use of the system call.
fn needed_for_maps(release: &str, disabled: &str) -> CapabilitySet {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let version = (numbers.next(), numbers.next());
    let newer = matches!(version, (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (5, 19));
    if newer || disabled == "0" { CapabilitySet::empty() } else { CapabilitySet::BPF }
}

/// Whether this process has anything to give up.
pub fn is_privileged() -> bool {
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    held.contains(CapabilitySet::BPF | CapabilitySet::NET_ADMIN)
        || held.contains(CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN)
}

/// A user to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
}

impl User {
    /// By name, from the host's own list.
    pub fn named(name: &str) -> Option<Self> {
        Self::find(&std::fs::read_to_string(Path::new("/etc/passwd")).ok()?, name)
    }

    fn find(users: &str, name: &str) -> Option<Self> {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == name).then_some(())?;
            let mut number = || fields.next()?.parse().ok();
            number();
            Some(Self { uid: number()?, gid: number()? })
        })
    }
}

/// Becomes `user`, where one is given, and keeps `wanted` of what it has and nothing else: not by
/// running another program either, and not to be looked into by others of the same user.
pub fn keep(wanted: CapabilitySet, user: Option<User>) -> io::Result<()> {
    // Asked for once and remembered. Before Linux 6.4 it is read from `/proc/self/auxv`, which is
    // closed to us from here on, and then asking panics.
    rustix::param::page_size();
    let held = capabilities(None)?;
    let kept = wanted & held.permitted;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for bit in 0..64 {
            let one = CapabilitySet::from_bits_retain(1 << bit);
            if wanted.contains(one) {
                continue;
            }
            match remove_capability_from_bounding_set(one) {
                // Beyond the last that this kernel knows.
                Err(rustix::io::Errno::INVAL) => break,
                done => done?,
            }
        }
    }
    if let Some(user) = user {
        // Would be lost with the user id 0 otherwise.
        set_keep_capabilities(true)?;
        become_user(user)?;
        set_keep_capabilities(false)?;
    }
    clear_ambient_capability_set()?;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: kept };
    set_capabilities(None, sets)?;
    if !rustix::process::geteuid().is_root() {
        // What a program run from here may keep; root's needs none of it.
        for (_, one) in kept.iter_names() {
            configure_capability_in_ambient_set(one, true)?;
        }
    }
    set_no_new_privs(true)?;
    // After the change of user, which sets it anew.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}

fn become_user(user: User) -> io::Result<()> {
    let ok = |done: libc::c_int| if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: plain numbers; the list of groups is empty.
    unsafe {
        ok(libc::setgroups(0, std::ptr::null()))?;
        ok(libc::setresgid(user.gid, user.gid, user.gid))?;
        ok(libc::setresuid(user.uid, user.uid, user.uid))
    }
}

/// Outlives what is sent to the daemon's whole group: the helper ends when the daemon does.
pub fn ignore_signals() {
    treat_signals(libc::SIG_IGN);
}

/// Undoes [`ignore_signals`], which programs started from here would go on with.
pub fn heed_signals() {
    treat_signals(libc::SIG_DFL);
}

fn treat_signals(way: libc::sighandler_t) {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: neither way runs code of ours.
        unsafe { libc::signal(signal, way) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_take_a_capability_only_on_older_kernels() {
        for (release, disabled, expected) in [
            ("6.18.44", "2", CapabilitySet::empty()),
            ("5.19.0-rc1", "2", CapabilitySet::empty()),
            ("5.15.0-91-generic", "2", CapabilitySet::BPF),
            ("5.15.0", "1", CapabilitySet::BPF),
            ("5.15.0", "0", CapabilitySet::empty()),
            ("odd", "", CapabilitySet::BPF),
        ] {
            assert_eq!(needed_for_maps(release, disabled), expected, "{release} {disabled}");
        }
    }

    #[test]
    fn users_are_found_by_their_whole_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\nweir2:x:9:9::/:/x\nweir:x:994:993::/:/x\n";
        assert_eq!(User::find(users, "weir"), Some(User { uid: 994, gid: 993 }));
        assert_eq!(User::find(users, "wei"), None);
        assert_eq!(User::find("weir:x:bad:1::/:\n", "weir"), None);
    }

    #[test]
    fn the_helper_keeps_one_more_where_policies_freeze() {
        let (none, freeze) = (Extras::default(), Extras { freeze: true, enter: false });
        assert_eq!(helper(freeze) - helper(none), FREEZE);
        assert!(!helper(freeze).contains(CapabilitySet::SYS_ADMIN));
        let enter = Extras { freeze: false, enter: true };
        assert_eq!(helper(enter) - helper(none), CapabilitySet::SYS_ADMIN);
    }
}
