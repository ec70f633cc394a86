//! Dialling: one of the three seams tests may replace.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, Socket, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};

use super::own::Own;
use super::via::Proxied;

/// A boxed future, as trait objects need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A byte stream to a provider.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A byte stream of any kind.
pub type Io = Box<dyn Stream>;

/// What the client had set on its own socket, and the upstream socket takes over; and where it
/// leaves from. Connections that differ in any of it are never shared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SocketOptions {
    /// Index of the interface the socket is bound to (`SO_BINDTODEVICE`).
    pub device: Option<u32>,
    /// Firewall mark (`SO_MARK`).
    pub mark: Option<u32>,
    /// The client's network namespace, by the number under which sockets of it are made, so that
    /// what it cannot reach stays out of its reach; `None` for the agent's own.
    pub netns: Option<u64>,
}

/// Where to connect: a fixed address (the one the client chose), or a name still to be resolved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Destination {
    /// The address the client connected to.
    Address(SocketAddr),
    /// A host name or IP literal, and a port.
    Name(Arc<str>, u16),
    /// A host behind a proxy of the client's.
    Proxied(Arc<Proxied>),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(host, port) => write!(f, "{host}:{port}"),
            Self::Proxied(way) => way.fmt(f),
        }
    }
}

/// Opens connections to destinations.
pub trait Connect: Send + Sync + fmt::Debug {
    /// Opens a byte stream.
    fn connect<'a>(
        &'a self,
        to: &'a Destination,
        options: SocketOptions,
    ) -> BoxFuture<'a, io::Result<Io>>;
}

/// Looks names up; the kernel capture's resolver, whose sockets are not redirected.
pub trait Resolve: Send + Sync + fmt::Debug {
    /// All addresses of a host, in the order to be tried.
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<std::net::IpAddr>>>;
}

/// Makes the sockets that are dialled with. Marks take privilege, so this is the way to whoever
/// holds it.
pub trait Sockets: Send + Sync + fmt::Debug {
    /// A non-blocking TCP socket fit to connect to `to`. It carries what `options` ask for, as far
    /// as that does not lead the connection back to us.
    fn stream(&self, to: SocketAddr, options: SocketOptions) -> io::Result<OwnedFd>;
}

/// TCP, dialled by this process.
#[derive(Debug, Clone)]
pub struct Tcp {
    resolve: Arc<dyn Resolve>,
    sockets: Arc<dyn Sockets>,
    own: Arc<Own>,
    timeout: Duration,
}

impl Tcp {
    /// A dialler that resolves through `resolve`, takes its sockets from `sockets` and gives up
    /// after `timeout` per address.
    pub fn new(resolve: Arc<dyn Resolve>, sockets: Arc<dyn Sockets>, timeout: Duration) -> Self {
        Self { resolve, sockets, own: Arc::default(), timeout }
    }

    /// The agent's own listeners, which it refuses to dial.
    pub fn own(&self) -> &Arc<Own> {
        &self.own
    }

    /// The addresses behind a destination, in the order to be tried.
    pub async fn addresses(&self, of: &Destination) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = match of {
            Destination::Address(address) => return Ok(vec![*address]),
            Destination::Name(host, port) => (host, *port),
            Destination::Proxied(way) => return Ok(vec![way.proxy]),
        };
        let found = match host.trim_matches(['[', ']']).parse() {
            Ok(ip) => vec![ip],
            Err(_not_an_address) => self.resolve.resolve(host).await?,
        };
        Ok(found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }

    /// Opens a TCP connection; a name's addresses are tried in order.
    ///
    /// The error is the last address's.
    pub async fn open(&self, to: &Destination, options: SocketOptions) -> io::Result<TcpStream> {
        let addresses = self.addresses(to).await?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("no address for {to}"));
        for address in addresses {
            match tokio::time::timeout(self.timeout, self.dial(address, options)).await {
                Ok(Ok(mut stream)) => {
                    if let Destination::Proxied(way) = to {
                        way.open(&mut stream).await?;
                    }
                    return Ok(stream);
                }
                Ok(Err(error)) => last = error,
                Err(_elapsed) => {
                    last = io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("no answer from {address} within {:?}", self.timeout),
                    );
                }
            }
        }
        Err(last)
    }

    async fn dial(&self, to: SocketAddr, options: SocketOptions) -> io::Result<TcpStream> {
        // A provider whose base URL is ours, a name that somebody pointed at us: each connection
        // would make the next one, until none is left.
        if self.own.has(to) {
            return Err(io::Error::other(format!("{to} is the agent itself")));
        }
        let socket = Socket::from(self.sockets.stream(to, options)?);
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_keepalive(&keep_alive_times())?;
        TcpSocket::from_std_stream(socket.into()).connect(to).await
    }
}

/// Probes a silent connection, so that a long call outlives the idle limits of what translates
/// addresses on the way (350 s on some clouds), and a peer that is gone is noticed.
pub fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_tcp_keepalive(&keep_alive_times())
}

fn keep_alive_times() -> TcpKeepalive {
    TcpKeepalive::new().with_time(Duration::from_mins(1)).with_interval(Duration::from_secs(30))
}

impl Connect for Tcp {
    fn connect<'a>(
        &'a self,
        to: &'a Destination,
        options: SocketOptions,
    ) -> BoxFuture<'a, io::Result<Io>> {
        Box::pin(async move {
            let stream = self.open(to, options).await?;
            Ok(Box::new(stream) as Io)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Plain;

    impl Resolve for Plain {
        fn resolve<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Vec<std::net::IpAddr>>> {
            Box::pin(async { Ok(vec![std::net::Ipv4Addr::LOCALHOST.into()]) })
        }
    }

    impl Sockets for Plain {
        fn stream(&self, to: SocketAddr, _: SocketOptions) -> io::Result<OwnedFd> {
            let domain = socket2::Domain::for_address(to);
            Ok(Socket::new(domain, socket2::Type::STREAM.nonblocking(), None)?.into())
        }
    }

    #[tokio::test]
    async fn the_agent_never_dials_itself() {
        let tcp = Tcp::new(Arc::new(Plain), Arc::new(Plain), Duration::from_secs(5));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let dial = async |to| tcp.open(&to, SocketOptions::default()).await;
        assert!(dial(Destination::Address(at)).await.is_ok());
        tcp.own().intercept(vec![at]);
        let named = Destination::Name(Arc::from("gateway.example"), at.port());
        for to in [Destination::Address(at), named] {
            let refused = dial(to).await.unwrap_err();
            assert!(refused.to_string().ends_with("is the agent itself"), "{refused}");
        }
    }
}
