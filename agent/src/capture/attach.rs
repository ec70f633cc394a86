//! Loads the programs and links them to a cgroup.
//!
//! The links are not pinned: they leave with this process, however it ends. connect is linked last
//! and unlinked first, so that nothing is ever redirected that could not be recognised again.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent_common::{Config, MAX_PORTS, map, program};
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError};
use aya::programs::cgroup_skb::CgroupSkbLink;
use aya::programs::cgroup_sock_addr::CgroupSockAddrLink;
use aya::programs::sock_ops::SockOpsLink;
use aya::programs::{
    CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr, Program, ProgramError,
    SockOps,
};
use aya::{Ebpf, EbpfLoader};
use ipnet::IpNet;
use rustix::thread::CapabilitySet;

use super::attached::{Doors, HANDED, Made, descriptor};
use super::capability::{self, Capabilities};
use super::chosen::{Chosen, ChosenSet};
use super::error::AttachError;
use super::guard;
use super::hosts::Hosts;
use super::narration::Narration;
use super::query::{self, Hook, Scope};
use super::stats::ProgramStats;
use super::table::Table;
use super::{MARK, Settings, cgroup};

pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-ebpf"));
static OBJECT_WITH_LOG: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-ebpf-log"));

/// The programs in the order they are linked.
const HOOKS: [(&str, &str, Hook); 9] = [
    (program::ANSWERS, capability::ANSWERS, Hook::SkbIngress),
    (program::SOCKOPS, capability::SOCKOPS, Hook::SockOps),
    (program::PEERNAME4, capability::PEERNAME4, Hook::Peername4),
    (program::PEERNAME6, capability::PEERNAME6, Hook::Peername6),
    (program::QUIC, capability::QUIC, Hook::SkbEgress),
    (program::SENDMSG6, capability::QUIC6, Hook::Sendmsg6),
    (program::SENDMSG4, capability::QUIC4, Hook::Sendmsg4),
    (program::CONNECT6, capability::CONNECT6, Hook::Connect6),
    (program::CONNECT4, capability::CONNECT4, Hook::Connect4),
];

/// What names of the helper's processes begin with.
const NAME: &str = "weir";

/// The programs in the kernel. Dropping it unlinks and unloads them.
pub(super) struct Attachment {
    links: Vec<Link>,
    config: Config,
    configs: Array<MapData, Config>,
    table: Table,
    chosen: Chosen,
    hosts: Hosts,
    ebpf: Ebpf,
    cgroup: PathBuf,
    /// As last set, for a guard that is put in place later.
    networks: Vec<IpNet>,
    post: Option<guard::Post>,
    _narration: Option<Narration>,
}

/// Held for what dropping it does.
enum Link {
    Address { _link: CgroupSockAddrLink },
    Operations { _link: SockOpsLink },
    Packets { _link: CgroupSkbLink },
}

