//! Other network namespaces: listeners inside, and sockets that leave from there.

use std::io;

use agent::capture::helper::{Kind, Wish};
use agent::capture::origin::Origins;
use agent::capture::{Event, Helper, Inside, Verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use super::lifecycle::forget_tuples_of;
use super::world::{WANTED4, WANTED6, World, netns_cookie, within, world};

/// Somebody who lives in a namespace where nothing but the loopback is.
struct Dweller {
    child: Child,
}

impl Dweller {
    async fn new(world: &World) -> Self {
        let join = "echo $$ >\"$0/cgroup.procs\" && exec unshare --net sh -c \
                    'ip link set lo up; ip addr add 192.0.2.10/32 dev lo; ip route add 2001:db8::/32 dev lo; \
                    echo; exec sleep 60'";
        let mut child = Command::new("sh");
        child.args(["-c", join, world.cgroup.path()]).stdout(std::process::Stdio::piped());
        let mut child = child.kill_on_drop(true).spawn().unwrap();
        within(child.stdout.as_mut().unwrap().read_u8()).await.unwrap();
        Self { child }
    }

    fn process(&self) -> (u32, u64) {
        let pid = self.child.id().unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // After the name, which ends with the last parenthesis, comes the third field.
        let began = stat.rsplit(')').next().unwrap().split_whitespace().nth(22 - 3).unwrap();
        (pid, began.parse().unwrap())
    }

    /// A client where it lives.
    fn dial(&self, world: &World, to: &str) -> Child {
        let net = format!("--net=/proc/{}/ns/net", self.child.id().unwrap());
        let args = [&format!("to={to}"), "patience=300"];
        world.cgroup.spawn_by(&["nsenter", &net], "dial", &args.map(|arg| arg as &str))
    }
}

fn listeners(inside: &mut Inside) -> Vec<TcpListener> {
    let listeners = inside.take_listeners().unwrap().into_iter();
    listeners.map(|listener| TcpListener::from_std(listener).unwrap()).collect()
}

#[test]
fn a_listener_inside_is_all_it_takes_and_its_end_is_the_end() {
    world(async |mut world| {
        let dweller = Dweller::new(&world).await;
        let mut inside = world.capture.enter(dweller.process(), None).unwrap();
        assert_ne!(inside.netns(), world.capture.netns());
        let doors = listeners(&mut inside);
        assert_eq!(doors.len(), 2, "both IP versions");
        for (door, to) in doors.iter().zip([WANTED4, WANTED6]) {
            let client = dweller.dial(&world, to);
            let (mut socket, from) = within(door.accept()).await.unwrap();
            let origin = inside.take(from).expect("a record");
            assert_eq!(origin.destination, to.parse().unwrap());
            assert_eq!(origin.caller.netns, inside.netns());
            assert_eq!(Some(origin.caller.tgid), client.id());
            socket.write_all(b"weir").await.unwrap();
            drop(socket);
            within(client.wait_with_output()).await.unwrap();
        }
        assert!(world.nothing_arrived());
        drop(doors);
        while world.events.try_recv().is_ok() {}
        within(dweller.dial(&world, WANTED4).wait_with_output()).await.unwrap();
        // The ends of those before may still come in.
        let opened = loop {
            if let Event::Opened(opened) = world.event().await {
                break opened;
            }
        };
        assert_eq!(opened.verdict, Verdict::NoListener);
        assert_eq!(opened.origin.caller.netns, inside.netns());
    });
}

#[test]
fn a_record_whose_tuple_is_gone_is_found_inside_too() {
    world(async |world| {
        let dweller = Dweller::new(&world).await;
        let mut inside = world.capture.enter(dweller.process(), None).unwrap();
        let door = listeners(&mut inside).remove(0);
        let client = dweller.dial(&world, WANTED4);
        let (socket, from) = within(door.accept()).await.unwrap();
        assert_eq!(forget_tuples_of(inside.netns(), from.port()), 1);
        let origin = inside.take(from).expect("recovered");
        assert_eq!(origin.destination, WANTED4.parse().unwrap());
        drop(socket);
        within(client.wait_with_output()).await.unwrap();
    });
}

#[test]
fn only_the_namespace_that_was_meant_is_entered() {
    world(async |world| {
        let dweller = Dweller::new(&world).await;
        let (pid, start) = dweller.process();
        let refused = |process, netns| world.capture.enter(process, netns).unwrap_err().word();
        assert_eq!(refused((pid, start + 1), None), "gone", "another instance");
        assert_eq!(refused((pid, start), Some(world.capture.netns())), "gone", "it moved");
        // Where we are already, the port is taken: by us.
        let own = std::process::id();
        let all = world.capture.inhabited().unwrap();
        assert!(all.iter().any(|there| there.pids == [pid]), "{all:?}");
        assert!(all.iter().all(|there| !there.pids.contains(&own)), "not in the cgroup");
        let inside = world.capture.enter((pid, start), None).unwrap();
        assert_eq!(refused((pid, start), None), "port_taken");
        assert!(all.iter().any(|there| there.inode == inside.inode()));
    });
}

#[test]
fn sockets_leave_from_the_namespace_they_are_asked_for_and_from_no_other() {
    world(async |world| {
        // The same helper as the capture's: it knows what was entered.
        let helper = Helper::in_process();
        let drain = agent::drain::Drain::new();
        world.capture.detach();
        let capture =
            agent::capture::Capture::attach(&world.cgroup.settings(), &helper, &drain).unwrap();
        let dweller = Dweller::new(&world).await;
        let inside = capture.enter(dweller.process(), None).unwrap();
        let wish = Wish {
            kind: Kind::Stream,
            v6: false,
            mark: None,
            device: None,
            netns: inside.elsewhere(),
        };
        assert_eq!(netns_cookie(&helper.socket(wish).unwrap()), inside.netns());
        let own = helper.socket(Wish { netns: None, ..wish }).unwrap();
        assert_eq!(netns_cookie(&own), capture.netns());
        drop(inside);
        let error = helper.socket(wish).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NetworkUnreachable, "not from our own instead");
    });
}
