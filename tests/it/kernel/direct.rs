//! What must not be redirected, is not.

use agent::capture::{Event, MARK, Verdict};
use serde_json::json;
use tokio::net::TcpListener;

use super::world::{Cgroup, OTHER4, WANTED4, WANTED6, World, isolated, within, world};

async fn direct(world: &mut World, args: &[&str]) {
    let report = world.dial(args).await;
    assert_eq!(report["reply"], "direct", "{report}");
    assert!(world.nothing_arrived());
}

/// The verdict with which a connection went direct.
async fn verdict(world: &mut World) -> Verdict {
    match world.event().await {
        Event::Opened(opened) => opened.verdict,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_target() {
    world(async |mut world| {
        direct(&mut world, &[&format!("to={OTHER4}")]).await;
        assert_eq!(world.count("misses"), 1);
        assert_eq!(world.count("redirected"), 3, "the self-test's");
        assert!(world.events.try_recv().is_err());
    });
}

#[test]
fn other_ports_of_a_target() {
    world(async |mut world| {
        let server = TcpListener::bind("192.0.2.10:80").await.unwrap();
        let client = world.cgroup.spawn("dial", &["to=192.0.2.10:80"]);
        let (accepted, _) = within(server.accept()).await.unwrap();
        drop(accepted);
        within(client.wait_with_output()).await.unwrap();
        assert!(world.nothing_arrived());
        assert_eq!(world.count("misses"), 0);
    });
}

#[test]
fn loopback_whatever_the_targets_say() {
    world(async |mut world| {
        world.target(&["127.0.0.0/8", "::1/128", "169.254.0.0/16"]);
        for addr in ["127.0.0.1:443", "[::1]:443", "127.0.0.53:443"] {
            let server = TcpListener::bind(addr).await.unwrap();
            let client = world.cgroup.spawn("dial", &[&format!("to={addr}")]);
            drop(within(server.accept()).await.unwrap());
            within(client.wait_with_output()).await.unwrap();
        }
        assert!(world.nothing_arrived());
        assert!(world.events.try_recv().is_err());
    });
}

#[test]
fn sockets_with_our_mark() {
    world(async |mut world| {
        direct(&mut world, &[&format!("to={WANTED4}"), &format!("mark={MARK}")]).await;
        direct(&mut world, &[&format!("to={WANTED6}"), &format!("mark={MARK}")]).await;
        assert_eq!(world.count("own"), 2);
        assert!(world.events.try_recv().is_err());
    });
}

#[test]
fn the_agent_itself() {
    isolated(async || dials_a_target_and_gets_there(&["env"], &[]).await);
}

#[test]
fn the_agent_itself_in_a_pid_namespace_of_its_own_with_a_clients_mark() {
    // There its own idea of its pid means nothing to the programs, and the mark is not ours.
    isolated(async || {
        let unshare = ["unshare", "--pid", "--fork", "--kill-child"];
        dials_a_target_and_gets_there(&unshare, &["mark=119"]).await;
    });
}

/// An agent that captures the cgroup it is in, and dials a target.
async fn dials_a_target_and_gets_there(by: &[&str], args: &[&str]) {
    let cgroup = Cgroup::new();
    let server = TcpListener::bind(WANTED4).await.unwrap();
    let (of, to) = (format!("of={}", cgroup.path()), format!("to={WANTED4}"));
    let args = [&[&of[..], "targets=192.0.2.10/32", &to], args].concat();
    let agent = cgroup.spawn_by(by, "capture", &args);
    let (accepted, _) = within(server.accept()).await.unwrap();
    drop(accepted);
    let output = within(agent.wait_with_output()).await.unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.starts_with("ready\n") && report.contains("\"reply\":\"\""), "{report}");
}

#[test]
fn while_redirecting_is_off() {
    world(async |mut world| {
        world.capture.redirect(false).unwrap();
        direct(&mut world, &[&format!("to={WANTED4}")]).await;
        assert_eq!(verdict(&mut world).await, Verdict::Observed);
    });
}

#[test]
fn without_a_sign_of_life() {
    world(async |mut world| {
        // The heart stops with the drain; what comes before it noticed, still arrives.
        world.drain.signal();
        while world.count("stale") == 0 {
            let client = world.cgroup.spawn("dial", &[&format!("to={WANTED4}"), "patience=100"]);
            within(client.wait_with_output()).await.unwrap();
        }
        while !world.nothing_arrived() {}
        direct(&mut world, &[&format!("to={WANTED4}")]).await;
        assert_eq!(world.count("stale"), 2);
    });
}

#[test]
fn another_network_namespace() {
    world(async |mut world| {
        let report = world.cgroup.act("elsewhere", &[&format!("to={WANTED4}")]).await;
        assert_eq!(report["reply"], "direct", "{report}");
        let Event::Opened(opened) = world.event().await else { panic!("not opened") };
        assert_eq!(opened.verdict, Verdict::NoListener);
        assert_eq!(json!(opened.origin.caller.tgid), report["pid"]);
        assert_eq!(world.count("no_listener"), 1);
        assert!(world.nothing_arrived());
    });
}

#[test]
fn without_a_listener_or_with_a_squatter_in_its_place() {
    world(async |mut world| {
        let listeners = world.capture.listeners().unwrap();
        let there = listeners[0].local_addr().unwrap();
        for listener in listeners {
            rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).unwrap();
        }
        direct(&mut world, &[&format!("to={WANTED4}")]).await;
        assert_eq!(verdict(&mut world).await, Verdict::NoListener);
        direct(&mut world, &[&format!("to={WANTED6}")]).await;
        assert_eq!(world.count("no_listener"), 2);

        let _squatter = std::net::TcpListener::bind(there).unwrap();
        direct(&mut world, &[&format!("to={WANTED4}")]).await;
        assert_eq!(world.count("no_listener"), 3);
    });
}

#[test]
fn a_stranger_at_the_listener_has_no_origin() {
    world(async |mut world| {
        let listener = &world.capture.listeners().unwrap()[0];
        let port = listener.local_addr().unwrap().port();
        let report = world.dial(&[&format!("to=127.0.0.1:{port}")]).await;
        assert_eq!(report["peer"], json!(format!("127.0.0.1:{port}")), "nothing restored");
        assert!(world.arrival().await.origin.is_none());
        // Nor does one that was redirected before, with the same socket.
        world.dial(&[&format!("to={WANTED4},127.0.0.1:{port}")]).await;
        assert!(world.arrival().await.origin.is_some());
        assert!(world.arrival().await.origin.is_none());
    });
}