impl Attachment {
    /// Loads, configures, links. Programs other than connect4 may fail; the table says so then.
    pub(super) fn new(settings: &Settings, doors: Doors) -> Result<(Self, Made), AttachError> {
        let path = match &settings.cgroup {
            Some(path) => path.clone(),
            None => cgroup::mount()?.ok_or(AttachError::NoCgroup)?,
        };
        let cgroup = File::open(&path)
            .map_err(|source| AttachError::Cgroup { path: path.clone(), source })?;
        let beside = settings.beside;
        check_alone(&cgroup, &[beside])?;

        let object = if settings.log { OBJECT_WITH_LOG } else { OBJECT };
        let mut ebpf = EbpfLoader::new().load(object)?;
        let config = configuration(settings, doors);
        let mut configs = Array::try_from(take(&mut ebpf, map::CONFIG)?)?;
        configs.set(0, config, 0)?;
        let table = Table::new(
            HashMap::try_from(take(&mut ebpf, map::TARGETS)?)?,
            LpmTrie::try_from(take(&mut ebpf, map::NETWORKS)?)?,
        );
        let mut capabilities = Capabilities::default();
        capabilities.set(capability::CGROUP, whole_host(settings, &path));
        let absent = || "IPv6 loopback in this network namespace".to_owned();
        capabilities.set(capability::LISTENER6, doors.port6.map(|_port| ()).ok_or_else(absent));

        let chosen = Chosen::new(
            HashMap::try_from(take(&mut ebpf, map::CGROUPS)?)?,
            HashMap::try_from(take(&mut ebpf, map::USERS)?)?,
        );
        let hosts = Hosts::new(LpmTrie::try_from(take(&mut ebpf, map::HOSTS)?)?);
        let narration = settings.log.then(|| Narration::start(&mut ebpf)).transpose()?;
        let mut attachment = Self {
            links: Vec::new(),
            config,
            configs,
            table,
            chosen,
            hosts,
            ebpf,
            cgroup: path,
            networks: Vec::new(),
            post: None,
            _narration: narration,
        };
        for (name, hook, kind) in HOOKS {
            let linked = attachment.link(name, &cgroup, kind);
            if hook == capability::CONNECT4
                && let Err(reason) = &linked
            {
                return Err(AttachError::Connect(reason.clone()));
            }
            capabilities.set(hook, linked);
        }
        check_alone(&cgroup, &[Some(attachment.connect()), beside])?;

        let ebpf = &mut attachment.ebpf;
        let maps = HANDED.iter().map(|name| descriptor(&take(ebpf, name)?));
        let maps = maps.collect::<Result<_, AttachError>>()?;
        Ok((attachment, Made { maps, capabilities }))
    }

    /// Leaves the connections of this thread-group id alone.
    pub(super) fn spare(&mut self, tgid: u32) -> Result<(), AttachError> {
        self.config.tgid = tgid;
        Ok(self.configs.set(0, self.config, 0)?)
    }

    /// Redirects, or only watches.
    pub(super) fn redirect(&mut self, on: bool) -> Result<(), AttachError> {
        self.config.redirect = u32::from(on);
        Ok(self.configs.set(0, self.config, 0)?)
    }

    /// Replaces the targets; returns how many did not fit.
    pub(super) fn targets(&mut self, networks: &[IpNet]) -> Result<usize, AttachError> {
        let left_out = self.table.replace(networks);
        self.config.networks = u32::from(self.table.has_networks());
        self.configs.set(0, self.config, 0)?;
        if let Some(post) = &mut self.post {
            post.targets(networks)?;
        }
        networks.clone_into(&mut self.networks);
        Ok(left_out)
    }

    /// Wants nothing any more, at once for every connection to come: each goes on to the programs that
    /// were attached after these. The guard is left to them too.
    pub(super) fn give_way(&mut self) -> Result<(), AttachError> {
        self.post = None;
        self.choose(&ChosenSet::default())?;
        self.targets(&[])?;
        Ok(())
    }

    /// The program at connect(2).
    pub(super) fn connect(&self) -> u32 {
        self.id(program::CONNECT4)
    }

    /// Puts the guard in place for this network namespace, or removes it where there is none given.
    /// Returns the map of the daemon's signs of life.
    pub(super) fn guard(&mut self, netns: Option<u64>) -> Result<Option<OwnedFd>, AttachError> {
        self.post = None;
        let Some(netns) = netns else {
            guard::leave(&self.cgroup)?;
            return Ok(None);
        };
        let settings = guard::settings(&self.config, netns);
        let mut post = guard::Post::take_up(&self.cgroup, settings)?;
        // What an earlier agent guarded stays guarded until there is something to put in its place.
        if !self.networks.is_empty() {
            post.targets(&self.networks)?;
        }
        let beat = post.beat()?;
        self.post = Some(post);
        Ok(Some(beat))
    }

    /// Adds targets, for a client that is about to connect; returns how many did not fit.
    pub(super) fn add(&mut self, addrs: &[IpAddr]) -> usize {
        self.table.add(addrs)
    }

    /// Replaces the hosts that answers of name servers are wanted about; returns how many did not fit.
    pub(super) fn hosts(&mut self, hosts: &[Arc<str>]) -> usize {
        self.hosts.replace(hosts)
    }

