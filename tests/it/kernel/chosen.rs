//! Picked workloads are captured wherever they connect to, others are not.

use std::collections::{BTreeMap, BTreeSet};

use agent::capture::workloads::Workloads;
use agent::capture::{ChosenSet, Event, Helper};
use agent::subject::Pick;
use tokio::sync::mpsc;

use super::world::{Cgroup, OTHER4, WANTED4, World, isolated, within, world};

async fn reply(cgroup: &Cgroup) -> String {
    let report = cgroup.act("dial", &[&format!("to={OTHER4}")]).await;
    report["reply"].as_str().unwrap().to_owned()
}

fn chosen(cgroups: &[(u64, Option<u32>)], users: &[u32]) -> ChosenSet {
    ChosenSet {
        cgroups: cgroups.iter().copied().collect::<BTreeMap<_, _>>(),
        users: users.iter().copied().collect::<BTreeSet<_>>(),
    }
}

#[test]
fn by_user() {
    world(async |mut world| {
        assert_eq!(reply(&world.cgroup).await, "direct");
        assert_eq!(world.capture.choose(&chosen(&[], &[12_345])).unwrap(), 0);
        assert_eq!(reply(&world.cgroup).await, "direct", "somebody else");
        world.capture.choose(&chosen(&[], &[0])).unwrap();
        assert_eq!(reply(&world.cgroup).await, "weir");
        let origin = world.arrival().await.origin.unwrap();
        assert_eq!(origin.destination, OTHER4.parse().unwrap());
        assert_eq!((world.count("chosen_redirected"), world.count("misses")), (1, 2));

        world.capture.redirect(false).unwrap();
        assert_eq!(reply(&world.cgroup).await, "direct", "nobody is, while redirecting is off");
        // The end of the redirected one may be told as late as now.
        while let Ok(event) = world.events.try_recv() {
            let redirected = matches!(&event, Event::Closed(closed) if closed.redirected);
            assert!(redirected, "nor seen: it may be to anybody: {event:?}");
        }
    });
}

#[test]
fn by_cgroup_with_all_that_lies_below() {
    world(async |mut world| {
        let below = world.cgroup.child("below");
        let deeper = below.child("deeper");
        let id = below.id();
        for level in [Some(2), None] {
            world.capture.choose(&chosen(&[(id, level)], &[])).unwrap();
            assert_eq!(reply(&below).await, "weir");
            assert_eq!(reply(&deeper).await, "weir");
            assert_eq!(reply(&world.cgroup).await, "direct", "above it");
        }
        world.capture.choose(&ChosenSet::default()).unwrap();
        assert_eq!(reply(&below).await, "direct");
        assert_eq!(world.dial(&[&format!("to={WANTED4}")]).await["reply"], "weir", "a target");
        while !world.nothing_arrived() {}
    });
}

#[test]
fn a_unit_is_found_whenever_it_is_started() {
    isolated(async || {
        let slice = Cgroup::slice();
        let settings = slice.settings();
        let mut world = World::attached(slice, &settings).await;
        world.accept();
        let unit: Pick = Pick::parse("unit:weir-batch").unwrap();
        let (applied, mut sets) = mpsc::unbounded_channel();
        let capture = std::sync::Arc::clone(&world.capture);
        let keeping = Workloads::new(Helper::in_process(), &[unit]).keep(
            |set| {
                assert_eq!(capture.choose(set).unwrap(), 0);
                applied.send(set.clone()).unwrap();
            },
            world.drain.clone(),
        );
        let story = async {
            assert_eq!(within(sets.recv()).await.unwrap(), ChosenSet::default());
            let mut ids = BTreeSet::new();
            for _start in 0..2 {
                let unit = world.cgroup.child("weir-batch.service");
                let other = world.cgroup.child("weir-other.service");
                let set = within(sets.recv()).await.unwrap();
                assert_eq!(set.cgroups.keys().copied().collect::<Vec<_>>(), [unit.id()]);
                assert_eq!(reply(&unit).await, "weir");
                assert_eq!(reply(&other).await, "direct");
                assert!(ids.insert(unit.id()), "another cgroup each time");
                drop(unit);
                assert_eq!(within(sets.recv()).await.unwrap(), ChosenSet::default());
            }
        };
        tokio::select! {
            () = keeping => panic!("nobody looks"),
            () = story => {}
        }
    });
}
