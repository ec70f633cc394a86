//! Attaching and detaching; and the agent's death, which must not be noticed.

use std::time::{Duration, Instant};

use agent::capture::{AttachError, Capture, Helper};
use agent::drain::Drain;
use agent_common::{FlowKey, Record};
use aya::maps::{HashMap, Map, MapData, MapInfo, loaded_maps};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Child;

use super::world::{Cgroup, WANTED4, World, isolated, within, world};

/// Starts an agent in a process of its own, in the root cgroup, capturing `cgroup`.
async fn agent_process(cgroup: &Cgroup) -> Child {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_actor"));
    command.args(["capture", &format!("of={}", cgroup.path()), "targets=192.0.2.10/32"]);
    command.stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    within(BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line)).await.unwrap();
    assert_eq!(line, "ready\n");
    child
}

/// Answers everybody at the wanted address.
async fn serve_direct(drain: &Drain) {
    let listener = TcpListener::bind(WANTED4).await.unwrap();
    drain.spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            if socket.read_exact(&mut [0; 5]).await.is_ok() {
                drop(socket.write_all(b"direct").await);
            }
        }
    });
}

async fn dial(cgroup: &Cgroup, more: &[&str]) -> Value {
    let to = format!("to={WANTED4}");
    let args: Vec<&str> = std::iter::once(to.as_str()).chain(more.iter().copied()).collect();
    cgroup.act("dial", &args).await
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the time that clients see is what is tested")]
fn killed_at_any_moment_connections_go_direct_at_once() {
    isolated(async || {
        let (cgroup, drain) = (Cgroup::new(), Drain::new());
        serve_direct(&drain).await;
        let mut agent = agent_process(&cgroup).await;
        assert_eq!(dial(&cgroup, &[]).await["reply"], "weir");
        agent.start_kill().unwrap();
        within(agent.wait()).await.unwrap();
        let since = Instant::now();
        assert_eq!(dial(&cgroup, &[]).await["reply"], "direct");
        // Well before signs of life are missed; an emulated machine takes a while to start a client.
        assert!(since.elapsed() < Duration::from_secs(2), "took {:?}", since.elapsed());
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the time that clients see is what is tested")]
fn stopped_connections_go_direct_after_three_seconds() {
    isolated(async || {
        let (cgroup, drain) = (Cgroup::new(), Drain::new());
        serve_direct(&drain).await;
        let mut agent = agent_process(&cgroup).await;
        let pid = rustix::process::Pid::from_raw(agent.id().unwrap().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        // Those that come too early hang, and give up.
        let stopped = Instant::now();
        while dial(&cgroup, &["patience=200"]).await["reply"] != "direct" {
            assert!(stopped.elapsed() < Duration::from_secs(20), "nobody noticed");
        }
        assert!(stopped.elapsed() > Duration::from_secs(2), "it was given up too early");
        agent.start_kill().unwrap();
        within(agent.wait()).await.unwrap();
    });
}

#[test]
fn detached_connections_go_direct_at_once() {
    world(async |world| {
        assert_eq!(dial(&world.cgroup, &[]).await["reply"], "weir");
        world.capture.detach();
        assert_eq!(dial(&world.cgroup, &[]).await["reply"], "direct");
        world.capture.detach();
        // And the cgroup is free for the next.
        let next =
            Capture::attach(&world.cgroup.settings(), &Helper::in_process(), &world.drain).unwrap();
        assert!(next.capabilities().complete());
    });
}

#[test]
fn a_second_agent_at_the_same_cgroup_is_refused() {
    world(async |world| {
        let second = Capture::attach(&world.cgroup.settings(), &Helper::in_process(), &world.drain);
        assert!(matches!(second, Err(AttachError::Running(_))), "{second:?}");
        assert_eq!(dial(&world.cgroup, &[]).await["reply"], "weir", "the first goes on");
    });
}

#[test]
fn an_agent_with_logging_programs_works_alike() {
    isolated(async || {
        let (cgroup, drain) = (Cgroup::new(), Drain::new());
        let settings = agent::capture::Settings { log: true, ..cgroup.settings() };
        let capture = Capture::attach(&settings, &Helper::in_process(), &drain).unwrap();
        assert!(capture.capabilities().complete(), "{:#?}", capture.capabilities());
    });
}

#[test]
fn a_record_whose_tuple_is_gone_is_found_by_cookie() {
    isolated(async || {
        let world = World::new().await;
        let listener = world.capture.listeners().unwrap().remove(0);
        let listener = TcpListener::from_std(listener).unwrap();
        let client = world.cgroup.spawn("dial", &[&format!("to={WANTED4}")]);
        let (mut socket, from) = within(listener.accept()).await.unwrap();
        assert_eq!(forget_tuples_of(world.capture.netns(), from.port()), 1);
        let origin = world.capture.origins().take(from).expect("recovered");
        assert_eq!(origin.destination, WANTED4.parse().unwrap());
        assert_eq!(Some(origin.caller.tgid), client.id());
        socket.write_all(b"weir").await.unwrap();
        drop(socket);
        within(client.wait_with_output()).await.unwrap();
    });
}

/// Removes the tuples with that source port, in the namespace with that cookie, from the programs'
/// maps; returns how many there were.
pub(super) fn forget_tuples_of(netns: u64, port: u16) -> usize {
    let flows =
        loaded_maps().filter_map(Result::ok).filter(|map| map.name_as_str() == Some("FLOWS"));
    flows.map(|info| forget_in(&info, netns, port)).sum()
}

fn forget_in(info: &MapInfo, netns: u64, port: u16) -> usize {
    let Ok(map) = MapData::from_id(info.id()) else { return 0 };
    let mut flows: HashMap<_, FlowKey, Record> = Map::LruHashMap(map).try_into().unwrap();
    let keys: Vec<FlowKey> = flows.keys().filter_map(Result::ok).collect();
    let ours = keys.iter().filter(|key| key.netns == netns && key.port == u32::from(port));
    ours.filter(|key| flows.remove(key).is_ok()).count()
}
