//! Which real clients accept the CA, and what rejecting it costs them.
//!
//! `cargo xtask matrix [CLIENT…]` asks each client on a stage of its own, where nothing of the host
//! changes: with the CA in the system's stores, under `weir run` too and alone, and with the CA nowhere, where it counts how many connections fail before the agent lets the client alone. It
//! prints the rows of the table in `agent/docs/compatibility.md`.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod clients;
mod stores;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use harness::{Route, Stage, on_stage, until};
use serde_json::{Value, json};

use crate::clients::{ALL, Client, ROUNDS, Roots};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask matrix")]
struct Arguments {
    /// Clients to ask: all of them otherwise
    clients: Vec<String>,
}

/// What became of a client's questions.
#[derive(Debug)]
struct Seen {
    answered: Vec<bool>,
    metered: u64,
    relayed: u64,
    /// The agent's word, cause and fix.
    told: [String; 3],
}

/// Where the CA is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ca {
    /// In the system's store, and in those that follow it.
    System,
    /// In the store that the client has for itself.
    Own,
    /// In the system's store and in the variables of `weir run`.
    Run,
    /// In those variables alone: then nothing is redirected, and they lead to the explicit proxy.
    RunAlone,
    /// Nowhere; the provider's is in the client's own store.
    Nowhere,
}

