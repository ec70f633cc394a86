//! QUIC to targets is refused at once, and only where a TCP connection would be redirected instead.

use agent::capture::{Event, MARK};
use serde_json::json;

use super::world::{OTHER4, WANTED4, WANTED6, World, serve_udp, world};

const MAPPED: &str = "[::ffff:192.0.2.10]:443";
const WAYS: [&str; 2] = ["how=udp", "how=udp-unconnected"];

async fn refused(world: &mut World, to: &str, how: &str) {
    let before = world.count("quic_refused");
    let report = world.dial(&[&format!("to={to}"), how]).await;
    assert_eq!(report["errors"], json!([libc::EPERM]), "{to} {how}: {report}");
    assert_eq!(world.count("quic_refused"), before + 1);
    let Event::Refused(origin) = world.event().await else { panic!("not refused") };
    assert_eq!(json!(origin.caller.tgid), report["pid"]);
    assert_eq!(origin.caller.cgroup, world.cgroup.id());
    assert_eq!(origin.caller.comm, "actor");
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
