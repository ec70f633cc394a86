//! Resolves host names over sockets that carry our mark, so that nothing the agent asks for is
//! ever redirected to the agent.
//!
//! Like any client of this machine: the hosts file first, then the name servers of `resolv.conf`,
//! and where there are none, whatever the system's resolver does.

use std::fs;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hickory_resolver::Hosts;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{RuntimeProvider, TokioHandle, TokioTime};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use parking_lot::Mutex;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use super::helper::{Helper, Kind, Wish};

/// How long an answer without a time to live holds: the hosts file, the system's resolver.
const UNTIMED: Duration = Duration::from_mins(1);
/// For name servers that do not answer over TCP.
const DIAL: Duration = Duration::from_secs(5);

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The addresses of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// IPv4 and IPv6.
    pub addrs: Vec<IpAddr>,
    /// How long they hold.
    pub ttl: Duration,
}

/// Why a name has no addresses.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The name servers have none, or do not answer.
    #[error("{host} does not resolve: {source}")]
    Dns {
        /// The name asked for.
        host: String,
        /// What they said.
        #[source]
        source: NetError,
    },
    /// The system's resolver failed.
    #[error("{host} does not resolve: {source}")]
    System {
        /// The name asked for.
        host: String,
        /// What it said.
        #[source]
        source: io::Error,
    },
}

/// Resolves names; clones share one state.
#[derive(Debug, Clone)]
pub struct Resolver {
    helper: Helper,
    state: Arc<Mutex<Option<State>>>,
}

/// What the machine's configuration came to, and the age of its files.
#[derive(Clone)]
struct State {
    stamp: Stamp,
    hosts: Arc<Hosts>,
    /// `None` where no name servers are configured.
    dns: Option<hickory_resolver::Resolver<Marked>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("dns", &self.dns.is_some()).finish_non_exhaustive()
    }
}

type Stamp = [Option<SystemTime>; 2];

impl Resolver {
    /// A resolver as this machine is configured. The files are read at the first look-up, and again
    /// when they change.
    pub fn new(helper: Helper) -> Self {
        Self { helper, state: Arc::default() }
    }

    /// The addresses of `host`, which may also be an address itself.
    pub async fn lookup(&self, host: &str) -> Result<Answer, ResolveError> {
        if let Ok(addr) = host.parse() {
            return Ok(Answer { addrs: vec![addr], ttl: UNTIMED });
        }
        let state = self.state();
        let addrs = in_hosts(&state.hosts, host);
        if !addrs.is_empty() {
            return Ok(Answer { addrs, ttl: UNTIMED });
        }
        match state.dns {
            Some(dns) => ask_servers(&dns, host).await,
            None => ask_system(host).await,
        }
    }

    fn state(&self) -> State {
        let modified = |path| fs::metadata(path).and_then(|file| file.modified()).ok();
        let stamp = [modified(HOSTS), modified(RESOLV_CONF)];
        let mut state = self.state.lock();
        if let Some(current) = state.as_ref().filter(|state| state.stamp == stamp) {
            return current.clone();
        }
        let hosts = Arc::new(Hosts::from_system().unwrap_or_default());
        state.insert(State { stamp, hosts, dns: configured(&self.helper) }).clone()
    }
}

/// The addresses that the hosts file gives. Where it has any, nobody else is asked: a client of
/// this machine would not ask either.
fn in_hosts(hosts: &Hosts, host: &str) -> Vec<IpAddr> {
    let Ok(name) = Name::from_utf8(host.to_lowercase()) else { return Vec::new() };
    [RecordType::A, RecordType::AAAA]
        .into_iter()
        .filter_map(|kind| hosts.lookup_static_host(&Query::query(name.clone(), kind)))
        .flat_map(|found| {
            found.answers().iter().filter_map(|it| it.data.ip_addr()).collect::<Vec<_>>()
        })
        .collect()
}

