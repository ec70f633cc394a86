//! Every way to open a connection ends at the agent, which learns where it was going and who it
//! was, while the application sees the peer it asked for.

use serde_json::{Value, json};

use super::world::{CLOSED4, DEVICE, OTHER4, SOURCE4, WANTED4, WANTED6, World, world};
use agent::capture::origin::Origin;

const MAPPED: &str = "[::ffff:192.0.2.10]:443";

/// Dials, and checks both ends.
async fn redirected(world: &mut World, to: &str, args: &[&str]) -> Origin {
    let mut all = vec![format!("to={to}")];
    all.extend(args.iter().map(|arg| (*arg).to_owned()));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let report = world.dial(&all).await;
    check(world, to, &report).await
}

async fn check(world: &mut World, to: &str, report: &Value) -> Origin {
    assert_eq!(report["reply"], "weir", "{report}");
    assert_eq!(report["peer"], json!(to), "{report}");
    let arrival = world.arrival().await;
    let origin = arrival.origin.expect("a record");
    let asked_for: std::net::SocketAddr = to.parse().unwrap();
    assert_eq!(origin.destination.ip(), asked_for.ip().to_canonical());
    assert_eq!(origin.destination.port(), 443);
    assert_eq!(json!(origin.caller.tgid), report["pid"]);
    assert_eq!((origin.caller.uid, origin.caller.gid), (0, 0));
    assert_eq!(origin.caller.comm, "actor");
    assert_eq!(origin.caller.cgroup, world.cgroup.id());
    assert!(origin.caller.at <= agent::clock::since_boot());
    assert!(world.capture.origins().take(arrival.client).is_none(), "used up");
    origin
}

#[test]
fn blocking() {
    world(async |mut world| {
        let origin = redirected(&mut world, WANTED4, &[]).await;
        assert_eq!((origin.device, origin.mark), (None, None));
    });
}

#[test]
fn non_blocking() {
    world(async |mut world| {
        redirected(&mut world, WANTED4, &["how=nonblocking"]).await;
    });
}

#[test]
fn io_uring() {
    world(async |mut world| {
        redirected(&mut world, WANTED4, &["how=uring"]).await;
    });
}

#[test]
fn fast_open() {
    world(async |mut world| {
        redirected(&mut world, WANTED4, &["how=fastopen-send"]).await;
        redirected(&mut world, WANTED4, &["how=fastopen-connect"]).await;
    });
}

#[test]
fn bound_to_an_address() {
    world(async |mut world| {
        let bind = format!("{SOURCE4}:0");
        let report = world.dial(&[&format!("to={WANTED4}"), &format!("bind={bind}")]).await;
        assert!(report["local"].as_str().unwrap().starts_with(SOURCE4));
        check(&mut world, WANTED4, &report).await;
    });
}

#[test]
fn bound_to_a_device() {
    world(async |mut world| {
        let origin = redirected(&mut world, WANTED4, &[&format!("device={DEVICE}")]).await;
        let index = std::fs::read_to_string("/proc/thread-self/net/dev_mcast").unwrap();
        let index = index.lines().find(|line| line.contains(DEVICE)).unwrap();
        let index: u32 = index.split_whitespace().next().unwrap().parse().unwrap();
        assert_eq!(origin.device, Some(index));
        redirected(&mut world, WANTED6, &[&format!("device={DEVICE}")]).await;
    });
}

#[test]
fn marked_by_the_application() {
    world(async |mut world| {
        let origin = redirected(&mut world, WANTED4, &["mark=77"]).await;
        assert_eq!(origin.mark, Some(77));
    });
}

#[test]
fn ipv4_mapped() {
    world(async |mut world| {
        redirected(&mut world, MAPPED, &[]).await;
        redirected(&mut world, MAPPED, &["how=nonblocking"]).await;
    });
}

#[test]
fn ipv6_with_and_without_v6only() {
    world(async |mut world| {
        redirected(&mut world, WANTED6, &["v6only=false"]).await;
        redirected(&mut world, WANTED6, &["v6only=true"]).await;
    });
}

#[test]
fn by_network() {
    world(async |mut world| {
        world.target(&["192.0.2.0/28", "2001:db8::/32"]);
        redirected(&mut world, WANTED4, &[]).await;
        redirected(&mut world, OTHER4, &[]).await;
        redirected(&mut world, WANTED6, &[]).await;
        world.target(&["192.0.2.11/32"]);
        let report = world.dial(&[&format!("to={WANTED4}")]).await;
        assert_eq!(report["reply"], "direct");
    });
}

#[test]
fn a_socket_used_again_after_a_refusal() {
    world(async |mut world| {
        // Refused by the machine itself: no target, nobody there.
        let report = world.dial(&[&format!("to=192.0.2.11:444,{WANTED4}")]).await;
        assert_eq!(report["errors"], json!([libc::ECONNREFUSED, null]));
        check(&mut world, WANTED4, &report).await;
    });
}

#[test]
fn a_socket_used_again_for_another_target() {
    world(async |mut world| {
        let report = world.dial(&[&format!("to={CLOSED4},{WANTED4}")]).await;
        assert_eq!(report["errors"], json!([null, null]));
        let first = world.arrival().await.origin.expect("a record");
        assert_eq!(first.destination, CLOSED4.parse().unwrap());
        let second = check(&mut world, WANTED4, &report).await;
        assert_eq!(first.cookie, second.cookie, "one socket");
    });
}

#[test]
fn a_socket_used_again_for_no_target_is_forgotten() {
    world(async |mut world| {
        let report = world.dial(&[&format!("to={WANTED4},{OTHER4}")]).await;
        assert_eq!(report["reply"], "direct");
        assert_eq!(report["peer"], json!(OTHER4));
        assert!(world.arrival().await.origin.is_some());
        assert!(world.nothing_arrived());
    });
}
