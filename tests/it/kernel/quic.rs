//! QUIC to targets is refused at once, and only where a TCP connection would be redirected instead.

use agent::capture::{Event, MARK};
use serde_json::json;

use super::targets::Files;
use super::world::{OTHER4, WANTED4, WANTED6, World, serve_udp, within, world};

const MAPPED: &str = "[::ffff:192.0.2.10]:443";
const WAYS: [&str; 2] = ["how=udp", "how=udp-unconnected"];

async fn refused(world: &mut World, to: &str, how: &str) {
    let before = world.count("quic_refused");
    let report = world.dial(&[&format!("to={to}"), how]).await;
    assert_eq!(report["errors"], json!([libc::EPERM]), "{to} {how}: {report}");
    if how == "how=udp" {
        assert_eq!(report["peer"], to, "connecting is not refused");
    }
    assert_eq!(world.count("quic_refused"), before + 1);
    let Event::Refused(origin) = world.event().await else { panic!("not refused") };
    assert_eq!(json!(origin.caller.tgid), report["pid"]);
    assert_eq!(origin.caller.cgroup, world.cgroup.id());
    assert_eq!(origin.caller.comm, "actor");
    assert_eq!(origin.caller.netns, world.capture.netns());
    let asked_for: std::net::SocketAddr = to.parse().unwrap();
    assert_eq!(origin.destination.ip(), asked_for.ip().to_canonical());
}

async fn passes(world: &mut World, to: &'static str, args: &[&str]) {
    world.drain.spawn(serve_udp(to));
    tokio::task::yield_now().await;
    let to = format!("to={to}");
    let report = world.dial(&[&[&to[..]], args].concat()).await;
    assert_eq!(report["reply"], "direct", "{report}");
    assert!(world.events.try_recv().is_err());
}

#[test]
fn of_connected_sockets_and_others_over_both_protocols() {
    world(async |mut world| {
        for to in [WANTED4, WANTED6, MAPPED] {
            for how in WAYS {
                refused(&mut world, to, how).await;
            }
        }
        // The way it is meant to go on.
        assert_eq!(world.dial(&[&format!("to={WANTED4}")]).await["reply"], "weir");
    });
}

#[test]
fn a_connected_socket_is_counted_and_reported_once() {
    world(async |mut world| {
        let report = world.dial(&[&format!("to={WANTED4}"), "how=udp", "times=3"]).await;
        assert_eq!(report["errors"], json!([libc::EPERM, libc::EPERM, libc::EPERM]));
        assert_eq!(world.count("quic_refused"), 1);
        assert!(matches!(world.event().await, Event::Refused(_)));
        // The next is the next socket's.
        refused(&mut world, WANTED6, "how=udp").await;
        assert!(world.events.try_recv().is_err());
    });
}

#[test]
fn connecting_without_sending_is_nothing() {
    world(async |mut world| {
        for to in [WANTED4, WANTED6, MAPPED] {
            let report = world.dial(&[&format!("to={to}"), "how=udp-silent"]).await;
            assert_eq!(report["peer"], to, "{report}");
        }
        // All that the one socket of a resolver is connected to.
        let both = format!("to={WANTED6},{MAPPED}");
        assert_eq!(world.dial(&[&both, "how=udp-silent"]).await["peer"], MAPPED);
        assert_eq!(world.count("quic_refused"), 0);
        assert!(world.events.try_recv().is_err());
    });
}

#[test]
fn resolvers_order_addresses_as_without_us() {
    world(async |mut world| {
        // The first would be preferred, but nothing leads there.
        let hosts = "2001:db8::99 api.example.test\n192.0.2.10 api.example.test\n";
        let _files = Files::new(hosts, "");
        world.target(&["2001:db8::99/128", "192.0.2.10/32"]);
        let report = world.cgroup.act("resolve", &["name=api.example.test"]).await;
        assert_eq!(report["addrs"], json!(["192.0.2.10", "2001:db8::99"]));
        assert_eq!(world.count("quic_refused"), 0);
        assert!(world.events.try_recv().is_err());
    });
}

