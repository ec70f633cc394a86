//! From a pid to the workload: who opened a connection, on the kernel's word.
//!
//! A caller waits for our answer while it is examined, so it is normally alive. The helper reads it
//! as one instance, whose start must not lie after the connect: then the pid cannot have changed
//! hands. Otherwise what the kernel saved (uid, cgroup, thread name) has to do, and the subject says
//! so. The uid is always the one at connect time. Of a process's environment only the variables that
//! name certificates are ever looked at (see [`Identities::traits`]).
//!
//! Limits: a connection belongs to whoever called connect(2), also when it is handed on; pids are
//! those of the initial pid namespace, in which the agent must run.

mod cgroup;
mod hierarchy;
mod home;
mod containers;
mod grammar;
mod script;
mod lineage;
mod apps;
mod users;
mod redact;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use moka::sync::Cache;

use self::apps::Apps;
pub(super) use self::cgroup::{Container, Placement};
use self::containers::Containers;
use self::hierarchy::Hierarchy;
use self::home::Homes;
use self::lineage::ancestors;
use self::script::Program;
use self::users::Users;
pub(super) use self::users::uid;
use super::helper::{Facts, Helper, Instance, Look, Sight, Stat};
use super::origin::Caller;
use super::owner::Owner;
use crate::subject::{Parts, Process, Subject, Workload, printable};

pub use super::helper::{Anatomy, Traits};

/// Processes remembered.
const REMEMBERED: u64 = 8192;

/// How long a process is remembered without calling.
const IDLE: Duration = Duration::from_mins(30);

/// Longest path of an executable kept, in characters.
const EXE: usize = 256;

/// Finds out who callers are, and remembers it as long as they stay the same.
///
/// Resolving reads a few small files and may ask the user database: tens of microseconds for a
/// known process, about a hundred for a new one.
#[derive(Debug)]
pub struct Identities {
    helper: Helper,
    apps: Apps,
    users: Users,
    hierarchy: Hierarchy,
    homes: Homes,
    containers: Containers,
    known: Cache<u32, Arc<Known>>,
}

/// A process examined before. It stays the same caller as long as its instance and its cgroup do.
#[derive(Debug)]
struct Known {
    instance: Instance,
    /// Where known: only the kernel half tells.
    cgroup: Option<u64>,
    stat: Stat,
    subject: Arc<Subject>,
    /// Looked for when first asked for: they cannot change without an execve, which makes a new
    /// instance of this.
    traits: OnceLock<Option<Arc<Traits>>>,
}

