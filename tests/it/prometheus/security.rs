//! What somebody who watches over the host is told by the metrics.

use harness::{Route, on_stage, until};
use serde_json::json;

use super::scene::{self, Scene};

const FAULTS: &str = "weir_client_faults_total";

fn fault(listener: &str, fault: &str) -> String {
    format!("fault=\"{fault}\",listener=\"{listener}\"")
}

#[test]
fn who_asks_for_what_they_may_not_have_is_counted() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let token = stage.scratch().join("token");
        std::fs::write(&token, "s3cret\n")?;
        let config = stage.config().with(&["metrics", "token_file"], json!(token));
        stage.start(&config).await?;
        let status = async |more: &[&str]| {
            let asked = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "30"];
            anyhow::Ok(stage.run(Route::Direct, &[&asked[..], more].concat()).await?.stdout)
        };
        let metrics = "http://127.0.0.1:4181/metrics";
        assert_eq!(status(&[metrics, "-H", "authorization: Bearer s3cret"]).await?, "200");
        assert_eq!(status(&[metrics]).await?, "401");
        assert_eq!(status(&[metrics, "-H", "authorization: Bearer wrong"]).await?, "401");
        assert_eq!(status(&[metrics, "-H", "host: elsewhere.example"]).await?, "403");
        let count = async |of: String| stage.metric::<u64>(FAULTS, &of).await;
        assert_eq!(count(fault("admin", "unauthenticated")).await?, 2);
        assert_eq!(count(fault("admin", "forbidden")).await?, 1);

        assert_eq!(count(fault("proxy", "forbidden_target")).await?, 0);
        let through = ["-x", "http://127.0.0.1:4180", "http://169.254.169.254/latest/meta-data/"];
        assert_eq!(status(&through).await?, "403");
        assert_eq!(count(fault("proxy", "forbidden_target")).await?, 1);
        Ok(())
    })
}

#[test]
fn who_has_called_before_a_restart_is_no_news_after_it() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = scene::config(stage);
        stage.start(&config).await?;
        let scene = Scene::set(stage)?;
        scene.round(stage).await?;
        stage.settled(2).await?;
        until("two workloads that are new", async || {
            let news = stage.metric::<u64>("weir_first_seen_total", "").await?;
            Ok((news == 2).then_some(()))
        })
        .await?;
        let first = async |stage: &harness::Stage| {
            stage.metric::<f64>("weir_first_seen_timestamp_seconds", "workload=\"exe:curl\"").await
        };
        let before = first(stage).await?;
        assert!(before > 0.0);

        stage.stop().await?;
        stage.start(&config).await?;
        scene.round(stage).await?;
        scene.spend_all(stage).await?;
        // The ledger has been read by now: of three workloads one is new.
        until("one that is new", async || {
            let news = stage.metric::<u64>("weir_first_seen_total", "").await?;
            Ok((news == 1).then_some(()))
        })
        .await?;
        let after = first(stage).await?;
        assert!(after <= before, "{after}, not {before}");
        Ok(())
    })
}
