//! A network namespace, a cgroup, the programs, a server at the addresses that clients want, and
//! the agent's end.
#![expect(unsafe_code, reason = "unshare takes the word")]

use std::fs;
use std::future::Future;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use agent::capture::origin::Origin;
use agent::capture::{Capture, Event, Helper, Settings};
use agent::drain::Drain;
use ipnet::IpNet;
use rustix::thread::{CapabilitySet, UnshareFlags};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

/// Wanted by the clients, and one of the targets.
pub(super) const WANTED4: &str = "192.0.2.10:443";
/// The same over IPv6.
pub(super) const WANTED6: &str = "[2001:db8::10]:443";
/// Served, but no target.
pub(super) const OTHER4: &str = "192.0.2.11:443";
/// A target at which nobody listens.
pub(super) const CLOSED4: &str = "192.0.2.12:443";
/// An address of the machine to bind to.
pub(super) const SOURCE4: &str = "192.0.2.20";
/// A device that is not the loopback, for `SO_BINDTODEVICE`.
pub(super) const DEVICE: &str = "weir-test0";

const TARGETS: [&str; 3] = ["192.0.2.10/32", "2001:db8::10/128", "192.0.2.12/32"];
const PATIENCE: Duration = Duration::from_mins(1);

/// A connection that arrived at a listener of the agent.
pub(super) struct Arrival {
    pub(super) client: SocketAddr,
    pub(super) origin: Option<Origin>,
}

pub(super) struct World {
    pub(super) cgroup: Cgroup,
    pub(super) capture: Arc<Capture>,
    pub(super) drain: Drain,
    pub(super) events: mpsc::Receiver<Event>,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
}

/// Runs a test in a world of its own, on a thread of its own: the namespace is the thread's.
pub(super) fn world(test: impl AsyncFnOnce(World) + Send + 'static) {
    isolated(async || {
        let mut world = World::new().await;
        world.accept();
        test(world).await;
    });
}