impl Identities {
    /// Starts with the known coding agents and `apps`, further names of programs or scripts that
    /// count as application groups.
    pub fn new(helper: Helper, apps: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            apps: Apps::known_and(apps),
            users: Users::new(),
            hierarchy: Hierarchy::mounted(),
            homes: Homes::new(),
            containers: Containers::new(helper.clone()),
            known: Cache::builder().max_capacity(REMEMBERED).time_to_idle(IDLE).build(),
            helper,
        }
    }

    /// Who made this connect: always an answer, unverified where the process is gone.
    pub fn resolve(&self, caller: &Caller) -> Arc<Subject> {
        self.examine(caller.tgid, Some(caller)).unwrap_or_else(|| Arc::new(self.attribute(caller)))
    }

    /// The process that has this pid now; `None` where there is none.
    pub fn of_pid(&self, pid: u32) -> Option<Arc<Subject>> {
        self.examine(pid, None)
    }

    /// Whoever holds the client's end of a connection made to an explicit port.
    pub fn of_owner(&self, owner: &Owner) -> Arc<Subject> {
        owner.pid.and_then(|pid| self.of_pid(pid)).unwrap_or_else(|| {
            let parts = Parts::default();
            Arc::new(self.subject(&Seen { uid: owner.uid, ..Seen::default() }, &parts))
        })
    }

    /// Whether this process instance was started with the root `fingerprint` in its environment
    /// (`weir run`, `eval "$(weir env)"`).
    pub fn vouched(&self, process: &Process, fingerprint: &str) -> bool {
        self.helper.vouched(process.pid, process.start_ticks, fingerprint)
    }

    /// What decides whom this process instance trusts; `None` where nothing is known of it. What was
    /// seen once is remembered as the process is.
    pub fn traits(&self, process: &Process) -> Option<Arc<Traits>> {
        self.traits_of(process.pid, process.start_ticks)
    }

    /// The same, for whom only this is known of.
    pub fn traits_of(&self, pid: u32, start_ticks: u64) -> Option<Arc<Traits>> {
        let find = || self.helper.traits(pid, start_ticks).map(Arc::new);
        match self.known.get(&pid) {
            Some(known) if known.instance.start_ticks == start_ticks => {
                known.traits.get_or_init(find).clone()
            }
            _ => find(),
        }
    }

    /// What this process instance is made of; `None` where it is gone. Reads its whole executable.
    pub fn anatomy(&self, pid: u32, start_ticks: u64) -> Option<Anatomy> {
        self.helper.anatomy(pid, start_ticks)
    }

    /// The control groups of workloads that have one of their own, as far as callers have been in
    /// them; some may be gone.
    pub fn groups(&self) -> Vec<(Arc<str>, PathBuf)> {
        self.hierarchy.root().map(|root| self.homes.all(root)).unwrap_or_default()
    }

    fn examine(&self, pid: u32, caller: Option<&Caller>) -> Option<Arc<Subject>> {
        let known = self.known.get(&pid).filter(|known| known.may_be(caller));
        let instance = known.as_ref().map(|known| known.instance.clone());
        let look = Look { pid, user: caller.is_none(), known: instance };
        let facts = match self.helper.identify(look) {
            Sight::Gone => return None,
            Sight::Same => return known.map(|known| Arc::clone(&known.subject)),
            Sight::Process(facts) => *facts,
        };
        // The start is rounded down to a tick of 10 ms, so a process that did connect never looks
        // too young. One that took over the pid within the same tick would pass; that takes
        // privilege or a run through all pids in between.
        if caller.is_some_and(|caller| facts.stat.started() > caller.at) {
            return None;
        }
        let uid = caller.map_or(facts.uid, |caller| Some(caller.uid))?;
        let cgroup = caller.map(|caller| caller.cgroup);
        let subject = Arc::new(self.describe((pid, uid), &facts, cgroup));
        let Facts { stat, exe, .. } = facts;
        let instance = Instance { start_ticks: stat.start_ticks, image: stat.image, exe, uid };
        let traits = OnceLock::new();
        let known = Known { instance, cgroup, stat, subject: Arc::clone(&subject), traits };
        self.known.insert(pid, Arc::new(known));
        Some(subject)
    }

    fn describe(&self, (pid, uid): (u32, u32), facts: &Facts, cgroup: Option<u64>) -> Subject {
        let Facts { stat, exe, arguments, cgroups, .. } = facts;
        let placement = self.placement(cgroups, cgroup);
        // Without privilege the executables of others are not to be seen.
        let mut program = match exe {
            Some(path) => script::program(path, arguments),
            None if stat.kernel => Program { exe: "kernel".into(), ..Program::default() },
            None => Program { exe: stat.comm.clone(), ..Program::default() },
        };
        if program.is_worker
            && let Some(boss) =
                ancestors(&self.helper, stat).find(|ancestor| !ancestor.program.is_worker)
            && boss.program.exe == program.exe
        {
            program = boss.program;
        }
        let app = self.apps.group(&program, stat, &placement, &self.helper);
        let names = self.names(&placement);
        let parts = Parts {
            app: app.as_deref(),
            exe: &program.exe,
            script: program.script.as_deref(),
            ..names.parts(&placement)
        };
        let seen = Seen {
            pid,
            start_ticks: stat.start_ticks,
            exe: exe.as_deref().unwrap_or_default(),
            command: &redact::command(arguments),
            uid,
            verified: exe.is_some() || stat.kernel,
        };
        let subject = self.subject(&seen, &parts);
        self.homes.note(&subject.workload.name, cgroups, &placement);
        subject
    }

    /// Where the process stood when it connected. It may have been moved since; then the cgroup
    /// the kernel saved counts, unless that is the root, as it is for all on hosts that use the
    /// first version.
    fn placement(&self, lines: &str, saved: Option<u64>) -> Placement {
        let unified = lines.lines().find_map(|line| line.strip_prefix("0::"));
        if let (Some(id), Some(path)) = (saved, unified)
            && path != "/"
            && !self.hierarchy.confirm(id, path)
            && let Some(path) = self.hierarchy.path(id)
        {
            return Placement::of_path(&path);
        }
        Placement::of_lines(lines)
    }

    /// Makes do with what the kernel saved of a process that is gone.
    fn attribute(&self, caller: &Caller) -> Subject {
        // The last process known under this pid may well have been the caller: it is if the kernel
        // saw the same user, cgroup and thread name. Still nobody can vouch for it.
        let known = self.known.get(&caller.tgid).filter(|known| {
            known.stat.started() <= caller.at
                && known.stat.comm == caller.comm
                && known.instance.uid == caller.uid
                && known.cgroup == Some(caller.cgroup)
        });
        if let Some(known) = known {
            let mut subject = Subject::clone(&known.subject);
            subject.process.verified = false;
            return subject;
        }
        let path = self.hierarchy.path(caller.cgroup);
        let placement = path.map(|path| Placement::of_path(&path)).unwrap_or_default();
        let names = self.names(&placement);
        let parts = Parts { exe: &caller.comm, ..names.parts(&placement) };
        self.subject(&Seen { pid: caller.tgid, uid: caller.uid, ..Seen::default() }, &parts)
    }

    fn names(&self, placement: &Placement) -> Names {
        Names {
            pod: placement.pod.as_deref().map(|uid| self.containers.pod(uid)),
            container: placement.container.as_ref().map(|container| match container {
                // Runtimes of users keep their files in home directories, which are not trusted.
                Container::Id(id) if placement.manager.is_some() => id[..12].into(),
                Container::Id(id) => self.containers.container(id),
                Container::Name(name) => name.as_str().into(),
            }),
        }
    }

    fn subject(&self, seen: &Seen<'_>, parts: &Parts<'_>) -> Subject {
        let process = Process {
            pid: seen.pid,
            start_ticks: seen.start_ticks,
            exe: printable(seen.exe, EXE).into(),
            command: seen.command.into(),
            uid: seen.uid,
            user: self.users.name(seen.uid),
            verified: seen.verified,
        };
        Subject { process, workload: Workload::derive(parts) }
    }
}

/// Names looked up for a placement.
struct Names {
    pod: Option<Arc<str>>,
    container: Option<Arc<str>>,
}

impl Names {
    fn parts<'a>(&'a self, placement: &'a Placement) -> Parts<'a> {
        Parts {
            pod: self.pod.as_deref(),
            container: self.container.as_deref(),
            unit: placement.unit.as_deref(),
            manager: placement.manager,
            ..Parts::default()
        }
    }
}

/// What was seen of a process.
#[derive(Default)]
struct Seen<'a> {
    pid: u32,
    start_ticks: u64,
    exe: &'a str,
    command: &'a str,
    uid: u32,
    verified: bool,
}

impl Known {
    /// Whether this may have made the connect, for what the kernel half says of it.
    fn may_be(&self, caller: Option<&Caller>) -> bool {
        caller.is_none_or(|caller| {
            self.instance.uid == caller.uid
                && self.cgroup == Some(caller.cgroup)
                && self.stat.started() <= caller.at
        })
    }
}

#[cfg(test)]
mod tests;
