//! What name servers tell the processes of this machine makes addresses targets.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};

use agent::capture::resolve::Resolver;
use agent::capture::targets::Targets;
use agent::capture::{Capture, Helper};
use agent::clock::System;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

use super::targets::{Files, wanted};
use super::world::{OTHER4, World, within, world};

const HOST: &str = "api.example.test";
/// All of it is the machine's own: nobody listens there, so that what is not redirected is refused.
const POOL: &str = "198.18.0.1/16";

/// The nth address of the pool.
fn address(n: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(0xc612_0100 + u32::from(n))
}

/// Answers a question with one address.
fn answer(question: &[u8], address: Ipv4Addr) -> Vec<u8> {
    let end = question[12..].iter().position(|byte| *byte == 0).unwrap() + 12 + 5;
    let mut answer = question[..end].to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
    answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4]);
    answer.extend(address.octets());
    answer
}

/// A name server that gives another address each time it is asked, and notes when.
#[derive(Default)]
struct Server {
    next: AtomicU16,
    answered: Mutex<Vec<Instant>>,
}

impl Server {
    #[expect(clippy::disallowed_methods, reason = "how long it takes is what is measured")]
    fn answer(&self, question: &[u8]) -> Vec<u8> {
        self.answered.lock().push(Instant::now());
        answer(question, address(self.next.fetch_add(1, Relaxed)))
    }

    async fn serve(&self, socket: UdpSocket) {
        let mut question = [0; 512];
        loop {
            let (len, client) = socket.recv_from(&mut question).await.unwrap();
            socket.send_to(&self.answer(&question[..len]), client).await.unwrap();
        }
    }

    async fn serve_tcp(&self, listener: TcpListener) {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let len = socket.read_u16().await.unwrap();
            let mut question = vec![0; len.into()];
            socket.read_exact(&mut question).await.unwrap();
            let answer = self.answer(&question);
            let framed =
                [&u16::try_from(answer.len()).unwrap().to_be_bytes(), &answer[..]].concat();
            socket.write_all(&framed).await.unwrap();
        }
    }
}

fn lay_pool() {
    let mut ip = std::process::Command::new("ip");
    assert!(ip.args(["addr", "add", POOL, "dev", "lo"]).status().unwrap().success());
}

/// Runs a story while the targets are kept: the host resolves to another address for the agent than
/// for anybody else.
async fn listening(world: &mut World, story: impl AsyncFnOnce(&mut World, &Targets, &Times)) {
    let _files = Files::new(&format!("192.0.2.99 {HOST}\n"), "nameserver 192.0.2.99\n");
    let targets = Targets::new(Resolver::new(Helper::in_process()), Arc::new(System));
    let (_wants, following) = watch::channel(wanted(&[HOST]));
    let times = Times::default();
    let capture = Arc::clone(&world.capture);
    let keeping = targets.keep(
        following,
        |networks| assert_eq!(capture.targets(networks).unwrap(), 0),
        world.drain.clone(),
    );
    assert_eq!(capture.hosts(&[HOST.into()]).unwrap(), 0);
    let answers = capture.answers().expect("the one stream");
    let add = |addrs: &[IpAddr]| times.add(&capture, addrs);
    let hearing = answers.run(|packet| targets.overhear(packet, add));
    let story = async {
        targets.settled().await;
        story(world, &targets, &times).await;
    };
    tokio::select! {
        () = keeping => panic!("the targets are not kept"),
        () = hearing => panic!("nobody listens"),
        () = story => {}
    }
}

/// When each address was in the kernel's table.
#[derive(Default)]
struct Times(Mutex<Vec<Instant>>);

impl Times {
    #[expect(clippy::disallowed_methods, reason = "how long it takes is what is measured")]
    fn add(&self, capture: &Capture, addrs: &[IpAddr]) {
        assert_eq!(capture.add(addrs).unwrap(), 0);
        self.0.lock().push(Instant::now());
    }
}

