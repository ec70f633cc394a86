//! What the hooks cost, by the kernel's own account.

use std::collections::HashMap;
use std::time::Duration;

use agent::capture::Measuring;
use agent_common::program;

use super::world::{OTHER4, WANTED4, World, world};

/// Fewer than a backlog holds: a client that has to wait for the server would measure that.
const TIMES: u32 = 100;
/// A shared machine, maybe one that is emulated: this finds a hook gone wrong, not one gone slow.
const AT_MOST: Duration = Duration::from_micros(500);

/// Rounds, of which the best counts: whatever else runs on the machine only adds to the others.
const ROUNDS: usize = 20;

type Costs = HashMap<String, Duration>;

/// Time spent in a run of each program when connecting to `to` that way.
async fn cost(world: &World, to: &str, how: &str) -> Costs {
    let mut best = Costs::new();
    for _ in 0..ROUNDS {
        for (name, time) in round(world, to, how).await {
            let known = best.entry(name).or_insert(Duration::MAX);
            *known = time.min(*known);
        }
    }
    best
}

async fn round(world: &World, to: &str, how: &str) -> Costs {
    let read = || world.capture.program_stats();
    let before = read();
    let args = [&format!("to={to}"), &format!("times={TIMES}"), &format!("how={how}")];
    world.cgroup.act("knock", &args.map(String::as_str)).await;
    let spent = before.into_iter().zip(read()).filter_map(|(before, after)| {
        let runs = u32::try_from(after.runs - before.runs).unwrap();
        let time = after.run_time.checked_sub(before.run_time)?.checked_div(runs)?;
        Some((after.name, time))
    });
    spent.collect()
}

#[test]
fn a_run_of_a_hook_takes_nanoseconds() {
    world(async |world| {
        let _measuring = Measuring::start().unwrap();
        for (what, to) in [("other port", "192.0.2.11:80"), ("miss", OTHER4), ("hit", WANTED4)] {
            let costs = cost(&world, to, "tcp").await;
            println!("{what}: {costs:?}");
            assert!(costs[program::CONNECT4] < AT_MOST);
            assert!(costs[program::SOCKOPS] < AT_MOST);
            // Every packet that both ends received.
            assert!(costs[program::ANSWERS] < AT_MOST);
            // … that both ends sent.
            assert!(costs[program::QUIC] < AT_MOST);
        }
        for (what, to) in
            [("datagram", "192.0.2.11:80"), ("miss, datagram", OTHER4), ("hit, datagram", WANTED4)]
        {
            let costs = cost(&world, to, "udp").await;
            println!("{what}: {costs:?}");
            assert!(costs[program::CONNECT4] < AT_MOST);
            assert!(costs[program::QUIC] < AT_MOST);
        }
    });
}
