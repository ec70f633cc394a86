//! Deliveries to webhooks across `weir upgrade`.

use std::time::Duration;

use agent::demo::mock::Script;
use anyhow::Context;
use harness::{on_stage, until};
use serde_json::json;

use super::manager::Manager;
use crate::webhooks::{Receiver, config, deliver};

#[test]
fn an_upgrade_ends_what_was_begun_and_hands_the_rest_over() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let receiver = Receiver::start().await?;
        let more = json!({"callback_url": receiver.url(), "allow_private": true, "concurrency": 1});
        let config = config(stage, more)?.with(&["limits", "drain_timeout"], json!("20s"));
        stage.provider().once(Script { delay: Duration::from_secs(4), ..Script::default() });
        let _manager = Manager::start(stage, &config, Duration::from_secs(30)).await?;
        let mut ids = vec![deliver(stage, "1").await?];
        until(
            "the first call",
            async || Ok((stage.provider().stats().requests == 1).then_some(())),
        )
        .await?;
        for body in ["2", "3"] {
            ids.push(deliver(stage, body).await?);
        }
        stage.told(&["upgrade"]).await?;
        ids.push(deliver(stage, "4").await?);
        let mut told = Vec::new();
        for one in receiver.told(4).await? {
            let said = one.json()?;
            assert_eq!(said["status"], "ok", "{said}");
            told.push(said["delivery_id"].as_str().context("an id")?.to_owned());
        }
        told.sort_unstable();
        assert_eq!(told, ids, "each once");
        assert_eq!(stage.provider().stats().requests, 4);
        Ok(())
    })
}
