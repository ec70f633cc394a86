//! More connections wait to be taken in than there is room for their records.

use std::time::Duration;

use super::world::{WANTED4, World, isolated};

/// The maps hold 16,384.
const MORE: &str = "times=20000";
/// Also where every instruction is emulated.
const LONGEST: Duration = Duration::from_mins(2);
const PATIENCE: &str = "patience=120000";

#[test]
fn new_connections_are_redirected_as_ever_and_none_goes_to_a_wrong_place() {
    isolated(async || {
        let mut world = World::new().await;
        let before = world.count("redirected");
        // Nobody accepts yet: this one waits, with its record.
        let to = format!("to={WANTED4}");
        let oldest = world.cgroup.spawn("dial", &[&to, PATIENCE]);
        while world.count("redirected") == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let crowd = world.cgroup.spawn("knock", &[&to, MORE, "how=leave"]);
        let crowd = tokio::time::timeout(LONGEST, crowd.wait_with_output()).await.unwrap().unwrap();
        let crowd: serde_json::Value = serde_json::from_slice(&crowd.stdout).unwrap();
        assert_eq!(crowd["refused"], 0);
        assert_eq!((world.count("redirected") - before, world.count("unsaved")), (20_001, 0));

        world.accept();
        // The queue is taken in first. Which records had to go the kernel does not promise; one without
        // is nobody's, and the agent resets it. What is still known has to be right.
        let wanted = Some(WANTED4.parse().unwrap());
        let origin = world.arrival().await.origin;
        assert!(origin.is_none_or(|origin| Some(origin.destination) == wanted), "the oldest");
        let oldest = tokio::time::timeout(LONGEST, oldest.wait_with_output()).await.unwrap();
        assert!(oldest.unwrap().status.success());

        let new = world.cgroup.spawn("dial", &[&to, PATIENCE]);
        let new = tokio::time::timeout(LONGEST, new.wait_with_output()).await.unwrap().unwrap();
        let report: serde_json::Value = serde_json::from_slice(&new.stdout).unwrap();
        assert_eq!(report["reply"], "weir");
        let origin = loop {
            let arrival = world.arrival().await;
            if Some(arrival.client.to_string().as_str()) == report["local"].as_str() {
                break arrival.origin;
            }
        };
        let origin = origin.expect("a new connection has its record");
        assert_eq!(Some(origin.destination), wanted);
        assert_eq!(serde_json::json!(origin.caller.tgid), report["pid"]);
    });
}
