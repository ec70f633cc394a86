//! Deliveries outlive the agent: what was not begun is begun by the next one, and nothing twice.

use std::collections::BTreeMap;
use std::time::Duration;

use agent::demo::mock::Script;
use anyhow::Context;
use harness::{Stage, on_stage, until};
use serde_json::{Value, json};

use super::{Receiver, SECRET, config, deliver, post, row, slow};

/// What each delivery was told to have come to.
async fn told(receiver: &Receiver, count: usize) -> anyhow::Result<BTreeMap<String, Value>> {
    let told = receiver.told(count).await?;
    let mut by_id = BTreeMap::new();
    for one in &told {
        let said = one.json()?;
        let id = said["delivery_id"].as_str().context("an id")?.to_owned();
        anyhow::ensure!(by_id.insert(id, said).is_none(), "told twice: {told:?}");
    }
    Ok(by_id)
}

async fn asked(stage: &Stage, times: u64) -> anyhow::Result<()> {
    until("calls", async || Ok((stage.provider().stats().requests >= times).then_some(()))).await
}

#[test]
fn a_kill_loses_no_delivery_and_repeats_no_call() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let receiver = Receiver::start().await?;
        let more = json!({
            "callback_url": receiver.url(), "allow_private": true,
            "concurrency": 1, "require_timestamp": false,
        });
        let config = config(stage, more)?;
        stage.provider().once(slow());
        stage.start(&config).await?;
        let begun = deliver(stage, "1").await?;
        asked(stage, 1).await?;
        let mut waiting = Vec::new();
        for body in ["2", "3", "4"] {
            let answers = post(stage, &["triage", SECRET, body, "plain"]).await?;
            let id = answers[0]["body"]["delivery_id"].as_str().context("an id")?;
            waiting.push(id.to_owned());
        }
        stage.crash().await;

        stage.start(&config).await?;
        let told = told(&receiver, 4).await?;
        assert_eq!(told[&begun]["status"], "interrupted", "{told:#?}");
        for id in &waiting {
            assert_eq!(told[id]["status"], "ok", "{told:#?}");
        }
        assert_eq!(stage.provider().stats().requests, 4, "each was asked once");
        // What was taken before is known to be.
        let again = post(stage, &["triage", SECRET, "3", "plain"]).await?;
        assert_eq!(again[0]["status"], 409, "{}", again[0]);
        let row = row(stage, &begun, |row| row["callback"]["status"] == "delivered").await?;
        assert_eq!(row["status"], "interrupted");
        assert_eq!(stage.provider().stats().requests, 4);
        let calls = stage.settled(4).await?;
        assert_eq!(calls.iter().filter(|call| call["outcome"] == "lost").count(), 1);
        Ok(())
    })
}

#[test]
fn a_stop_ends_what_was_begun_and_leaves_the_rest_to_the_next() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let receiver = Receiver::start().await?;
        let more = json!({"callback_url": receiver.url(), "allow_private": true, "concurrency": 1});
        let config = config(stage, more)?;
        stage.provider().once(Script { delay: Duration::from_secs(2), ..Script::default() });
        stage.start(&config).await?;
        let begun = deliver(stage, "1").await?;
        asked(stage, 1).await?;
        let waiting = deliver(stage, "2").await?;
        assert_eq!(stage.stop().await?, Some(0));
        let first = told(&receiver, 1).await?;
        assert_eq!(first.keys().collect::<Vec<_>>(), [&begun]);
        assert_eq!(first[&begun]["status"], "ok");
        assert_eq!(stage.provider().stats().requests, 1);

        stage.start(&config).await?;
        let both = told(&receiver, 2).await?;
        assert_eq!(both[&waiting]["status"], "ok");
        assert_eq!(stage.provider().stats().requests, 2);
        Ok(())
    })
}
