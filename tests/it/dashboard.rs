//! The dashboard in a real browser, over real calls: what it shows is what the ledger has, what happens
//! arrives, what is changed is changed, and nobody sees what is not theirs.

use std::collections::BTreeMap;

use agent::demo::mock::{Script, Tokens};
use anyhow::{Context, ensure};
use harness::{Route, Stage, artefacts, curl, money, on_stage};
use serde_json::{Value, json};

/// As in `reading.rs`: so many tokens of gpt-4o-mini cost $0.0003.
const TOKENS: Tokens =
    Tokens { input: 1_200, cached: 800, cache_write: 0, output: 300, reasoning: 100 };
const PRICE: &str = "0.0003";
const LIMIT: &str = "rate_limits.curl";
const AS_NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// A daemon that enforces a limit and a budget nobody reaches.
async fn start(stage: &mut Stage) -> anyhow::Result<()> {
    stage.provider().standing(Script { tokens: TOKENS, ..Script::default() });
    let config = stage
        .config()
        .with(&["mode"], json!("enforce"))
        .with(&["rate_limits", "curl"], json!({"requests_per_hour": 1_000}))
        .with(&["budgets", "curl"], json!({"daily_limit_usd": 10, "alert_at_percent": 80}));
    stage.start(&config).await
}

/// Calls of two workloads to three models, one of them streamed.
async fn play(stage: &Stage) -> anyhow::Result<Vec<Value>> {
    const STREAM: &str = "{\"model\":\"gpt-4o\",\"stream\":true,\"messages\":[]}";
    const CLAUDE: &str = "{\"model\":\"claude-sonnet-4-5\",\"max_tokens\":9,\"messages\":[]}";
    let claude = ["-d", CLAUDE, "https://api.anthropic.com/v1/messages"];
    for words in [curl(&[]), curl(&["-d", STREAM]), curl(&claude)] {
        stage.succeed(Route::Redirect, &words).await?;
    }
    stage.settled(3).await
}

/// An administrator's session: the address that opens it.
async fn address(stage: &Stage) -> anyhow::Result<String> {
    let session = stage.daemon()?.read(&["dashboard"]).await?;
    Ok(session["url"].as_str().context("an address")?.to_owned())
}

/// What a command says, with UTC's days, as the browser has them.
async fn told(stage: &Stage, arguments: &[&str]) -> anyhow::Result<Value> {
    let mut weir = stage.daemon()?.weir(arguments);
    let output = weir.arg("--json").env("TZ", "UTC").output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Cost by one of the keys of `weir spend`.
async fn costs(stage: &Stage, by: &str) -> anyhow::Result<BTreeMap<String, i64>> {
    let spend = told(stage, &["spend", "--since", "7d", "--by", by]).await?;
    let rows = spend["rows"].as_array().context("rows")?;
    let cost = |row: &Value| {
        let cost = row["cost_usd"].as_str().context("a cost")?;
        Ok((row[by].as_str().context("a key")?.to_owned(), money::nanos(cost)?))
    };
    rows.iter().map(cost).collect()
}

/// The same as a page has it: names and decimal strings.
fn shown(figures: &Value) -> anyhow::Result<BTreeMap<String, i64>> {
    let entries = figures.as_object().context("figures by name")?.iter();
    let entries = entries.filter(|(name, _)| *name != "All");
    entries
        .map(|(name, cost)| Ok((name.clone(), money::nanos(cost.as_str().context("a cost")?)?)))
        .collect()
}

#[test]
fn figures_frames_and_addresses_are_read_right() -> anyhow::Result<()> {
    let script = artefacts::script("dashboard/units.mjs");
    let node = std::process::Command::new("node").arg(&script).env_clear().output();
    let output = node.context("node: `cargo xtask setup` installs it")?;
    let told = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && told.contains("# pass 7"), "{told}");
    Ok(())
}

