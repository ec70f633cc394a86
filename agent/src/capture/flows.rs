//! Where accepted connections were going: [`Origins`] over the programs' maps.
//!
//! The programs publish the record under the connection's tuple before the SYN leaves, and save it
//! under the socket's cookie before that. Where the tuple is missing (evicted, or no sockops here)
//! the client's socket is asked for its cookie.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use agent_common::{Addr, FlowKey, Record};
use aya::maps::{HashMap, MapData, MapError};
use parking_lot::Mutex;

use super::listen::Listening;
use super::origin::{Caller, Origin, Origins};
use super::owner::diag;

/// The redirected connections of one network namespace that are yet to be accepted.
#[derive(Debug)]
pub(super) struct Flows {
    maps: Arc<Mutex<Maps>>,
    netns: u64,
    listener4: SocketAddr,
    listener6: Option<SocketAddr>,
    /// Asks for sockets of that namespace; `None` where it is the agent's own.
    diag: Option<Mutex<OwnedFd>>,
}

#[derive(Debug)]
struct Maps {
    flows: HashMap<MapData, FlowKey, Record>,
    records: HashMap<MapData, u64, Record>,
}

/// How a record was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// By the tuple that sockops published.
    Published,
    /// By the cookie of the client's socket.
    Recovered,
}

impl Flows {
    pub(super) fn new(
        flows: HashMap<MapData, FlowKey, Record>,
        records: HashMap<MapData, u64, Record>,
        listening: &Listening,
    ) -> Self {
        Self {
            maps: Arc::new(Mutex::new(Maps { flows, records })),
            netns: listening.netns,
            listener4: (Ipv4Addr::LOCALHOST, listening.port4()).into(),
            listener6: listening.port6().map(|port| (Ipv6Addr::LOCALHOST, port).into()),
            diag: None,
        }
    }

    /// Those of another namespace, where `diag` was opened; the ports are the same everywhere.
    pub(super) fn inside(&self, netns: u64, diag: OwnedFd) -> Self {
        Self {
            maps: Arc::clone(&self.maps),
            netns,
            listener4: self.listener4,
            listener6: self.listener6,
            diag: Some(Mutex::new(diag)),
        }
    }

    /// Cookie of the namespace.
    pub(super) fn netns(&self) -> u64 {
        self.netns
    }

    /// Ports of the listeners on 127.0.0.1 and, where there is one, on `::1`.
    pub(super) fn ports(&self) -> (u16, Option<u16>) {
        (self.listener4.port(), self.listener6.map(|listener| listener.port()))
    }

    /// [`Origins::take`], and how the record was found.
    pub(super) fn find(&self, client: SocketAddr) -> Option<(Origin, Found)> {
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        let key = FlowKey::new(self.netns, Addr::from(client.ip()), client.port());
        if let Some(record) = self.maps.lock().take_published(&key) {
            return Some((origin(&record), Found::Published));
        }
        let cookie = self.ask_socket(client)?;
        let record = self.maps.lock().take_saved(cookie)?;
        Some((origin(&record), Found::Recovered))
    }

    fn ask_socket(&self, client: SocketAddr) -> Option<u64> {
        let listener = if client.is_ipv4() { self.listener4 } else { self.listener6? };
        let answer = match &self.diag {
            Some(diag) => diag::ask(&diag.lock(), client, listener),
            None => diag::socket(client, listener),
        };
        match answer {
            Ok(socket) => socket?.cookie,
            Err(error) => {
                tracing::warn!(%error, "sock_diag does not answer: a connection is lost");
                None
            }
        }
    }
}

impl Origins for Flows {
    fn take(&self, client: SocketAddr) -> Option<Origin> {
        self.find(client).map(|(origin, _)| origin)
    }
}

impl Maps {
    fn take_published(&mut self, key: &FlowKey) -> Option<Record> {
        let record = known(self.flows.get(key, 0))?;
        known(self.flows.remove(key));
        // The socket may have begun another connection since: that one's record stays.
        if known(self.records.get(&record.cookie, 0)) == Some(record) {
            known(self.records.remove(&record.cookie));
        }
        Some(record)
    }

    fn take_saved(&mut self, cookie: u64) -> Option<Record> {
        let record = known(self.records.get(&cookie, 0))?;
        known(self.records.remove(&cookie));
        Some(record)
    }
}

/// What was found; an absent entry is an answer, anything else is worth a line in the log.
fn known<T>(found: Result<T, MapError>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => None,
        Err(error) => {
            let absent = matches!(&error, MapError::SyscallError(call)
                if call.io_error.raw_os_error() == Some(libc::ENOENT));
            if !absent {
                tracing::error!(%error, "the programs' maps do not answer");
            }
            None
        }
    }
}

/// A record in the daemon's words.
pub(super) fn origin(record: &Record) -> Origin {
    let len = record.comm.iter().position(|byte| *byte == 0).unwrap_or(record.comm.len());
    let comm = record.comm.get(..len).unwrap_or(&record.comm);
    Origin {
        destination: SocketAddr::new(IpAddr::from(record.destination), record.port),
        caller: Caller {
            tgid: record.tgid,
            uid: record.uid,
            gid: record.gid,
            cgroup: record.cgroup,
            netns: record.netns,
            comm: String::from_utf8_lossy(comm).into_owned(),
            at: Duration::from_nanos(record.at),
        },
        device: (record.device != 0).then_some(record.device),
        mark: (record.mark != 0).then_some(record.mark),
        cookie: record.cookie,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_of_a_record_are_absences() {
        let record = Record {
            cookie: 7,
            netns: 1,
            cgroup: 2,
            at: 1_500_000_000,
            destination: Addr::from("2001:db8::1".parse::<IpAddr>().unwrap()),
            tgid: 3,
            uid: 4,
            gid: 5,
            device: 0,
            mark: 9,
            port: 443,
            verdict: 1,
            seen: 0,
            comm: *b"exactly-15-char\0",
        };
        let origin = origin(&record);
        assert_eq!(origin.destination, "[2001:db8::1]:443".parse().unwrap());
        assert_eq!((origin.device, origin.mark), (None, Some(9)));
        assert_eq!(origin.caller.comm, "exactly-15-char");
        assert_eq!(origin.caller.at, Duration::from_millis(1500));
    }
}
