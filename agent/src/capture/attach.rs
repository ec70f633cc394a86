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

use agent_common::{Config, FlowKey, MAX_PORTS, Record, map, program};
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::cgroup_skb::CgroupSkbLink;
use aya::programs::cgroup_sock_addr::CgroupSockAddrLink;
use aya::programs::sock_ops::SockOpsLink;
use aya::programs::{
    CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr, Program, ProgramError,
    SockOps,
};
use aya::{Ebpf, EbpfError, EbpfLoader};
use ipnet::IpNet;
use rustix::thread::CapabilitySet;

use super::capability::{self, Capabilities};
use super::chosen::{Chosen, ChosenSet};
use super::hosts::Hosts;
use super::listen::{ListenError, Listening};
use super::query::{self, Hook, Scope};
use super::stats::ProgramStats;
use super::table::Table;
use super::{MARK, Settings, cgroup};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-ebpf"));
static OBJECT_WITH_LOG: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/weir-ebpf-log"));

/// The programs in the order they are linked.
const HOOKS: [(&str, &str, Hook); 8] = [
    (program::ANSWERS, capability::ANSWERS, Hook::SkbIngress),
    (program::SOCKOPS, capability::SOCKOPS, Hook::SockOps),
    (program::PEERNAME4, capability::PEERNAME4, Hook::Peername4),
    (program::PEERNAME6, capability::PEERNAME6, Hook::Peername6),
    (program::SENDMSG6, capability::QUIC6, Hook::Sendmsg6),
    (program::SENDMSG4, capability::QUIC4, Hook::Sendmsg4),
    (program::CONNECT6, capability::CONNECT6, Hook::Connect6),
    (program::CONNECT4, capability::CONNECT4, Hook::Connect4),
];

/// Inode of the initial pid namespace (`PROC_PID_INIT_INO`).
const INITIAL_PID_NAMESPACE: u64 = 0xefff_fffc;

