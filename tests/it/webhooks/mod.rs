//! Webhooks that others call: from a signed request to the callback and the ledger.

mod receiver;
mod refused;
mod restart;

use std::time::Duration;

use agent::demo::daemon::Config;
use agent::demo::mock::Script;
use anyhow::{Context, ensure};
use harness::{BYSTANDER, Route, Stage, on_stage, until};
use serde_json::{Value, json};

pub(crate) use self::receiver::Receiver;

const POST: &str = include_str!("post.py");
/// What callers sign with.
pub(crate) const SECRET: &str = "the webhook's own secret";
const KEY: &str = "sk-of-the-webhook";

/// The examples of the page on webhooks that are in one language.
pub(crate) fn page(language: &str) -> Vec<String> {
    const PAGE: &str = include_str!("../../../agent/docs/webhooks.md");
    let start = format!("```{language}\n");
    let blocks = PAGE.split(&start).skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(str::to_owned).collect()
}

/// A configuration with one webhook, `triage`, and what `more` says of it.
pub(crate) fn config(stage: &Stage, more: Value) -> anyhow::Result<Config> {
    let scratch = stage.scratch();
    let (key, secret) = (scratch.join("provider-key"), scratch.join("webhook-secret"));
    std::fs::write(&key, KEY)?;
    std::fs::write(&secret, SECRET)?;
    let mut definition = json!({
        "secret": {"file": secret},
        "model": "gpt-4o-mini",
        "prompt_template":
            "{{.WebhookName}} got {{.Payload}} with {{.Headers}} at {{.Timestamp}}",
        "system_prompt": "be brief",
        "max_tokens": 77,
    });
    if let (Value::Object(definition), Value::Object(more)) = (&mut definition, more) {
        definition.extend(more);
    }
    let webhooks = json!({"enabled": true, "definitions": {"triage": definition}});
    Ok(stage
        .config()
        .with(&["mode"], json!("enforce"))
        .with(&["providers", "openai", "api_key"], json!({"file": key}))
        .with(&["webhooks"], webhooks))
}