async fn until_known(targets: &Targets, address: Ipv4Addr) {
    within(async {
        while targets.hosts(address.into()).is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[test]
fn however_a_client_asks_what_it_is_told_is_captured() {
    world(async |mut world| {
        lay_pool();
        let server = Arc::new(Server::default());
        let other = format!("{}:53", OTHER4.strip_suffix(":443").unwrap());
        for at in [&other, "127.0.0.53:53", "[::1]:53"] {
            let (server, socket) = (Arc::clone(&server), UdpSocket::bind(at).await.unwrap());
            world.drain.spawn(async move { server.serve(socket).await });
        }
        let (tcp, listener) = (Arc::clone(&server), TcpListener::bind(&other).await.unwrap());
        world.drain.spawn(async move { tcp.serve_tcp(listener).await });
        let cases = [
            (&other[..], "udp"),
            (&other, "udp-unconnected"),
            (&other, "tcp"),
            ("127.0.0.53:53", "udp"),
            ("127.0.0.53:53", "udp-unconnected"),
            ("[::1]:53", "udp"),
        ];
        listening(&mut world, async |world, targets, _| {
            for (at, how) in cases {
                let args = [format!("server={at}"), format!("how={how}"), format!("name={HOST}")];
                let report = world.cgroup.act("ask", &args.each_ref().map(String::as_str)).await;
                let told: Ipv4Addr = report["told"].as_str().unwrap().parse().unwrap();
                until_known(targets, told).await;
                let report = world.dial(&[&format!("to={told}:443")]).await;
                assert_eq!(report["reply"], "weir", "{at} {how}: {report}");
                let origin = world.arrival().await.origin.unwrap();
                assert_eq!(origin.destination, (told, 443).into());
            }
            assert!(targets.hosts("192.0.2.99".parse().unwrap()) == [HOST.into()], "our own too");
        })
        .await;
    });
}

#[test]
fn names_that_nobody_wants_teach_nothing() {
    world(async |mut world| {
        lay_pool();
        let server = Arc::new(Server::default());
        let socket = UdpSocket::bind("127.0.0.53:53").await.unwrap();
        let serving = Arc::clone(&server);
        world.drain.spawn(async move { serving.serve(socket).await });
        listening(&mut world, async |world, targets, times| {
            let ask = async |name: &str| {
                let args = ["server=127.0.0.53:53", &format!("name={name}")[..]];
                world.cgroup.act("ask", &args).await;
            };
            ask("other.example.test").await;
            // Answers are read in their order: when this one is known, the other was of no use.
            ask(HOST).await;
            until_known(targets, address(1)).await;
            assert!(targets.hosts(address(0).into()).is_empty());
            assert_eq!(times.0.lock().len(), 1);
            assert_eq!(world.count("dns_answers"), 1, "the other was not even copied");
        })
        .await;
    });
}

#[test]
fn the_first_connection_after_an_answer_is_captured_however_fast_it_is() {
    const TIMES: u16 = 200;
    world(async |mut world| {
        lay_pool();
        let server = Arc::new(Server::default());
        let socket = UdpSocket::bind("127.0.0.53:53").await.unwrap();
        let serving = Arc::clone(&server);
        // In a thread of its own, as name servers are: ours is busy listening.
        let socket = socket.into_std().unwrap();
        socket.set_nonblocking(false).unwrap();
        std::thread::spawn(move || {
            let mut question = [0; 512];
            for _ in 0..TIMES {
                let (len, client) = socket.recv_from(&mut question).unwrap();
                socket.send_to(&serving.answer(&question[..len]), client).unwrap();
            }
        });
        listening(&mut world, async |world, targets, times| {
            let report = world
                .cgroup
                .act(
                    "ask",
                    &[
                        "server=127.0.0.53:53",
                        &format!("name={HOST}"),
                        &format!("times={TIMES}"),
                        "connect=yes",
                    ],
                )
                .await;
            until_known(targets, address(TIMES - 1)).await;
            let early = world.count("redirected_early");
            let mut took: Vec<Duration> = server
                .answered
                .lock()
                .iter()
                .zip(times.0.lock().iter())
                .map(|(sent, added)| added.saturating_duration_since(*sent))
                .collect();
            took.sort();
            println!(
                "{early} of {TIMES} connections were faster than the daemon; from the name server's \
                 send to the kernel's table: median {:?}, p99 {:?}, most {:?}",
                took[took.len() / 2],
                took[took.len() * 99 / 100],
                took[took.len() - 1],
            );
            assert_eq!(report["accepted"], TIMES, "every first connection is ours");
            for _ in 0..TIMES {
                let origin = world.arrival().await.origin.unwrap();
                assert!(!targets.hosts(origin.destination.ip()).is_empty());
            }
        })
        .await;
    });
}

#[test]
fn what_does_not_fit_into_the_buffer_is_counted_and_the_client_is_none_the_wiser() {
    const TIMES: u64 = 400;
    world(async |world| {
        lay_pool();
        let server = Arc::new(Server::default());
        let socket = UdpSocket::bind("127.0.0.53:53").await.unwrap();
        world.drain.spawn(async move { server.serve(socket).await });
        assert_eq!(world.capture.hosts(&[HOST.into()]).unwrap(), 0);
        // Nobody takes anything out.
        let _answers = world.capture.answers().unwrap();
        let (name, times) = (format!("name={HOST}"), format!("times={TIMES}"));
        let report = world.cgroup.act("ask", &["server=127.0.0.53:53", &name, &times]).await;
        assert!(report["told"].is_string());
        let (fit, dropped) = (world.count("dns_answers"), world.count("dns_answers_dropped"));
        assert_eq!(fit + dropped, TIMES);
        assert!((300..TIMES).contains(&fit), "{fit}");
    });
}
