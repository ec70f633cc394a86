//! Prometheus itself, on the stage: started with a configuration, asked by its HTTP API.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use harness::{Route, Stage, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Child;

/// The namespace is the stage's alone: the port is free.
const ADDRESS: &str = "127.0.0.1:9090";
/// Even on a loaded machine: it opens its storage first.
const START: Duration = Duration::from_mins(1);

/// A running Prometheus; dropped, it is killed.
pub(super) struct Prometheus {
    _child: Child,
}

impl Prometheus {
    /// Starts one that scrapes the daemon and evaluates these rules, both every second.
    pub(super) async fn start(stage: &Stage, rules: &Path) -> anyhow::Result<Self> {
        let home = stage.scratch().join("prometheus");
        std::fs::create_dir_all(&home)?;
        let job = json!({
            "job_name": "weir",
            "static_configs": [{"targets": ["127.0.0.1:4181"], "labels": {"instance": "stage"}}],
        });
        // YAML is a superset of JSON.
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [rules],
            "scrape_configs": [job],
        });
        let file = home.join("prometheus.yml");
        std::fs::write(&file, config.to_string())?;
        let command = [
            "prometheus".to_owned(),
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", home.join("data").display()),
            format!("--web.listen-address={ADDRESS}"),
            "--log.level=warn".to_owned(),
        ];
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let log = home.join("log");
        let said = std::fs::File::create(&log)?;
        let mut command = stage.command(Route::Direct, &words)?;
        let child = command.stdout(said.try_clone()?).stderr(said).spawn();
        let mut child = child.context("start prometheus (Debian package prometheus)")?;
        within(START, "a Prometheus that is ready", async || {
            if let Some(code) = child.try_wait()? {
                bail!("it ended with {code}:\n{}", std::fs::read_to_string(&log)?);
            }
            Ok(matches!(get("/-/ready").await, Ok((200, _))).then_some(()))
        })
        .await?;
        Ok(Self { _child: child })
    }

    /// The samples that an expression comes to now.
    pub(super) async fn query(&self, expression: &str) -> anyhow::Result<Vec<Value>> {
        let path = format!("/api/v1/query?query={}", escaped(expression));
        let mut answer = ask(&path).await.with_context(|| expression.to_owned())?;
        match answer["data"]["result"].take() {
            Value::Array(samples) => Ok(samples),
            other => bail!("{expression}: no samples but {other}"),
        }
    }

    /// The alerts that are pending or firing.
    pub(super) async fn alerts(&self) -> anyhow::Result<Vec<Value>> {
        match ask("/api/v1/alerts").await?["data"]["alerts"].take() {
            Value::Array(alerts) => Ok(alerts),
            other => bail!("no alerts but {other}"),
        }
    }

    /// Rules that could not be evaluated when they were last.
    pub(super) async fn broken_rules(&self) -> anyhow::Result<Vec<Value>> {
        let answer = ask("/api/v1/rules").await?;
        let groups = answer["data"]["groups"].as_array().context("groups of rules")?;
        let rules = groups.iter().filter_map(|group| group["rules"].as_array()).flatten();
        Ok(rules.filter(|rule| rule["health"] == "err").cloned().collect())
    }
}

async fn ask(path: &str) -> anyhow::Result<Value> {
    let (status, body) = get(path).await?;
    ensure!(status == 200, "{status}: {body}");
    Ok(serde_json::from_str(&body)?)
}

/// HTTP/1.0: the answer ends with the connection.
async fn get(path: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect(ADDRESS).await?;
    let request = format!("GET {path} HTTP/1.0\r\nhost: {ADDRESS}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok((status, body.to_owned()))
}

/// As a value in a query string (RFC 3986, unreserved characters left as they are).
fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}