/// What each of some posts is answered.
pub(crate) async fn post(stage: &Stage, words: &[&str]) -> anyhow::Result<Vec<Value>> {
    let words = [&["python3", "-c", POST], words].concat();
    let output = stage.succeed(Route::Direct, &words).await?;
    output.stdout.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Posts to `triage`, rightly signed, and returns the delivery's id.
pub(crate) async fn deliver(stage: &Stage, body: &str) -> anyhow::Result<String> {
    let answers = post(stage, &["triage", SECRET, body, "0"]).await?;
    ensure!(answers[0]["status"] == 202, "{}", answers[0]);
    ensure!(answers[0]["body"]["status"] == "queued", "{}", answers[0]);
    Ok(answers[0]["body"]["delivery_id"].as_str().context("an id")?.to_owned())
}

/// What was posted to webhooks, as the history has it, oldest first.
pub(crate) async fn history(stage: &Stage) -> anyhow::Result<Vec<Value>> {
    let words = ["webhook", "history", "--direction", "inbound"];
    let history = stage.daemon()?.read(&words).await?;
    Ok(history["rows"].as_array().context("rows")?.clone())
}

/// A delivery's row, once it is as wanted.
pub(crate) async fn row(
    stage: &Stage,
    id: &str,
    wanted: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    until("a delivery as wanted", async || {
        let rows = history(stage).await?;
        Ok(rows.into_iter().find(|row| row["id"] == id && wanted(row)))
    })
    .await
}

/// Slow enough for anything to happen meanwhile.
pub(crate) fn slow() -> Script {
    Script { delay: Duration::from_mins(10), ..Script::default() }
}

#[test]
fn a_signed_post_asks_the_model_once_and_its_answer_comes_back() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let receiver = Receiver::start().await?;
        let more = json!({"callback_url": receiver.url(), "allow_private": true});
        stage.start(&config(stage, more)?).await?;
        let id = deliver(stage, "{\"ticket\": \"{{.Headers}}\"}").await?;

        let told = receiver.told(1).await?.remove(0);
        assert!(told.is_genuine(stage, SECRET).await?);
        assert!(!told.is_genuine(stage, "another secret").await?);
        assert_eq!(told.header("x-webhook-id")?, id);
        assert_eq!(told.header("idempotency-key")?, id);
        let said = told.json()?;
        assert_eq!((&said["webhook"], &said["delivery_id"]), (&json!("triage"), &json!(id)));
        assert_eq!((&said["status"], &said["error"]), (&json!("ok"), &Value::Null));
        assert_eq!(said["content"], "All is well. ");
        assert_eq!(said["model"], "gpt-4o-mini");
        assert_eq!(said["usage"]["input_tokens"], 1000);
        assert_eq!(said["usage"]["output_tokens"], 200);
        assert_eq!(said["cost_usd"], "0.00027");

        let [seen] = &stage.provider().seen()[..] else { anyhow::bail!("asked more than once") };
        assert_eq!(seen.path, "/v1/chat/completions");
        assert_eq!(seen.headers["authorization"], format!("Bearer {KEY}"));
        let asked: Value = serde_json::from_slice(&seen.body)?;
        assert_eq!(asked["max_completion_tokens"], 77);
        assert_eq!(asked["messages"][0], json!({"role": "system", "content": "be brief"}));
        let prompt = asked["messages"][1]["content"].as_str().context("a prompt")?;
        let start = "triage got {\"ticket\": \"{{.Headers}}\"} with ";
        assert!(prompt.starts_with(start), "{prompt}");
        assert!(prompt.contains("x-event: push"), "{prompt}");
        assert!(!prompt.contains("s3cret") && !prompt.contains("sha256="), "{prompt}");

        let calls = stage.settled(1).await?;
        let [call] = &calls[..] else { anyhow::bail!("{calls:?}") };
        assert_eq!(call["workload"], "webhook:triage");
        assert_eq!((&call["cost_usd"], &call["call_id"]), (&said["cost_usd"], &said["call_id"]));
        let spend = stage.spend("workload").await?;
        assert_eq!(spend[0]["workload"], "webhook:triage");

        let row = row(stage, &id, |row| row["callback"]["status"] == "delivered").await?;
        assert_eq!((&row["status"], &row["direction"]), (&json!("ok"), &json!("inbound")));
        assert_eq!(
            (&row["workload"], &row["callback"]["attempts"]),
            (&json!("webhook:triage"), &json!(1))
        );
        let exe = row["poster"]["exe"].as_str().context("an executable")?;
        assert!(exe.contains("python3"), "{row}");
        assert_eq!(call["pid"], row["poster"]["pid"]);
        for (name, labels) in [
            ("weir_webhook_requests_total", "result=\"accepted\",webhook=\"triage\""),
            ("weir_webhook_runs_total", "status=\"ok\",webhook=\"triage\""),
            ("weir_webhook_callbacks_total", "result=\"delivered\",webhook=\"triage\""),
        ] {
            assert_eq!(stage.metric::<u64>(name, labels).await?, 1, "{name}");
        }
        // No content stays behind: neither what was asked, nor what was answered.
        for file in std::fs::read_dir(stage.home().join("state/webhooks"))? {
            let text = std::fs::read_to_string(file?.path())?;
            assert!(!text.contains("triage got") && !text.contains("All is well"), "{text}");
        }
        Ok(())
    })
}

#[test]
fn the_examples_of_the_page_are_let_in() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.start(&config(stage, json!({}))?).await?;
        std::fs::write(stage.scratch().join("triage.secret"), SECRET)?;
        let there = format!("cd '{}' && ", stage.scratch().display());
        for (shell, example) in
            [("sh", page("sh").remove(0)), ("python3", page("python").remove(0))]
        {
            let script = there.clone() + "exec \"$@\"";
            let words = ["sh", "-c", &script, "there", shell, "-c", &example];
            let said = stage.succeed(Route::Direct, &words).await?.stdout;
            let said: Value = serde_json::from_str(&said)?;
            assert_eq!(said["status"], "queued", "{shell}: {said}");
            let id = said["delivery_id"].as_str().context("an id")?;
            row(stage, id, |row| row["status"] == "ok").await?;
        }
        for (seen, title) in stage.provider().seen().iter().zip(["It crashes", "It is slow"]) {
            let asked = std::str::from_utf8(&seen.body)?;
            assert!(asked.contains(title), "{asked}");
        }
        Ok(())
    })
}

