//! Programs that know nothing of the agent, and what it says about their calls.

use anyhow::{Context, ensure};

use crate::{host, weir};

/// A thousand tokens and two hundred, as the provider bills every call, at the model's price.
const COST: &str = "0.00027";
const BODY: &str = "{\"model\":\"gpt-4o-mini\",\"messages\":[]}";
const URL: &str = "https://api.openai.com/v1/chat/completions";
/// Tells whether the agent answered.
const PYTHON: &str = "
import sys, urllib.request
fields = {'authorization': 'Bearer sk-python', 'content-type': 'application/json'}
request = urllib.request.Request(sys.argv[1], sys.argv[2].encode(), fields)
answer = urllib.request.urlopen(request, timeout=60)
answer.read()
print(answer.status, 'metered' if answer.headers['x-weir-call-id'] else 'direct')
";
const USER: &str = "ada";

/// What curl prints of a call: head and body.
pub(crate) fn curl() -> [&'static str; 11] {
    [
        "curl",
        "-sSi",
        "--fail-with-body",
        "--max-time",
        "60",
        "-H",
        "authorization: Bearer sk-curl",
        "-H",
        "content-type: application/json",
        "-d",
        BODY,
    ]
}

/// A call of a unit; whether the agent answered it.
pub(crate) async fn call(unit: &str) -> anyhow::Result<bool> {
    let answer = host::in_unit(unit, &[&curl()[..], &[URL]].concat()).await?;
    ensure!(answer.contains("prompt_tokens"), "no answer but {answer}");
    Ok(answer.to_ascii_lowercase().contains("x-weir-call-id"))
}

/// While observing nobody steps between.
pub(crate) async fn observed() -> anyhow::Result<String> {
    ensure!(!call("early").await?, "the agent answered, though it only observes");
    Ok(String::new())
}

pub(crate) async fn unit() -> anyhow::Result<String> {
    ensure!(call("batch").await?, "the call went past the agent");
    booked("unit:batch.service").await
}

pub(crate) async fn python() -> anyhow::Result<String> {
    let said = host::in_unit("report", &["python3", "-c", PYTHON, URL, BODY]).await?;
    ensure!(said.trim() == "200 metered", "{said}");
    booked("unit:report.service").await
}

pub(crate) async fn session() -> anyhow::Result<String> {
    host::succeed(&["useradd", "--create-home", USER]).await?;
    host::succeed(&["loginctl", "enable-linger", USER]).await?;
    let uid = host::succeed(&["id", "--user", USER]).await?;
    let uid: u32 = uid.trim().parse().context("a user's number")?;
    let bus = format!("/run/user/{uid}/bus");
    host::until("the user's own manager", async || Ok(std::fs::exists(&bus)?.then_some(())))
        .await?;
    let command = [&curl()[..], &[URL]].concat();
    let answer = host::in_session((USER, uid), "notes", &command).await?;
    ensure!(answer.to_ascii_lowercase().contains("x-weir-call-id"), "{answer}");
    booked(&format!("user-unit:{uid}/notes")).await
}

/// Exactly one call of this workload, at exactly its price.
async fn booked(workload: &str) -> anyhow::Result<String> {
    let (calls, _) = host::until(&format!("a call of {workload}"), async || {
        let calls = weir::calls(workload).await?;
        let ended = calls.iter().any(|call| !call["outcome"].is_null());
        Ok(ended.then_some(calls))
    })
    .await?;
    ensure!(calls.len() == 1, "{} calls of {workload}", calls.len());
    let (cost, status) = (&calls[0]["cost_usd"], &calls[0]["status"]);
    ensure!(cost == COST && status == 200, "{}", calls[0]);
    Ok(format!("{workload} ${COST}"))
}