    /// Replaces whose connections are redirected wherever they go.
    pub(super) fn choose(&mut self, wanted: &ChosenSet) -> Result<usize, AttachError> {
        let left_out = self.chosen.replace(wanted);
        self.config.levels = self.chosen.levels();
        self.config.users = u32::from(self.chosen.has_users());
        self.configs.set(0, self.config, 0)?;
        Ok(left_out)
    }

    /// Run time and number of runs of each program.
    pub(super) fn statistics(&self) -> Vec<ProgramStats> {
        HOOKS
            .iter()
            .filter_map(|(name, _, _)| self.ebpf.program(name))
            // A program that was not loaded has no statistics.
            .filter_map(|program| program.info().ok())
            .map(|info| ProgramStats {
                name: String::from_utf8_lossy(info.name()).into_owned(),
                run_time: info.run_time(),
                runs: info.run_count(),
            })
            .collect()
    }

    fn id(&self, name: &str) -> u32 {
        let program = self.ebpf.program(name);
        program.and_then(|program| program.info().ok()).map_or(0, |info| info.id())
    }

    fn link(&mut self, name: &str, cgroup: &File, hook: Hook) -> Result<(), String> {
        let Some(program) = self.ebpf.program_mut(name) else {
            return Err(format!("the object has no program {name}"));
        };
        let linked = load_and_link(program, cgroup, hook);
        self.links.push(linked.map_err(|error| explain(&error, cgroup, hook))?);
        Ok(())
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        // At once for every connection to come, whatever unlinking takes.
        if self.redirect(false).is_err() {
            tracing::debug!("the programs' configuration is out of reach");
        }
        while let Some(link) = self.links.pop() {
            drop(link);
        }
    }
}

/// Links as `Single`: the kernel takes no other flag for links, and lets them stack all the same.
fn load_and_link(program: &mut Program, cgroup: &File, hook: Hook) -> Result<Link, ProgramError> {
    if let Program::SockOps(_) = program {
        let program: &mut SockOps = program.try_into()?;
        program.load()?;
        let id = program.attach(cgroup, CgroupAttachMode::Single)?;
        return Ok(Link::Operations { _link: program.take_link(id)? });
    }
    if let Program::CgroupSkb(_) = program {
        let program: &mut CgroupSkb = program.try_into()?;
        program.load()?;
        let way = if hook == Hook::SkbEgress {
            CgroupSkbAttachType::Egress
        } else {
            CgroupSkbAttachType::Ingress
        };
        let id = program.attach(cgroup, way, CgroupAttachMode::Single)?;
        return Ok(Link::Packets { _link: program.take_link(id)? });
    }
    let program: &mut CgroupSockAddr = program.try_into()?;
    program.load()?;
    let id = program.attach(cgroup, CgroupAttachMode::Single)?;
    Ok(Link::Address { _link: program.take_link(id)? })
}

fn configuration(settings: &Settings, doors: Doors) -> Config {
    let mut ports = [settings.ports.first().copied().unwrap_or(443); MAX_PORTS];
    for (to, from) in ports.iter_mut().zip(&settings.ports) {
        *to = *from;
    }
    Config {
        tgid: doors.tgid,
        mark: MARK,
        redirect: 0,
        networks: 0,
        listener4: doors.port4,
        listener6: doors.port6.unwrap_or(0),
        quic: u32::from(settings.refuse_quic),
        levels: 0,
        users: 0,
        ports,
    }
}

fn whole_host(settings: &Settings, path: &Path) -> Result<(), String> {
    if settings.cgroup.is_some() || cgroup::is_host_root(path).unwrap_or(true) {
        return Ok(());
    }
    Err(format!("{} is the top of a cgroup namespace, not of the host", path.display()))
}

