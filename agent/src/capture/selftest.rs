//! Tries the programs out: real connections to addresses that nobody has, which must arrive at our
//! listeners all the same.
//!
//! They are made by a child, because the programs leave our own connections alone, and because the
//! cgroup captured need not be ours. The child is this process forked; it never runs a program, so
//! nothing need be installed for it.
#![expect(unsafe_code, reason = "what runs between fork and exec takes the word")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ipnet::IpNet;
use rustix::event::Timespec;
use rustix::net::{AddressFamily, SocketAddrAny, SocketFlags, SocketType, ipproto, sockopt};
use serde::{Deserialize, Serialize};

use super::capability::{self, Capabilities};
use super::error::AttachError;
use super::events::{Event, Ring};
use super::flows::{Flows, Found};
use super::heartbeat::Heart;
use super::helper::Helper;
use super::listen::Listening;
use super::origin::Origin;
use super::{Settings, cgroup};
use crate::clock;

/// Addresses reserved for documentation: no packet for them is ever answered.
const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 87));
const MAPPED: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 87));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x87));

/// What the child dials: over IPv4, over an IPv6 socket to an IPv4 address, over IPv6.
const PROBES: [(AddressFamily, IpAddr); 3] =
    [(AddressFamily::INET, V4), (AddressFamily::INET6, MAPPED), (AddressFamily::INET6, V6)];

/// A redirected connection is established at once; only one that leaves the machine waits.
const PATIENCE: Duration = Duration::from_millis(500);

/// The end of a connection is reported at once; this is for a machine under load.
const REPORTED: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What one connection looked like from the child.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Knock {
    /// Error number of connect(2); 0 for none.
    errno: u8,
    /// Whether getpeername(2) told the address asked for.
    peer_restored: bool,
}

/// Everything the test looks at.
pub(super) struct Probe<'a> {
    pub(super) settings: &'a Settings,
    pub(super) listening: &'a Listening,
    pub(super) flows: &'a Flows,
    pub(super) ring: &'a mut Ring,
    /// Whether the programs know our thread-group id already.
    pub(super) spared: bool,
}

impl Probe<'_> {
    /// Dials, looks at what arrived, and enters it into the table. The programs are left as they
    /// were: nothing wanted, nothing redirected.
    pub(super) fn run(
        self,
        helper: &Helper,
        heart: &mut Heart,
        capabilities: &mut Capabilities,
    ) -> Result<(), AttachError> {
        let port = self.settings.ports.first().copied().unwrap_or(443);
        heart.beat();
        helper.targets(&[V4, MAPPED, V6].map(IpNet::from))?;
        helper.redirect(true)?;
        if !self.spared
            && let Some(tgid) = self.own_tgid(port)
        {
            helper.spare(tgid)?;
        }
        let knocks = helper.knock(self.settings.cgroup.as_deref(), port)?;
        let arrived = arrivals(self.listening, self.flows);
        helper.redirect(false)?;
        helper.targets(&[])?;
        let mut events = Vec::new();
        while let Some(event) = self.ring.wait(&REPORTED) {
            events.push(event);
            if events.iter().filter(|event| matches!(event, Event::Closed(_))).count()
                == PROBES.len()
            {
                break;
            }
        }
        // Whatever is reported later of the connections just made is nobody's business.
        self.ring.skip_before(clock::since_boot());
        let seen = Seen { knocks, arrived, events, ipv6: self.listening.port6().is_some() };
        seen.enter(capabilities);
        Ok(())
    }

    /// Our thread-group id as the programs see it, from a connection of our own: while they do not
    /// know it, and for want of a mark, they lead it here like anybody's.
    fn own_tgid(&self, port: u16) -> Option<u32> {
        let target = address(AddressFamily::INET, V4, port);
        // Its answer is what arrives: nothing does where the programs are not for our cgroup, and
        // then there is nothing to spare us from.
        dial(AddressFamily::INET, target);
        let mut arrived = arrivals(self.listening, self.flows).into_iter();
        arrived
            .find(|(origin, _)| origin.destination == target)
            .map(|(origin, _)| origin.caller.tgid)
    }
}

/// What the test saw.
struct Seen {
    knocks: Result<[Knock; 3], String>,
    arrived: Vec<(Origin, Found)>,
    events: Vec<Event>,
    ipv6: bool,
}