fn main() -> ExitCode {
    let wanted = Arguments::parse().clients;
    let is_known = |name: &String| ALL.iter().any(|client| client.name == name);
    if let Some(unknown) = wanted.iter().find(|name| !is_known(name)) {
        let names: Vec<&str> = ALL.iter().map(|client| client.name).collect();
        eprintln!("{unknown} is no client of the matrix; there are {}", names.join(", "));
        return ExitCode::from(2);
    }
    println!(
        "| client | system store | its own store | `weir run` | `weir run` alone | lost | sign | cause and fix shown |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let chosen = ALL
        .iter()
        .filter(|client| wanted.is_empty() || wanted.iter().any(|name| name == client.name));
    let mut code = ExitCode::SUCCESS;
    for client in chosen {
        match row(*client) {
            Ok(row) => println!("{row}"),
            Err(error) => {
                eprintln!("{}: {error:#}", client.name);
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

fn row(client: Client) -> anyhow::Result<String> {
    let told = version(client)?;
    let yes = |seen: &Seen| if seen.metered > 0 { "yes" } else { "no" };
    let (system, _) = ask(client, Ca::System)?;
    let own = match client.roots {
        Roots::Nss => yes(&ask(client, Ca::Own)?.0),
        _ => "–",
    };
    let (run, _) = ask(client, Ca::Run)?;
    let (alone, _) = ask(client, Ca::RunAlone)?;
    let (seen, sign) = ask(client, Ca::Nowhere)?;
    let lost = seen.answered.iter().filter(|answered| !**answered).count();
    let [word, cause, fix] = &seen.told;
    if seen.relayed == 0 || word != "untrusted" {
        bail!("rejected the CA and is not relayed: {seen:?}");
    }
    let (system, run, alone) = (yes(&system), yes(&run), yes(&alone));
    Ok(format!(
        "| {told} | {system} | {own} | {run} | {alone} | {lost} of {} | {sign} | {cause} → `{fix}` |",
        seen.answered.len()
    ))
}

fn version(client: Client) -> anyhow::Result<String> {
    let command = client.version()?;
    let output = std::process::Command::new(&command[0]).args(&command[1..]).output();
    let output = output.with_context(|| format!("{} is not installed", client.name))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number = text.split_whitespace().find_map(|word| {
        let word = word.trim_start_matches("go").trim_start_matches('v');
        word.starts_with(|first: char| first.is_ascii_digit()).then(|| word.to_owned())
    });
    Ok(format!("{} {}", client.name, number.unwrap_or_default()))
}

/// Asks on a stage of its own; also returns the sign of distrust, where there was one.
fn ask(client: Client, ca: Ca) -> anyhow::Result<(Seen, String)> {
    let (send, receive) = std::sync::mpsc::channel();
    on_stage(async move |stage| {
        send.send(play(stage, client, ca).await?)?;
        Ok(())
    })
    .with_context(|| format!("{ca:?}"))?;
    receive.recv().context("stages cannot be set here: root and cgroup2 are needed")
}

async fn play(stage: &mut Stage, client: Client, ca: Ca) -> anyhow::Result<(Seen, String)> {
    let provider = stage.scratch().join("provider-ca.pem");
    let assume = ca != Ca::RunAlone;
    let config = stage.config().with(&["trust", "assume"], json!(assume));
    match ca {
        Ca::System | Ca::Run => stage.start(&config).await?,
        Ca::Own | Ca::RunAlone | Ca::Nowhere => stage.start_untrusted(&config).await?,
    }
    let root = stage.daemon()?.root();
    let mut variables = Vec::new();
    match (client.roots, ca) {
        (Roots::Own(name), Ca::Nowhere) => {
            variables.push(format!("{name}={}", provider.display()));
        }
        (Roots::Java, Ca::System | Ca::Run | Ca::Nowhere) => {
            stores::java(stage, "provider", &provider).await?;
            if ca != Ca::Nowhere {
                stores::java(stage, "weir", &root).await?;
            }
        }
        (Roots::Nss, Ca::Own) => stores::nss(stage, "weir", &root).await?,
        (Roots::Nss, Ca::Nowhere) => stores::nss(stage, "provider", &provider).await?,
        _ => {}
    }
    let (command, starts) = client.command(stage)?;
    // The stage sets these for all its clients; here it is the question what they do without.
    let mut line: Vec<String> =
        ["env", "-u", "SSL_CERT_FILE", "-u", "NODE_EXTRA_CA_CERTS"].map(str::to_owned).to_vec();
    line.extend(variables);
    if matches!(ca, Ca::Run | Ca::RunAlone) {
        line.extend(stage.weir(&["run", "--"])?);
    }
    line.extend(command);
    let line: Vec<&str> = line.iter().map(String::as_str).collect();
    let mut answered = Vec::new();
    for _ in 0..starts {
        let output = stage.run(Route::Redirect, &line).await?;
        // wget tells on the other channel, and what it does is known from the one line.
        let text = if starts == 1 { output.stdout } else { output.stdout + &output.stderr };
        if starts == 1 {
            answered.extend(text.lines().map(|line| client.is_answer(line.trim())));
        } else {
            answered.push(text.lines().any(|line| client.is_answer(line.trim())));
            // The verdict follows the client's leaving; until then it would be asked again.
            settled(stage, answered.len()).await?;
        }
    }
    if answered.len() != ROUNDS {
        bail!("asked {} times instead of {ROUNDS}", answered.len());
    }
    let rows = settled(stage, 1).await?;
    Ok((sum(&rows, answered), sign(stage).await?))
}

/// The processes that the agent knows of, once there are as many connections and no more come.
async fn settled(stage: &Stage, least: usize) -> anyhow::Result<Vec<Value>> {
    let mut before = 0;
    until("connections of the client", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let mut told = stage.daemon()?.read(&["ps"]).await?;
        let Value::Array(rows) = told["rows"].take() else { bail!("no rows in {told}") };
        let count = rows.iter().flat_map(connections).map(|(_, count)| count).sum::<u64>();
        let is_whole = count == before && count >= least as u64;
        before = count;
        Ok(is_whole.then_some(rows))
    })
    .await
}

/// How a process's connections were treated, and how many.
fn connections(row: &Value) -> impl Iterator<Item = (&str, u64)> {
    let all = row["connections"].as_array().into_iter().flatten();
    all.map(|same| {
        let treatment = match same["reason"].as_str() {
            Some("rejected") => "rejected",
            _ => same["treatment"].as_str().unwrap_or_default(),
        };
        (treatment, same["count"].as_u64().unwrap_or(0))
    })
}

fn sum(rows: &[Value], answered: Vec<bool>) -> Seen {
    let of = |wanted: &str| {
        let all = rows.iter().flat_map(connections);
        all.filter(|(treatment, _)| *treatment == wanted).map(|(_, count)| count).sum()
    };
    let telling = rows.iter().find(|row| !row["cause"].is_null()).or_else(|| rows.first());
    let word = |key: &str| telling.and_then(|row| row[key].as_str()).unwrap_or("–").to_owned();
    let told = ["coverage", "cause", "fix"].map(word);
    Seen { answered, metered: of("metered"), relayed: of("opaque"), told }
}

/// By which signs the agent knew it: the labels of its counter.
async fn sign(stage: &Stage) -> anyhow::Result<String> {
    let text = stage.metrics().await?;
    let samples = text.lines().filter_map(|line| {
        let labels = line.strip_prefix("weir_tls_trust_failures_total{signal=\"")?;
        let (sign, count) = labels.split_once("\"} ")?;
        (count != "0").then(|| format!("{sign} ×{count}"))
    });
    let found: Vec<String> = samples.collect();
    Ok(if found.is_empty() { "–".to_owned() } else { found.join(", ") })
}