/// Fails where an agent other than those whose connect4 has an id among `known` is attached. Asked
/// after linking too: of two that start at once, the later to link finds the earlier.
fn check_alone(cgroup: &File, known: &[Option<u32>]) -> Result<(), AttachError> {
    let programs = query::programs(cgroup.as_fd(), Hook::Connect4, Scope::Attached)?;
    for (id, name) in programs.iter().filter(|(id, _)| !known.contains(&Some(*id))) {
        let owner = if name.is_empty() { query::owner(*id) } else { None };
        if name == program::CONNECT4
            || owner.as_ref().is_some_and(|owner| owner.name.starts_with(NAME))
        {
            let who = owner.map(|owner| format!("pid {}, ", owner.pid)).unwrap_or_default();
            return Err(AttachError::Running(format!("{who}program {id}")));
        }
    }
    Ok(())
}

/// `CAP_PERFMON` is for the calling thread's name, which the kernel gives away only with it; before
/// 6.12 its verifier also takes ordinary spills for a leak of a pointer otherwise.
pub(super) fn check_privileges() -> Result<(), AttachError> {
    let held = rustix::thread::capabilities(None).map_err(io::Error::from)?.effective;
    let needed = [
        (CapabilitySet::BPF | CapabilitySet::SYS_ADMIN, "CAP_BPF"),
        (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
        (CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN, "CAP_PERFMON"),
    ];
    let missing = needed.iter().filter(|(either, _)| !held.intersects(*either));
    let missing: Vec<_> = missing.map(|(_, name)| *name).collect();
    if missing.is_empty() { Ok(()) } else { Err(AttachError::Privilege(missing.join(", "))) }
}

/// What is missing, in words for whoever has to fix it.
fn explain(error: &ProgramError, cgroup: &File, hook: Hook) -> String {
    let (io_error, linking) = match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            tracing::debug!(%error, "a program could not be loaded");
            return refusal(io_error, &verifier_log.to_string());
        }
        ProgramError::SyscallError(call) => (&call.io_error, call.call == "bpf_link_create"),
        other => return other.to_string(),
    };
    match (io_error.raw_os_error(), linking) {
        (Some(libc::EPERM), true) => {
            let there = query::programs(cgroup.as_fd(), hook, Scope::Effective);
            let names: Vec<_> = there
                .unwrap_or_default()
                .into_iter()
                .map(|(id, name)| match query::owner(id).filter(|_| name.is_empty()) {
                    Some(owner) => format!("program {id} of {owner}"),
                    None if name.is_empty() => format!("program {id}"),
                    None => format!("{name} (program {id})"),
                })
                .collect();
            format!("the hook is held exclusively by {}", names.join(", "))
        }
        (Some(libc::EINVAL), true) => "this kernel has no such hook".to_owned(),
        _ => error.to_string(),
    }
}

/// The last word of the verifier: the whole of what it says is hundreds of lines, which are logged.
fn refusal(error: &io::Error, log: &str) -> String {
    let sums = ["verification time", "stack depth", "processed "];
    let said = log.lines().rev().filter(|line| !sums.iter().any(|sum| line.starts_with(sum)));
    let mut last: Vec<_> = said.filter(|line| !line.trim().is_empty()).take(2).collect();
    last.reverse();
    if last.is_empty() {
        return format!("this kernel does not load the program: {error}");
    }
    let reason: String = last.join("; ").chars().take(300).collect();
    format!("this kernel's verifier refuses the program ({error}): {reason}")
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, AttachError> {
    ebpf.take_map(name).ok_or(AttachError::Map(MapError::InvalidName { name: name.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_the_verifier_says_the_reason_is_told() {
        let error = io::Error::from_raw_os_error(libc::EACCES);
        let log = "0: R1=ctx()\n184: (85) call bpf_skb_load_bytes#26\n\
                   invalid access to memory, mem_size=1536 off=8 size=0\n\
                   R3 min value is outside of the allowed memory range\n\
                   verification time 12320 usec\nstack depth 68+0\n\
                   processed 297 insns (limit 1000000)\n";
        let told = refusal(&error, log);
        assert!(told.contains("size=0; R3 min value is outside"), "{told}");
        assert!(!told.contains("processed") && !told.contains("ctx"), "{told}");
        assert!(refusal(&error, &"x".repeat(10_000)).len() < 500);
        assert!(refusal(&error, "").starts_with("this kernel does not load"));
    }
}