#[test]
fn a_socket_that_was_connected_to_a_target_may_send_elsewhere() {
    world(async |mut world| {
        for how in ["how=udp", "how=udp-beside"] {
            let server = world.drain.spawn(serve_udp(OTHER4));
            tokio::task::yield_now().await;
            let report = world.dial(&[&format!("to={WANTED4},{OTHER4}"), how]).await;
            assert_eq!(report["errors"], json!([null]), "{how}: {report}");
            within(server).await.unwrap();
        }
        assert_eq!(world.count("quic_refused"), 0);
        assert!(world.events.try_recv().is_err());
    });
}

#[test]
fn what_has_begun_while_nothing_was_redirected_goes_on() {
    world(async |mut world| {
        let server = tokio::net::UdpSocket::bind(WANTED4).await.unwrap();
        let client = world.cgroup.spawn("dial", &[&format!("to={WANTED4}"), "how=udp-insistent"]);
        // It is connected, and was refused.
        assert!(matches!(world.event().await, Event::Refused(_)));
        world.capture.redirect(false).unwrap();
        let (_, from) = within(server.recv_from(&mut [0; 64])).await.unwrap();
        world.capture.redirect(true).unwrap();
        server.send_to(b"once", from).await.unwrap();
        let (_, again) = within(server.recv_from(&mut [0; 64])).await.unwrap();
        assert_eq!(again, from);
        server.send_to(b"twice", from).await.unwrap();
        let output = within(client.wait_with_output()).await.unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["reply"], "twice", "{report}");
        assert_eq!(world.count("quic_refused"), 1);
        // Sockets connected from now on are refused again.
        drop(server);
        refused(&mut world, WANTED4, "how=udp").await;
    });
}

#[test]
fn what_was_refused_passes_once_nobody_listens() {
    world(async |mut world| {
        let server = tokio::net::UdpSocket::bind(WANTED4).await.unwrap();
        let client = world.cgroup.spawn("dial", &[&format!("to={WANTED4}"), "how=udp-insistent"]);
        assert!(matches!(world.event().await, Event::Refused(_)));
        for listener in world.capture.listeners().unwrap() {
            rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
        }
        for words in ["once", "twice"] {
            let (_, from) = within(server.recv_from(&mut [0; 64])).await.unwrap();
            server.send_to(words.as_bytes(), from).await.unwrap();
        }
        let output = within(client.wait_with_output()).await.unwrap();
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["reply"], "twice", "{report}");
    });
}

#[test]
fn to_others_on_other_ports_and_of_ours_passes() {
    world(async |mut world| {
        for how in WAYS {
            passes(&mut world, OTHER4, &[how]).await;
            passes(&mut world, "192.0.2.10:444", &[how]).await;
            passes(&mut world, WANTED4, &[how, &format!("mark={MARK}")]).await;
        }
        assert_eq!(world.count("quic_refused"), 0);
    });
}

#[test]
fn passes_where_nothing_is_redirected() {
    world(async |mut world| {
        world.capture.redirect(false).unwrap();
        for how in WAYS {
            passes(&mut world, WANTED4, &[how]).await;
        }
        world.capture.redirect(true).unwrap();
        for listener in world.capture.listeners().unwrap() {
            rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
        }
        for how in WAYS {
            passes(&mut world, WANTED4, &[how]).await;
        }
        assert_eq!(world.count("quic_refused"), 0);
    });
}

#[test]
fn passes_without_a_sign_of_life() {
    world(async |mut world| {
        // The heart stops with the drain, and its last beat is forgotten.
        world.drain.signal();
        while world.count("stale") == 0 {
            world.dial(&[&format!("to={WANTED4}"), "patience=100"]).await;
        }
        while world.events.try_recv().is_ok() {}
        // That drain takes nothing more.
        let server = agent::drain::Drain::new().spawn(serve_udp(WANTED4));
        tokio::task::yield_now().await;
        let report = world.dial(&[&format!("to={WANTED4}"), "how=udp"]).await;
        assert_eq!(report["reply"], "direct", "{report}");
        server.await.unwrap();
        assert_eq!(world.count("quic_refused"), 0);
    });
}

#[test]
fn passes_where_the_configuration_says_so() {
    super::world::isolated(async || {
        let cgroup = super::world::Cgroup::new();
        let settings = agent::capture::Settings { refuse_quic: false, ..cgroup.settings() };
        let mut world = World::attached(cgroup, &settings).await;
        for how in WAYS {
            passes(&mut world, WANTED4, &[how]).await;
        }
    });
}
