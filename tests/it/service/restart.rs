//! `systemctl restart` under load.

use std::time::Duration;

use agent::demo::mock::Script;
use harness::{on_stage, until};
use serde_json::json;

use super::load::{Load, ledger};
use super::manager::Manager;

pub(super) const CHAT: &str = "{\"model\":\"gpt-4o-mini\",\"messages\":[]}";
/// Of each client process.
pub(super) const WAYS: &str =
    "kept,kept,kept,kept,kept,kept,kept,kept,new,new,stream,stream,gateway,gateway";

#[test]
fn a_restart_under_load_fails_no_call() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.provider().standing(Script { pace: Duration::from_millis(15), ..Script::default() });
        let config = stage.config().with(&["limits", "drain_timeout"], json!("20s"));
        let manager = Manager::start(stage, &config, Duration::from_secs(30)).await?;
        let load = Load::start(stage, WAYS, 0.1, CHAT)?;
        let billed = async |more: u64| {
            let from = stage.provider().stats().billed;
            until("calls", async || {
                Ok((stage.provider().stats().billed >= from + more).then_some(()))
            })
            .await
        };
        billed(200).await?;
        for _ in 0..2 {
            manager.restart(stage).await?;
            billed(100).await?;
        }
        let seen = load.end().await?;
        let (whole, direct) = (seen.whole, seen.direct);
        eprintln!(
            "{whole} calls, {:.0}/s: {direct} direct, longest {:.2} s",
            seen.rate, seen.longest
        );
        assert!(seen.failed.is_empty(), "{:#?}", seen.failed);
        assert!(direct > 0, "some came while there was no agent");
        let rows = ledger(stage).await?;
        assert_eq!(rows, seen.metered, "what was metered, and nothing else");
        assert_eq!(rows.len() + direct, whole);
        assert_eq!(stage.provider().stats().billed, u64::try_from(whole)?);
        Ok(())
    })
}