/// Why the programs are not attached. Nothing is left behind then.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The process may not load programs.
    #[error("the kernel half needs {0}")]
    Privilege(String),
    /// No cgroup v2 hierarchy.
    #[error("no cgroup v2 hierarchy is mounted")]
    NoCgroup,
    /// The cgroup cannot be opened.
    #[error("cgroup {path} cannot be opened")]
    Cgroup {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The object or its maps were refused.
    #[error("the kernel refuses the programs' maps")]
    Load(#[from] EbpfError),
    /// The program without which nothing can be captured was refused.
    #[error("connect4 cannot be attached: {0}")]
    Connect(String),
    /// Another agent captures this cgroup.
    #[error("another Weir is attached to this cgroup already (program {0})")]
    Running(u32),
    /// A map is missing, or refuses an entry.
    #[error("a map of the programs does not work")]
    Map(#[from] MapError),
    /// Input or output failed.
    #[error("the kernel half's set-up failed")]
    Io(#[from] io::Error),
    /// The privileged side gave an answer that does not belong to the question.
    #[error("the helper process does not speak our protocol")]
    Protocol,
}

/// What the unprivileged side needs of the programs' maps.
pub(super) struct Attached {
    pub(super) flows: HashMap<MapData, FlowKey, Record>,
    pub(super) records: HashMap<MapData, u64, Record>,
    pub(super) heartbeat: Array<MapData, u64>,
    pub(super) events: RingBuf<MapData>,
    pub(super) answers: RingBuf<MapData>,
    pub(super) stats: PerCpuArray<MapData, u64>,
    pub(super) narration: Option<Narration>,
    pub(super) capabilities: Capabilities,
    /// Whether the programs know our thread-group id.
    pub(super) spared: bool,
}

/// What the programs log, where they were asked to.
pub(super) struct Narration {
    /// Readable when there is something.
    pub(super) ready: OwnedFd,
    /// Passes it on to the log.
    pub(super) flush: Box<dyn FnMut() + Send>,
}

/// The programs in the kernel. Dropping it unlinks and unloads them.
pub(super) struct Attachment {
    links: Vec<Link>,
    config: Config,
    configs: Array<MapData, Config>,
    table: Table,
    chosen: Chosen,
    hosts: Hosts,
    ebpf: Ebpf,
}

/// Held for what dropping it does.
enum Link {
    Address { _link: CgroupSockAddrLink },
    Operations { _link: SockOpsLink },
    Packets { _link: CgroupSkbLink },
}

impl Attachment {
    /// Loads, configures, links. Programs other than connect4 may fail; the table says so then.
    pub(super) fn new(
        settings: &Settings,
        listening: &Listening,
    ) -> Result<(Self, Attached), AttachError> {
        let path = match &settings.cgroup {
            Some(path) => path.clone(),
            None => cgroup::mount()?.ok_or(AttachError::NoCgroup)?,
        };
        let cgroup = File::open(&path)
            .map_err(|source| AttachError::Cgroup { path: path.clone(), source })?;
        check_alone(&cgroup, None)?;

        let object = if settings.log { OBJECT_WITH_LOG } else { OBJECT };
        let mut ebpf = EbpfLoader::new().load(object)?;
        let config = configuration(settings, listening);
        let mut configs = Array::try_from(take(&mut ebpf, map::CONFIG)?)?;
        configs.set(0, config, 0)?;
        let table = Table::new(
            HashMap::try_from(take(&mut ebpf, map::TARGETS)?)?,
            LpmTrie::try_from(take(&mut ebpf, map::NETWORKS)?)?,
        );
        let mut capabilities = Capabilities::default();
        capabilities.set(capability::CGROUP, whole_host(settings, &path));
        let absent = || "IPv6 loopback in this network namespace".to_owned();
        capabilities
            .set(capability::LISTENER6, listening.port6().map(|_port| ()).ok_or_else(absent));

        let chosen = Chosen::new(
            HashMap::try_from(take(&mut ebpf, map::CGROUPS)?)?,
            HashMap::try_from(take(&mut ebpf, map::USERS)?)?,
        );
        let hosts = Hosts::new(LpmTrie::try_from(take(&mut ebpf, map::HOSTS)?)?);
        let mut attachment =
            Self { links: Vec::new(), config, configs, table, chosen, hosts, ebpf };
        for (name, hook, kind) in HOOKS {
            let linked = attachment.link(name, &cgroup, kind);
            if hook == capability::CONNECT4
                && let Err(reason) = &linked
            {
                return Err(AttachError::Connect(reason.clone()));
            }
            capabilities.set(hook, linked);
        }
        check_alone(&cgroup, Some(attachment.id(program::CONNECT4)))?;

        let ebpf = &mut attachment.ebpf;
        let attached = Attached {
            flows: HashMap::try_from(take(ebpf, map::FLOWS)?)?,
            records: HashMap::try_from(take(ebpf, map::RECORDS)?)?,
            heartbeat: Array::try_from(take(ebpf, map::HEARTBEAT)?)?,
            events: RingBuf::try_from(take(ebpf, map::EVENTS)?)?,
            answers: RingBuf::try_from(take(ebpf, map::ANSWERS)?)?,
            stats: PerCpuArray::try_from(take(ebpf, map::STATS)?)?,
            narration: settings.log.then(|| narration(ebpf)).transpose()?,
            capabilities,
            spared: config.tgid != 0,
        };
        Ok((attachment, attached))
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
        Ok(left_out)
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
        let linked = load_and_link(program, cgroup);
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
fn load_and_link(program: &mut Program, cgroup: &File) -> Result<Link, ProgramError> {
    if let Program::SockOps(_) = program {
        let program: &mut SockOps = program.try_into()?;
        program.load()?;
        let id = program.attach(cgroup, CgroupAttachMode::Single)?;
        return Ok(Link::Operations { _link: program.take_link(id)? });
    }
    if let Program::CgroupSkb(_) = program {
        let program: &mut CgroupSkb = program.try_into()?;
        program.load()?;
        let ingress = CgroupSkbAttachType::Ingress;
        let id = program.attach(cgroup, ingress, CgroupAttachMode::Single)?;
        return Ok(Link::Packets { _link: program.take_link(id)? });
    }
    let program: &mut CgroupSockAddr = program.try_into()?;
    program.load()?;
    let id = program.attach(cgroup, CgroupAttachMode::Single)?;
    Ok(Link::Address { _link: program.take_link(id)? })
}

fn configuration(settings: &Settings, listening: &Listening) -> Config {
    let mut ports = [settings.ports.first().copied().unwrap_or(443); MAX_PORTS];
    for (to, from) in ports.iter_mut().zip(&settings.ports) {
        *to = *from;
    }
    Config {
        tgid: own_tgid(),
        mark: MARK,
        redirect: 0,
        networks: 0,
        listener4: listening.port4(),
        listener6: listening.port6().unwrap_or(0),
        quic: u32::from(settings.refuse_quic),
        levels: 0,
        users: 0,
        ports,
    }
}

/// Our thread-group id as the programs see it; 0 in a pid namespace of our own, where that number
/// belongs to somebody else: then the self-test finds it out.
fn own_tgid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    let initial = std::fs::metadata("/proc/self/ns/pid")
        .is_ok_and(|namespace| namespace.ino() == INITIAL_PID_NAMESPACE);
    if initial { std::process::id() } else { 0 }
}

fn whole_host(settings: &Settings, path: &Path) -> Result<(), String> {
    if settings.cgroup.is_some() || cgroup::is_host_root(path).unwrap_or(true) {
        return Ok(());
    }
    Err(format!("{} is the top of a cgroup namespace, not of the host", path.display()))
}

/// Fails where an agent other than the one whose connect4 has the id `own` is attached. Asked after
/// linking too: of two that start at once, the later to link finds the earlier.
fn check_alone(cgroup: &File, own: Option<u32>) -> Result<(), AttachError> {
    let programs = query::programs(cgroup.as_fd(), Hook::Connect4, Scope::Attached)?;
    let other = programs.iter().find(|(id, name)| name == program::CONNECT4 && Some(*id) != own);
    other.map_or(Ok(()), |(id, _)| Err(AttachError::Running(*id)))
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
        ProgramError::LoadError { io_error, .. } => (io_error, false),
        ProgramError::SyscallError(call) => (&call.io_error, call.call == "bpf_link_create"),
        other => return other.to_string(),
    };
    match (io_error.raw_os_error(), linking) {
        (Some(libc::EPERM), true) => {
            let there = query::programs(cgroup.as_fd(), hook, Scope::Effective);
            let names: Vec<_> = there
                .unwrap_or_default()
                .into_iter()
                .map(|(id, name)| format!("{name} (program {id})"))
                .collect();
            format!("the hook is held exclusively by {}", names.join(", "))
        }
        (Some(libc::EINVAL), true) => "this kernel has no such hook".to_owned(),
        _ => error.to_string(),
    }
}

fn narration(ebpf: &mut Ebpf) -> Result<Narration, AttachError> {
    let mut logger = aya_log::EbpfLogger::init(ebpf).map_err(io::Error::other)?;
    let ready = logger.as_fd().try_clone_to_owned()?;
    Ok(Narration { ready, flush: Box::new(move || logger.flush()) })
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, AttachError> {
    ebpf.take_map(name).ok_or(AttachError::Map(MapError::InvalidName { name: name.to_owned() }))
}
