//! Real connections of real processes over loopback.

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use super::*;

/// One look-up without memory.
fn owner(client: SocketAddr, server: SocketAddr) -> io::Result<Option<Owner>> {
    let owners = Owners::new(Helper::in_process());
    Ok(socket(client, server)?.map(|socket| owners.owner(&socket)))
}

/// A shell that holds one connection to `address` until it is dropped.
struct Client {
    shell: Child,
    accepted: TcpStream,
    peer: SocketAddr,
}

impl Client {
    fn connect(listener: &TcpListener, address: &str) -> Self {
        Self::start(listener, address, &mut Command::new("bash"))
    }

    fn start(listener: &TcpListener, address: &str, bash: &mut Command) -> Self {
        let port = listener.local_addr().unwrap().port();
        let shell = bash
            .args(["-c", &format!("exec 3<>/dev/tcp/{address}/{port}; read -u 3")])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (accepted, peer) = listener.accept().unwrap();
        Self { shell, accepted, peer }
    }

    fn server(&self) -> SocketAddr {
        self.accepted.local_addr().unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shell.kill().unwrap();
        self.shell.wait().unwrap();
    }
}

#[test]
fn the_process_at_the_other_end_is_found() {
    for (bound, address) in [
        ("127.0.0.1:0", "127.0.0.1"),
        ("[::1]:0", "::1"),
        // A client of version 6 at a server of version 4, and the other way round.
        ("127.0.0.1:0", "::ffff:127.0.0.1"),
        ("[::]:0", "127.0.0.1"),
    ] {
        let listener = TcpListener::bind(bound).unwrap();
        let client = Client::connect(&listener, address);
        let owner = owner(client.peer, client.server()).unwrap().unwrap();
        assert_eq!(owner.pid, Some(client.shell.id()), "{bound} {address}");
        assert_eq!(owner.uid, rustix::process::getuid().as_raw());
        assert!(owner.cookie.is_some_and(|cookie| cookie > 0));
    }
}

#[test]
fn two_clients_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let owners = Owners::new(Helper::in_process());
    let one = Client::connect(&listener, "127.0.0.1");
    let other = Client::connect(&listener, "127.0.0.1");
    for client in [&one, &other, &one] {
        let socket = socket(client.peer, client.server()).unwrap().unwrap();
        let found = owners.owner(&socket);
        assert_eq!(found.pid, Some(client.shell.id()));
    }
}

#[test]
fn tables_agree_with_netlink() {
    for (bound, address) in
        [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("127.0.0.1:0", "::ffff:127.0.0.1")]
    {
        let listener = TcpListener::bind(bound).unwrap();
        let client = Client::connect(&listener, address);
        let (from, to) = (unmapped(client.peer), unmapped(client.server()));
        let asked = diag::socket(from, to).unwrap().unwrap();
        let listed = table::socket(from, to).unwrap().unwrap();
        assert_eq!(listed, Socket { cookie: None, ..asked }, "{address}");
    }
}

#[test]
fn cookies_are_those_of_the_socket() {
    for bound in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(bound).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let found = socket(stream.local_addr().unwrap(), stream.peer_addr().unwrap()).unwrap();
        let cookie = rustix::net::sockopt::socket_cookie(&stream).unwrap();
        assert_eq!(found.unwrap().cookie, Some(cookie));
    }
}

#[test]
fn strangers_are_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    for stranger in ["192.0.2.7:40000", "127.0.0.1:9", "[2001:db8::1]:40000"] {
        assert_eq!(owner(stranger.parse().unwrap(), server).unwrap(), None, "{stranger}");
    }
    // The listener itself is at that address but has no peer.
    assert_eq!(owner(server, "127.0.0.1:9".parse().unwrap()).unwrap(), None);
}

#[test]
fn sockets_of_other_users_are_theirs() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::start(&listener, "127.0.0.1", Command::new("bash").uid(65534));
    let owner = owner(client.peer, client.server()).unwrap().unwrap();
    assert_eq!((owner.pid, owner.uid), (Some(client.shell.id()), 65534));
}
