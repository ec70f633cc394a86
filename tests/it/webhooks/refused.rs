//! Requests that are not taken, and what they are told.

use harness::{Route, on_stage, until};
use serde_json::{Value, json};

use super::{SECRET, config, deliver, history, post, row, slow};

#[test]
fn who_cannot_sign_learns_nothing() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.start(&config(stage, json!({}))?).await?;
        let wrong = &post(stage, &["triage", "another secret", "{}", "0"]).await?[0];
        let unknown = &post(stage, &["nothing", SECRET, "{}", "0"]).await?[0];
        let nameless = &post(stage, &["", SECRET, "{}", "0"]).await?[0];
        let plain = &post(stage, &["triage", SECRET, "{}", "plain"]).await?[0];
        assert_eq!(wrong["status"], 401, "{wrong}");
        for other in [unknown, nameless, plain] {
            assert_eq!(other, wrong, "the same answer, to the last byte");
        }
        let old = &post(stage, &["triage", SECRET, "{}", "-301"]).await?[0];
        assert_eq!((&old["status"], &old["body"]["error"]["code"]), (&json!(401), &json!("stale")));
        let early = &post(stage, &["triage", SECRET, "{}", "400"]).await?[0];
        assert_eq!(early["body"]["error"]["code"], "stale");

        let twice = post(stage, &["triage", SECRET, "{}", "-5", "2"]).await?;
        assert_eq!((&twice[0]["status"], &twice[1]["status"]), (&json!(202), &json!(409)));
        assert_eq!(twice[1]["body"]["error"]["code"], "replayed");
        let big = async |name: &str| post(stage, &[name, SECRET, "*1048577", "0"]).await;
        let (known, unknown) = (big("triage").await?, big("nothing").await?);
        assert_eq!(known[0]["status"], 413);
        assert_eq!(known, unknown);
        let fits = &post(stage, &["triage", SECRET, "*1048576", "0"]).await?[0];
        assert_eq!(fits["status"], 202);
        let url = "http://127.0.0.1:4180/v1/webhooks/triage";
        let words = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", url];
        assert_eq!(stage.succeed(Route::Direct, &words).await?.stdout, "405");
        // A web page of another site posts nothing either.
        let words =
            [&words[..6], &["-H", "origin: https://evil.example", "-d", "{}", url]].concat();
        assert_eq!(stage.succeed(Route::Direct, &words).await?.stdout, "403");

        assert_eq!(history(stage).await?.len(), 2, "what was refused is not kept");
        until("two calls", async || Ok((stage.provider().stats().requests == 2).then_some(())))
            .await?;
        for (labels, expected) in [
            ("result=\"bad_signature\",webhook=\"triage\"", 2),
            ("result=\"bad_signature\",webhook=\"unknown\"", 2),
            ("result=\"stale\",webhook=\"triage\"", 2),
            ("result=\"replayed\",webhook=\"triage\"", 1),
            ("result=\"too_large\"", 2),
            ("result=\"accepted\",webhook=\"triage\"", 2),
        ] {
            let counted: u64 = stage.metric("weir_webhook_requests_total", labels).await?;
            assert_eq!(counted, expected, "{labels}");
        }
        Ok(())
    })
}

#[test]
fn a_sender_that_signs_no_time_is_let_in_where_that_is_said() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.start(&config(stage, json!({"require_timestamp": false}))?).await?;
        let answers = post(stage, &["triage", SECRET, "{\"a\":1}", "plain", "2"]).await?;
        assert_eq!((&answers[0]["status"], &answers[1]["status"]), (&json!(202), &json!(409)));
        let answers = post(stage, &["triage", SECRET, "{\"a\":2}", "plain"]).await?;
        assert_eq!(answers[0]["status"], 202);
        let answers = post(stage, &["triage", SECRET, "1700000000.x", "plain"]).await?;
        assert_eq!(answers[0]["status"], 401, "that is how a time is signed");
        let answers = post(stage, &["triage", SECRET, "{\"a\":1}", "0"]).await?;
        assert_eq!(answers[0]["status"], 202);
        // What the agent itself signs with this secret is no request.
        let own = "{\"webhook\":\"triage\",\"delivery_id\":\"01\",\"content\":\"x\"}";
        for when in ["0", "plain"] {
            let answers = post(stage, &["triage", SECRET, own, when]).await?;
            assert_eq!(answers[0]["body"]["error"]["code"], "reflected", "{}", answers[0]);
        }
        Ok(())
    })
}

#[test]
fn more_than_can_wait_is_sent_away_and_may_come_again() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.provider().standing(slow());
        stage.start(&config(stage, json!({"concurrency": 1, "queue": 2}))?).await?;
        let first = deliver(stage, "1").await?;
        row(stage, &first, |row| row["status"] == "running").await?;
        deliver(stage, "2").await?;
        deliver(stage, "3").await?;
        // The same request is refused for want of room, and not as one that was taken.
        let full = post(stage, &["triage", SECRET, "4", "0", "2"]).await?;
        for answer in &full {
            assert_eq!((&answer["status"], &answer["retry_after"]), (&json!(503), &json!("5")));
            assert_eq!(answer["body"]["error"]["code"], "full");
        }
        let waiting: u64 = stage.metric("weir_webhook_waiting", "triage").await?;
        assert_eq!(waiting, 3);
        until("one call", async || Ok((stage.provider().stats().requests == 1).then_some(())))
            .await?;
        let rows = history(stage).await?;
        let states: Vec<_> = rows.iter().map(|row| row["status"].clone()).collect();
        assert_eq!(states, [json!("running"), json!("queued"), json!("queued")]);
        // Killed: a stop would wait for the call.
        stage.crash().await;
        Ok(())
    })
}

#[test]
fn secrets_change_with_a_reload_and_without_webhooks_there_are_none() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.start(&config(stage, json!({}))?).await?;
        deliver(stage, "1").await?;
        std::fs::write(stage.scratch().join("webhook-secret"), "a new one")?;
        stage.told(&["config", "reload"]).await?;
        let answers = post(stage, &["triage", SECRET, "2", "0"]).await?;
        assert_eq!(answers[0]["status"], 401);
        let answers = post(stage, &["triage", "a new one", "2", "0"]).await?;
        assert_eq!(answers[0]["status"], 202);

        let conf_d = stage.daemon()?.home().join("conf.d");
        std::fs::create_dir_all(&conf_d)?;
        std::fs::write(conf_d.join("50-off.yaml"), "webhooks: {enabled: false}\n")?;
        stage.told(&["config", "reload"]).await?;
        let answers = post(stage, &["triage", "a new one", "3", "0"]).await?;
        assert_eq!(answers[0]["status"], 404);
        assert_eq!(answers[0]["body"]["error"]["code"], Value::from("disabled"));
        Ok(())
    })
}