#[test]
fn pages_show_what_the_ledger_has() -> anyhow::Result<()> {
    on_stage(async |stage| {
        start(stage).await?;
        let calls = play(stage).await?;
        let today = async || {
            Ok::<_, anyhow::Error>(told(stage, &["spend", "today"]).await?["total"].take())
        };
        let before = today().await?;
        let id = calls[0]["call_id"].as_str().context("an id")?;
        let given = json!({
            "url": address(stage).await?, "workload": "exe:curl", "model": "gpt-4o-mini", "call": id,
        });
        let page = stage.browse("figures.mjs", &given).await?;

        let spend = told(stage, &["spend", "--since", "7d"]).await?;
        let (total, billed) = (&spend["total"], stage.provider().stats());
        let cost = total["cost_usd"].as_str().context("a cost")?;
        // Either side of a midnight that may have passed meanwhile.
        let todays = [before["cost_usd"].clone(), today().await?["cost_usd"].clone()];
        assert!(todays.contains(&page["today"]), "{todays:?} {page}");
        let workloads = costs(stage, "workload").await?;
        assert_eq!(shown(&page["top"])?, workloads);
        assert_eq!(shown(&page["byWorkload"])?, workloads);
        assert_eq!(shown(&page["byModel"])?, costs(stage, "model").await?);
        let tokens = (billed.input_tokens + billed.output_tokens).to_string();
        let expected = [json!("3"), json!(tokens), json!("1"), json!(8)];
        let found = ["requests", "tokens", "success", "kpis"].map(|key| page[key].clone());
        assert_eq!(found, expected, "{page}");
        let budget = page["budget"].as_str().context("a budget")?;
        assert!(budget.ends_with(" of $10.00 per day"), "{budget}");

        let workload = &page["workload"];
        assert_eq!((&workload["cost"], &workload["calls"]), (&json!(cost), &json!("3")));
        assert_eq!(
            (&workload["tokens"], &workload["samples"]),
            (&json!(tokens), &json!("Of 3 calls, 1 stream"))
        );
        let explained = told(stage, &["explain", id]).await?;
        let rules = explained["decisions"].as_array().context("decisions")?.len();
        assert_eq!(
            (&page["call"]["cost"], &page["call"]["rules"]),
            (&calls[0]["cost_usd"], &json!(rules))
        );
        assert_eq!(page["call"]["title"], format!("Call {id}"));
        let status = stage.daemon()?.read(&["status"]).await?;
        assert_eq!(page["hooks"], status["capabilities"].as_array().context("hooks")?.len());
        Ok(())
    })
}

#[test]
fn calls_arrive_as_they_end() -> anyhow::Result<()> {
    on_stage(async |stage| {
        start(stage).await?;
        let given = json!({"url": address(stage).await?, "price": PRICE});
        let shown = stage.browse("live.mjs", &given).await?;
        let calls = stage.settled(2).await?;
        let ids: Vec<&Value> = calls.iter().map(|call| &call["call_id"]).collect();
        assert_eq!(ids, shown.as_array().context("ids")?.iter().collect::<Vec<_>>());
        Ok(())
    })
}

#[test]
fn a_toggle_acts_and_is_taken_back() -> anyhow::Result<()> {
    on_stage(async |stage| {
        start(stage).await?;
        for (keyboard, becomes) in [(true, "shadow"), (false, "enforce")] {
            let url = address(stage).await?;
            let given =
                json!({"url": url, "policy": LIMIT, "keyboard": keyboard, "becomes": becomes});
            stage.browse("toggle.mjs", &given).await?;
            let policy = stage.daemon()?.read(&["policy", "show", LIMIT]).await?;
            let policy = &policy["policy"];
            assert_eq!(
                (&policy["enforcement"], &policy["overridden"]),
                (&json!(becomes), &json!(keyboard))
            );
        }
        Ok(())
    })
}

#[test]
fn a_user_sees_their_own_and_changes_nothing() -> anyhow::Result<()> {
    on_stage(async |stage| {
        start(stage).await?;
        stage.succeed(Route::Redirect, &curl(&[])).await?;
        stage.succeed(Route::Redirect, &[&AS_NOBODY[..], &curl(&[])].concat()).await?;
        let calls = stage.settled(2).await?;
        let socket = stage.daemon()?.home().join("run/weir.sock").display().to_string();
        let ask = ["curl", "-sS", "--unix-socket", &socket, "-X", "POST"];
        let ask = [&AS_NOBODY[..], &ask, &["http://localhost/api/sessions"]].concat();
        let session: Value =
            serde_json::from_str(&stage.succeed(Route::Direct, &ask).await?.stdout)?;
        let given = json!({
            "url": session["url"],
            "policy": LIMIT,
            "own": [calls[1]["call_id"]],
            "others": calls[0]["call_id"],
        });
        stage.browse("user.mjs", &given).await?;
        let policy = stage.daemon()?.read(&["policy", "show", LIMIT]).await?;
        assert_eq!(policy["policy"]["enforcement"], "enforce");
        Ok(())
    })
}

/// Every page in both themes; pictures are left in `target/pictures`.
fn pages_are_fit_to_be_read(width: u32, height: u32) -> anyhow::Result<()> {
    on_stage(async move |stage| {
        start(stage).await?;
        let calls = play(stage).await?;
        let given = json!({
            "url": address(stage).await?,
            "workload": "exe:curl",
            "call": calls[1]["call_id"],
            "width": width,
            "height": height,
            "pictures": artefacts::pictures()?,
        });
        stage.browse("looks.mjs", &given).await?;
        Ok(())
    })
}

#[test]
fn pages_are_fit_to_be_read_on_a_desk() -> anyhow::Result<()> {
    pages_are_fit_to_be_read(1280, 900)
}

#[test]
fn pages_are_fit_to_be_read_on_a_phone() -> anyhow::Result<()> {
    pages_are_fit_to_be_read(390, 844)
}
