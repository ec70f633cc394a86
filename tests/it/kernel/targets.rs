//! Names become targets, the way clients of this machine resolve them.
#![expect(unsafe_code, reason = "unshare takes the word")]

use std::fs;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use agent::capture::Helper;
use agent::capture::resolve::Resolver;
use agent::capture::targets::{Targets, Wanted};
use agent::clock::System;
use rustix::mount::MountPropagationFlags;
use rustix::thread::UnshareFlags;
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::world::{OTHER4, WANTED4, WANTED6, isolated, within, world};

const HOST: &str = "api.example.test";

/// The resolver's files, this thread's own.
pub(super) struct Files {
    dir: TempDir,
}

impl Files {
    pub(super) fn new(hosts: &str, resolv_conf: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // SAFETY: only this thread's view of the file system changes.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }.unwrap();
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        let files = Self { dir };
        for (name, content) in [("hosts", hosts), ("resolv.conf", resolv_conf)] {
            files.write(name, content);
            // The machine's may be a link to a place of the system's resolver.
            let at = fs::canonicalize(format!("/etc/{name}")).unwrap();
            rustix::mount::mount_bind(files.dir.path().join(name), at).unwrap();
        }
        files
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.dir.path().join(name), content).unwrap();
    }
}

pub(super) fn wanted(hosts: &[&str]) -> Arc<Wanted> {
    let hosts = hosts.iter().map(|host| Arc::from(*host)).collect();
    Arc::new(Wanted { hosts, ..Wanted::default() })
}

/// Answers questions for IPv4 addresses with 192.0.2.10, for 30 seconds.
async fn serve_names(at: &str) {
    let socket = UdpSocket::bind((at, 53)).await.unwrap();
    let mut question = [0; 512];
    loop {
        let (len, client) = socket.recv_from(&mut question).await.unwrap();
        // Header, one name, type, class; what follows (EDNS) is not for us.
        let name = question[12..len].iter().position(|byte| *byte == 0).unwrap() + 13;
        let is_a = question[name..name + 2] == [0, 1];
        let mut answer = question[..name + 4].to_vec();
        answer[2..4].copy_from_slice(&[0x81, 0x80]);
        answer[6..12].copy_from_slice(&[0, u8::from(is_a), 0, 0, 0, 0]);
        if is_a {
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 192, 0, 2, 10]);
        }
        socket.send_to(&answer, client).await.unwrap();
    }
}

#[test]
fn hosts_file_answers_become_targets() {
    world(async |mut world| {
        let files = Files::new(&format!("192.0.2.10 {HOST}\n"), "nameserver 192.0.2.99\n");
        let targets = Targets::new(Resolver::new(Helper::in_process()), Arc::new(System));
        let (wants, following) = watch::channel(wanted(&[HOST]));
        let keeping = targets.keep(
            following,
            |networks| assert_eq!(world.capture.targets(networks).unwrap(), 0),
            world.drain.clone(),
        );
        let story = async {
            targets.settled().await;
            let addr = WANTED4.parse::<std::net::SocketAddr>().unwrap().ip();
            assert_eq!(targets.hosts(addr), [HOST.into()]);
            assert_eq!(world.dial(&[&format!("to={WANTED4}")]).await["reply"], "weir");
            assert_eq!(world.dial(&[&format!("to={WANTED6}")]).await["reply"], "direct");

            files.write("hosts", "2001:db8::10 other.example.test\n");
            wants.send(wanted(&[HOST, "other.example.test"])).unwrap();
            let addr = WANTED6.parse::<std::net::SocketAddr>().unwrap().ip();
            while targets.hosts(addr).is_empty() {
                tokio::task::yield_now().await;
            }
            assert_eq!(world.dial(&[&format!("to={WANTED6}")]).await["reply"], "weir");
            assert_eq!(world.dial(&[&format!("to={WANTED4}")]).await["reply"], "weir", "grace");
        };
        within(async {
            tokio::select! { () = keeping => {} () = story => {} }
        })
        .await;
        assert!(world.arrival().await.origin.is_some());
    });
}

#[test]
fn name_servers_of_resolv_conf_are_asked() {
    isolated(async || {
        let server = OTHER4.parse::<std::net::SocketAddr>().unwrap().ip().to_string();
        let _files = Files::new("", &format!("nameserver {server}\n"));
        let resolver = Resolver::new(Helper::in_process());
        let answer = within(async {
            tokio::select! {
                answer = resolver.lookup(HOST) => answer.unwrap(),
                () = serve_names(&server) => panic!("the server ended"),
            }
        })
        .await;
        assert_eq!(answer.addrs, ["192.0.2.10".parse::<IpAddr>().unwrap()]);
        assert_eq!(answer.ttl, Duration::from_secs(30));
    });
}

#[test]
fn without_name_servers_the_system_is_asked() {
    isolated(async || {
        let _files = Files::new("", "");
        let resolver = Resolver::new(Helper::in_process());
        let answer = within(async {
            tokio::select! {
                answer = resolver.lookup(HOST) => answer.unwrap(),
                // Where the C library looks when it is told nothing.
                () = serve_names("127.0.0.1") => panic!("the server ended"),
            }
        })
        .await;
        assert_eq!(answer.addrs, ["192.0.2.10".parse::<IpAddr>().unwrap()]);
    });
}