impl Seen {
    fn enter(&self, table: &mut Capabilities) {
        let knocks = match &self.knocks {
            Ok(knocks) => knocks,
            Err(error) => {
                table.set(
                    capability::CONNECT4,
                    Err(format!("the self-test could not run: {error}")),
                );
                return;
            }
        };
        table.set(capability::CONNECT4, self.redirected(V4, knocks[0]));
        table.set(capability::MAPPED, self.redirected(MAPPED, knocks[1]));
        let v6 = if self.ipv6 {
            self.redirected(V6, knocks[2])
        } else {
            Err("a listener on ::1".to_owned())
        };
        table.set(capability::CONNECT6, v6);
        let not_restored = || "the peer's address is not restored (Linux 5.8)".to_owned();
        let restored = |knock: Knock| knock.peer_restored.then_some(()).ok_or_else(not_restored);
        table.set(capability::PEERNAME4, restored(knocks[0]));
        table.set(capability::PEERNAME6, restored(knocks[if self.ipv6 { 2 } else { 1 }]));

        let published = self.arrived.iter().all(|(_, found)| *found == Found::Published);
        let unpublished = || "no tuple was published".to_owned();
        table.set(capability::SOCKOPS, published.then_some(()).ok_or_else(unpublished));
        let closed = self.events.iter().any(|event| matches!(event, Event::Closed(_)));
        let silent = || "no end of a connection was reported".to_owned();
        table.set(capability::EVENTS, closed.then_some(()).ok_or_else(silent));
    }

    fn redirected(&self, to: IpAddr, knock: Knock) -> Result<(), String> {
        if self.arrived.iter().any(|(origin, _)| origin.destination.ip() == to) {
            return Ok(());
        }
        let left_alone = self.events.iter().find_map(|event| match event {
            Event::Opened(opened) if opened.origin.destination.ip() == to => Some(opened.verdict),
            _ => None,
        });
        let error = io::Error::from_raw_os_error(knock.errno.into());
        Err(match left_alone {
            Some(verdict) => format!("a connection to {to} went direct ({verdict:?})"),
            None => format!("the hook did not run for a connection to {to} ({error})"),
        })
    }
}

/// Accepts whatever is there; returns where it was going.
fn arrivals(listening: &Listening, flows: &Flows) -> Vec<(Origin, Found)> {
    let mut arrived = Vec::new();
    for listener in listening.sockets() {
        // The child is gone: all that will arrive is in the backlog.
        while let Ok((_socket, client)) = listener.accept() {
            arrived.extend(flows.find(client));
        }
    }
    arrived
}

/// Forks a child that dials from within the cgroup, and collects what it saw. Entering a cgroup
/// takes privilege, so the helper does it.
pub(super) fn knock_from_child(cgroup: Option<&Path>, port: u16) -> io::Result<[Knock; 3]> {
    let enter = match cgroup {
        Some(path) if !cgroup::is_inside(path)? => {
            Some(OpenOptions::new().write(true).open(path.join("cgroup.procs"))?)
        }
        _ => None,
    };
    let (reports, report) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let targets = PROBES.map(|(family, ip)| (family, address(family, ip, port)));
    let in_child = move || dial_all(enter.as_ref(), &targets, &report);
    let mut command = Command::new("/proc/self/exe");
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
    unsafe { command.pre_exec(in_child) };
    // Cannot succeed: the child gives up before it would run anything. Its end is waited for.
    let ended = command.spawn();
    drop(command);
    let mut bytes = Vec::new();
    File::from(reports).read_to_end(&mut bytes)?;
    let (pairs, _) = bytes.as_chunks::<2>();
    let knocks: Vec<_> = pairs
        .iter()
        .map(|[errno, restored]| Knock { errno: *errno, peer_restored: *restored == 1 })
        .collect();
    match (<[Knock; 3]>::try_from(knocks), ended) {
        (Ok(knocks), _) => Ok(knocks),
        (Err(_incomplete), Err(error)) => Err(error),
        (Err(_incomplete), Ok(_running)) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Runs in the child. Always fails, so that the child ends here.
fn dial_all(
    enter: Option<&File>,
    targets: &[(AddressFamily, SocketAddr); 3],
    report: &OwnedFd,
) -> io::Result<()> {
    if let Some(procs) = enter {
        rustix::io::write(procs, b"0")?;
    }
    for (family, target) in targets {
        let knock = dial(*family, *target);
        rustix::io::write(report, &[knock.errno, u8::from(knock.peer_restored)])?;
    }
    Err(io::Error::from_raw_os_error(libc::ECANCELED))
}

fn dial(family: AddressFamily, target: SocketAddr) -> Knock {
    let dialled = || {
        let socket = rustix::net::socket_with(
            family,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            Some(ipproto::TCP),
        )?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
        rustix::net::connect(&socket, &target)?;
        rustix::net::getpeername(&socket)
    };
    match dialled() {
        Ok(peer) => Knock { errno: 0, peer_restored: peer == Some(SocketAddrAny::from(target)) },
        Err(error) => {
            let errno = u8::try_from(error.raw_os_error()).unwrap_or(u8::MAX);
            Knock { errno, peer_restored: false }
        }
    }
}

/// The address as a socket of `family` has it.
fn address(family: AddressFamily, ip: IpAddr, port: u16) -> SocketAddr {
    match ip {
        IpAddr::V4(v4) if family == AddressFamily::INET6 => (v4.to_ipv6_mapped(), port).into(),
        _ => (ip, port).into(),
    }
}