async fn ask_servers(
    dns: &hickory_resolver::Resolver<Marked>,
    host: &str,
) -> Result<Answer, ResolveError> {
    let failed = |source| ResolveError::Dns { host: host.to_owned(), source };
    let found = dns.lookup_ip(host).await.map_err(failed)?;
    let ttl = found.as_lookup().answers().iter().map(|record| record.ttl).min();
    let ttl = ttl.map_or(UNTIMED, |seconds| Duration::from_secs(seconds.into()));
    Ok(Answer { addrs: found.iter().collect(), ttl })
}

/// Its sockets are not marked; being UDP, they are of no interest to the programs.
async fn ask_system(host: &str) -> Result<Answer, ResolveError> {
    let failed = |source| ResolveError::System { host: host.to_owned(), source };
    let found = tokio::net::lookup_host((host, 0)).await.map_err(failed)?;
    let mut addrs: Vec<_> = found.map(|addr| addr.ip()).collect();
    addrs.dedup();
    Ok(Answer { addrs, ttl: UNTIMED })
}

fn configured(helper: &Helper) -> Option<hickory_resolver::Resolver<Marked>> {
    let marked = Marked { handle: TokioHandle::default(), helper: helper.clone() };
    let mut builder = hickory_resolver::Resolver::builder(marked).ok()?;
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Never;
    // Whoever asks does so when the last answer has run out.
    options.cache_size = 0;
    builder.build().ok()
}

/// Opens the resolver's sockets.
#[derive(Clone)]
struct Marked {
    handle: TokioHandle,
    helper: Helper,
}

impl RuntimeProvider for Marked {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = UdpSocket;
    type Tcp = AsyncIoTokioAsStd<TcpStream>;

    fn create_handle(&self) -> Self::Handle {
        self.handle.clone()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        bind: Option<SocketAddr>,
        patience: Option<Duration>,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Tcp>>>> {
        let socket = self.socket(server, Kind::Stream);
        Box::pin(async move {
            let socket = TcpSocket::from_std_stream(socket?.into());
            if let Some(bind) = bind {
                socket.bind(bind)?;
            }
            socket.set_nodelay(true)?;
            let dial = tokio::time::timeout(patience.unwrap_or(DIAL), socket.connect(server));
            Ok(AsyncIoTokioAsStd(dial.await.map_err(|_elapsed| io::ErrorKind::TimedOut)??))
        })
    }

    fn bind_udp(
        &self,
        local: SocketAddr,
        _server: SocketAddr,
    ) -> Pin<Box<dyn Send + Future<Output = io::Result<Self::Udp>>>> {
        let socket = self.socket(local, Kind::Datagram);
        Box::pin(async move {
            let socket = socket?;
            rustix::net::bind(&socket, &local)?;
            UdpSocket::from_std(socket.into())
        })
    }
}

impl Marked {
    fn socket(&self, addr: SocketAddr, kind: Kind) -> io::Result<OwnedFd> {
        let v6 = addr.is_ipv6();
        self.helper.socket(Wish { kind, v6, mark: None, device: None, netns: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_file_answers_in_both_families_and_any_case() {
        let mut hosts = Hosts::default();
        hosts
            .read_hosts_conf(
                &b"192.0.2.7 api.example.com other # comment\n2001:db8::7 api.example.com\n"[..],
            )
            .unwrap();
        let expected: Vec<IpAddr> =
            vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()];
        assert_eq!(in_hosts(&hosts, "API.example.com"), expected);
        assert_eq!(in_hosts(&hosts, "other").len(), 1);
        assert!(in_hosts(&hosts, "example.com").is_empty());
    }

    #[tokio::test]
    async fn an_address_is_its_own_answer() {
        let answer = Resolver::new(Helper::in_process()).lookup("192.0.2.1").await.unwrap();
        assert_eq!(answer.addrs, ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    }

    #[tokio::test]
    async fn localhost_resolves_without_asking_anybody() {
        let answer = Resolver::new(Helper::in_process()).lookup("localhost").await.unwrap();
        assert!(answer.addrs.iter().all(IpAddr::is_loopback) && !answer.addrs.is_empty());
    }
}