#[test]
fn a_limit_on_the_webhook_holds_and_is_told() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let receiver = Receiver::start().await?;
        let more = json!({"callback_url": receiver.url(), "allow_private": true});
        let limit = json!({"webhook:triage": {"requests_per_minute": 1}});
        stage.start(&config(stage, more)?.with(&["rate_limits"], limit)).await?;
        deliver(stage, "1").await?;
        receiver.told(1).await?;
        let second = deliver(stage, "2").await?;
        let told = receiver.told(2).await?.remove(1);
        assert!(told.is_genuine(stage, SECRET).await?);
        let said = told.json()?;
        assert_eq!((&said["delivery_id"], &said["status"]), (&json!(second), &json!("refused")));
        let error = said["error"].as_str().context("an error")?;
        assert!(error.contains("Rate limit exceeded"), "{error}");
        assert_eq!((&said["content"], &said["cost_usd"]), (&Value::Null, &json!("0.00")));
        assert_eq!(stage.provider().stats().requests, 1);
        let calls = stage.settled(2).await?;
        assert_eq!(calls[1]["outcome"], "refused");
        assert_eq!(calls[1]["call_id"], said["call_id"]);
        Ok(())
    })
}

#[test]
fn an_answer_is_posted_to_no_private_address_unless_that_is_meant() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let url = format!("https://{}/", BYSTANDER.0);
        stage.start(&config(stage, json!({"callback_url": url}))?).await?;
        let id = deliver(stage, "1").await?;
        let row = row(stage, &id, |row| row["callback"]["status"] == "dead").await?;
        assert_eq!(row["status"], "ok", "{row}");
        let error = row["callback"]["error"].as_str().context("an error")?;
        assert!(error.contains("private address 192.0.2.20"), "{error}");
        assert_eq!(row["callback"]["attempts"], 1, "it would fail again");
        let dead = stage.metric::<u64>("weir_webhook_callbacks_total", "result=\"dead\"").await?;
        assert_eq!(dead, 1);
        let shown = stage.told(&["webhook", "history"]).await?;
        assert!(shown.contains("callback dead") && shown.contains("private address"), "{shown}");
        Ok(())
    })
}

#[test]
fn a_receiver_that_was_down_is_told_when_it_is_up() -> anyhow::Result<()> {
    on_stage(async |stage| {
        // Nobody else is in this namespace: the port stays free.
        let address = Receiver::start().await?.address();
        let more = json!({"callback_url": format!("http://{address}/"), "allow_private": true});
        let config = config(stage, more)?;
        stage.start(&config).await?;
        let id = deliver(stage, "1").await?;
        let tried = |row: &Value| row["callback"]["attempts"].as_u64() >= Some(1);
        let row = row(stage, &id, tried).await?;
        assert_eq!((&row["status"], &row["callback"]["status"]), (&json!("ok"), &json!("queued")));
        // It outlives a restart, too.
        stage.stop().await?;
        let receiver = Receiver::at(address).await?;
        stage.start(&config).await?;
        let told = receiver.told(1).await?.remove(0);
        assert!(told.is_genuine(stage, SECRET).await?);
        assert_eq!(told.json()?["delivery_id"], id.as_str());
        assert_eq!(told.json()?["content"], "All is well. ");
        assert_eq!(stage.provider().stats().requests, 1, "the model was asked once");
        Ok(())
    })
}

#[test]
fn a_failure_is_told_as_one() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let receiver = Receiver::start().await?;
        let more = json!({"callback_url": receiver.url(), "allow_private": true});
        let config = config(stage, more)?.with(&["mode"], json!("meter"));
        stage.provider().once(Script::default().amended("status=400")?);
        stage.start(&config).await?;
        deliver(stage, "1").await?;
        let said = receiver.told(1).await?.remove(0).json()?;
        assert_eq!(said["status"], "failed", "{said}");
        assert_eq!(said["error"], "The request is not valid.", "{said}");
        assert_eq!(said["content"], Value::Null);
        Ok(())
    })
}