/// The same with nothing attached.
pub(super) fn isolated(test: impl AsyncFnOnce() + Send + 'static) {
    if !privileged() {
        return;
    }
    let ran = std::thread::spawn(|| {
        // SAFETY: only this thread's view of the network changes, and it holds no socket yet.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap();
        lay_network();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
    if let Err(panic) = ran.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Whether this machine lets us; where it must (CI), that it does not is a failure.
fn privileged() -> bool {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN | CapabilitySet::BPF;
    let held = rustix::thread::capabilities(None).unwrap().effective;
    if held.contains(needed) {
        return true;
    }
    #[expect(clippy::disallowed_methods, reason = "tests are told by the environment")]
    let required =
        ["WEIR_REQUIRE_KERNEL", "CI"].iter().any(|name| std::env::var_os(name).is_some());
    assert!(
        !required,
        "kernel tests must run here, but CAP_SYS_ADMIN, NET_ADMIN or BPF is missing"
    );
    println!("\n*** SKIPPED, NOT TESTED: kernel tests need root ***\n");
    false
}

fn lay_network() {
    let ip4 = [WANTED4, OTHER4, CLOSED4].map(|addr| addr.parse::<SocketAddr>().unwrap().ip());
    let batch = format!(
        "link set lo up\n\
         addr add {}/32 dev lo\n\
         addr add {}/32 dev lo\n\
         addr add {}/32 dev lo\n\
         addr add {SOURCE4}/32 dev lo\n\
         addr add 2001:db8::10/128 dev lo nodad\n\
         link add {DEVICE} type veth peer name weir-test1\n\
         link set {DEVICE} up\n",
        ip4[0], ip4[1], ip4[2],
    );
    let mut ip = std::process::Command::new("ip");
    let mut ip = ip.args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    ip.stdin.take().unwrap().write_all(batch.as_bytes()).unwrap();
    assert!(ip.wait().unwrap().success(), "the network could not be laid");
}

impl World {
    /// Attached to the cgroup, redirecting the targets, with a server at every address.
    pub(super) async fn new() -> Self {
        let cgroup = Cgroup::new();
        let settings = cgroup.settings();
        Self::attached(cgroup, &settings).await
    }

    /// The same with other settings.
    pub(super) async fn attached(cgroup: Cgroup, settings: &Settings) -> Self {
        let drain = Drain::new();
        for addr in [WANTED4, WANTED6, OTHER4] {
            drain.spawn(serve(TcpListener::bind(addr).await.unwrap()));
        }
        let capture = Capture::attach(settings, &Helper::in_process(), &drain).unwrap();
        assert!(capture.capabilities().complete(), "{:#?}", capture.capabilities());
        capture.targets(&TARGETS.map(|net| net.parse().unwrap())).unwrap();
        capture.redirect(true).unwrap();
        let events = capture.events();
        let capture = Arc::new(capture);
        Self { cgroup, capture, drain, events, arrivals: mpsc::unbounded_channel().1 }
    }

    /// Takes in what arrives at the agent's listeners and answers it.
    pub(super) fn accept(&mut self) {
        let (sender, arrivals) = mpsc::unbounded_channel();
        self.arrivals = arrivals;
        for listener in self.capture.listeners().unwrap() {
            let listener = TcpListener::from_std(listener).unwrap();
            let (origins, sender) = (self.capture.origins(), sender.clone());
            self.drain.spawn(async move {
                while let Ok((mut socket, client)) = listener.accept().await {
                    let origin = origins.take(client);
                    // Not every test asks.
                    drop(sender.send(Arrival { client, origin }));
                    answer(&mut socket, b"weir").await;
                }
            });
        }
    }

    /// Runs a client in the cgroup and returns its report.
    pub(super) async fn dial(&self, args: &[&str]) -> Value {
        self.cgroup.act("dial", args).await
    }

    /// The next connection at the agent's listeners.
    pub(super) async fn arrival(&mut self) -> Arrival {
        within(self.arrivals.recv()).await.expect("the listeners are served")
    }

    /// Whether nothing arrived that was not asked for.
    pub(super) fn nothing_arrived(&mut self) -> bool {
        self.arrivals.try_recv().is_err()
    }

    pub(super) async fn event(&mut self) -> Event {
        within(self.events.recv()).await.expect("events flow while the programs are attached")
    }

    /// One of the programs' counters.
    pub(super) fn count(&self, name: &str) -> u64 {
        let counters = self.capture.counters();
        counters.iter().find(|(known, _)| *known == name).expect("a counter's name").1
    }

    pub(super) fn target(&self, networks: &[&str]) {
        let networks: Vec<IpNet> = networks.iter().map(|net| net.parse().unwrap()).collect();
        assert_eq!(self.capture.targets(&networks).unwrap(), 0);
    }
}

/// Answers whoever says hello.
async fn serve(listener: TcpListener) {
    loop {
        let (mut socket, _) = listener.accept().await.unwrap();
        answer(&mut socket, b"direct").await;
    }
}

async fn answer(socket: &mut tokio::net::TcpStream, words: &[u8]) {
    // A client that went away is the test's business, not the server's.
    if socket.read_exact(&mut [0; 5]).await.is_ok() {
        drop(socket.write_all(words).await);
    }
}

/// Answers one datagram.
pub(super) async fn serve_udp(addr: &str) {
    let addr: SocketAddr = addr.parse().unwrap();
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, None).unwrap();
    // One that was closed stays for as long as a child of another test has yet to start its program.
    socket.set_reuse_address(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&addr.into()).unwrap();
    let socket = UdpSocket::from_std(socket.into()).unwrap();
    let (_, client) = socket.recv_from(&mut [0; 64]).await.unwrap();
    socket.send_to(b"direct", client).await.unwrap();
}

/// Bounds a wait: a test that would hang fails instead.
pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

/// A cgroup without controllers, removed on drop.
pub(super) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    pub(super) fn new() -> Self {
        Self::ending("")
    }

    /// One in which a manager keeps units.
    pub(super) fn slice() -> Self {
        Self::ending(".slice")
    }

    fn ending(ending: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let root =
            fields.filter(|field| field[2] == "cgroup2").map(|field| field[1].to_owned()).next();
        let name = format!(
            "weir-kernel-{}-{}{ending}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = PathBuf::from(root.expect("a cgroup v2 hierarchy")).join(name);
        fs::create_dir(&path).unwrap();
        Self { path }
    }

    /// One in this one. Must go before it.
    pub(super) fn child(&self, name: &str) -> Self {
        let path = self.path.join(name);
        fs::create_dir(&path).unwrap();
        Self { path }
    }

    pub(super) fn settings(&self) -> Settings {
        Settings { cgroup: Some(self.path.clone()), ..Settings::default() }
    }

    /// Its id, as the programs see it.
    pub(super) fn id(&self) -> u64 {
        fs::metadata(&self.path).unwrap().ino()
    }

    pub(super) fn open(&self) -> fs::File {
        fs::File::open(&self.path).unwrap()
    }

    pub(super) fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Starts the actor within the cgroup.
    pub(super) fn spawn(&self, act: &str, args: &[&str]) -> Child {
        self.spawn_by(&["env"], act, args)
    }

    /// Starts the actor within the cgroup by a command that runs others.
    pub(super) fn spawn_by(&self, by: &[&str], act: &str, args: &[&str]) -> Child {
        let mut command = Command::new(by[0]);
        command.args(&by[1..]).arg(env!("CARGO_BIN_EXE_actor")).arg(act);
        command.arg(format!("cgroup={}", self.path())).args(args);
        command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
    }

    /// Runs the actor within the cgroup and returns its report.
    pub(super) async fn act(&self, act: &str, args: &[&str]) -> Value {
        let output = within(self.spawn(act, args).wait_with_output()).await.unwrap();
        assert!(output.status.success(), "actor {act} {args:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Whoever was killed may take a moment to leave.
        for _ in 0..1000 {
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == ErrorKind::ResourceBusy => std::thread::yield_now(),
                _ => return,
            }
        }
    }
}

/// Cookie of the socket's network namespace.
pub(crate) fn netns_cookie(socket: &impl std::os::fd::AsRawFd) -> u64 {
    let (mut cookie, mut len) = (0_u64, 8);
    // SAFETY: eight bytes, as the length says.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    assert_eq!(done, 0);
    cookie
}
