//! `weir trust check`: starts the clients that are on this host and sees whether they accept a leaf
//! of the CA.
//!
//! Every client gets a listener of its own on loopback, as its HTTPS proxy or as its server, and
//! talks to nobody else: what counts is whether a request arrives there under our certificate.

mod clients;
mod listener;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use serde_json::json;

use self::clients::{Client, Roots, Way};
use self::listener::Listener;
use super::change::in_bundle;
use super::store::Scratch;
use crate::cli::site::{Site, code};
use crate::cli::text::clean;
use crate::cli::variables::{Environment, environment};
use crate::clock::{Clock, System};
use crate::downstream::ca::Authority;
use crate::downstream::certs::Leaves;

/// How often a client is looked after while it runs.
const PAUSE: Duration = Duration::from_millis(20);

/// Exit code by which a client's script says that the library is not there.
const ABSENT: i32 = 42;

#[derive(Debug, Args)]
pub(super) struct Check {
    /// Clients to ask: curl, node, python-requests …
    #[arg(value_name = "CLIENT", required_unless_present = "all")]
    clients: Vec<String>,
    /// Ask all that are here
    #[arg(long, conflicts_with = "clients")]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What came of asking one client.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    client: String,
    /// `None` where it could not be asked.
    trusts: Option<bool>,
    detail: String,
    fix: Option<String>,
}

/// Asks, and prints the matrix; 10 where a client does not accept the CA.
pub(super) fn run(args: &Check, site: &Site, out: &mut impl Write) -> anyhow::Result<u8> {
    let now = System.now().wall;
    for name in &args.clients {
        let known: Vec<_> = clients::ALL.iter().map(|client| client.name).collect();
        ensure!(
            known.contains(&name.as_str()),
            "no client `{name}`; there are: {}",
            known.join(", ")
        );
    }
    let authority = Authority::open(&site.state_dir, now)?;
    let installed = in_bundle(Path::new("/"), authority.root())?;
    let host = authority.root().permitted().next().context("a CA permits a host")?.to_owned();
    let leaves = Leaves::new(Arc::new(authority))?;
    let config = leaves.config_for(&host, &[b"http/1.1".to_vec()], now)?;
    let scratch = Scratch::make(&site.state_dir, None)?;
    // What a process of the user's would be started with.
    let env = environment();
    let wanted = clients::ALL
        .iter()
        .filter(|it| args.all || args.clients.iter().any(|name| name == it.name));
    let mut answers = Vec::new();
    for client in wanted {
        let listener = Listener::open(Arc::clone(&config))?;
        let mut answer = ask(client, &host, listener, (scratch.path(), &env))?;
        answer.fix = (answer.trusts == Some(false)).then(|| fix(client, installed));
        // Of all there are, those that are not here are left out.
        if answer.trusts.is_some() || !args.all {
            answers.push(answer);
        }
    }
    print(&answers, args.json, out)?;
    let distrusts = answers.iter().any(|answer| answer.trusts == Some(false));
    Ok(if distrusts { code::DEGRADED } else { code::OK })
}

fn ask(
    client: &Client,
    host: &str,
    listener: Listener,
    (scratch, env): (&Path, &Environment),
) -> anyhow::Result<Answer> {
    let absent = |why: &str| Answer {
        client: client.name.to_owned(),
        trusts: None,
        detail: why.to_owned(),
        fix: None,
    };
    let path = env.get("PATH").map(String::as_str).unwrap_or_default();
    let is_there = |program: &str| {
        std::env::split_paths(path).any(|directory| directory.join(program).is_file())
    };
    if !is_there(client.needs) {
        return Ok(absent("not installed"));
    }
    let port = listener.port();
    let fill = |word: &str| word.replace("HOST", host).replace("PORT", &port.to_string());
    let [program, arguments @ ..] = client.command else { return Ok(absent("not installed")) };
    let mut command = Command::new(program);
    if let Some((name, text)) = client.file {
        fs::write(scratch.join(name), fill(text))?;
    }
    command
        .args(arguments.iter().map(|word| fill(word)))
        .env_clear()
        .envs(env)
        .current_dir(scratch)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"] {
        command.env_remove(name);
    }
    for name in ["HTTPS_PROXY", "https_proxy"] {
        match client.way {
            Way::Proxy => command.env(name, format!("http://127.0.0.1:{port}")),
            Way::Direct => command.env_remove(name),
        };
    }
    // Keys that a client's library insists on; they go nowhere but here.
    command.env("OPENAI_API_KEY", "none").env("ANTHROPIC_API_KEY", "none");
    let heard = listener.listen();
    let (status, said) = wait(command.spawn()?, client.patience);
    let trusts = heard.end();
    if status == Some(ABSENT) {
        return Ok(absent("not installed"));
    }
    let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let detail = match (trusts, status) {
        (true, _) => String::new(),
        (false, None) => format!("no answer within {} s", client.patience.as_secs()),
        (false, Some(_)) => last.trim().chars().take(100).collect(),
    };
    Ok(Answer { client: client.name.to_owned(), trusts: Some(trusts), detail, fix: None })
}

/// The command that makes a client accept the CA.
fn fix(client: &Client, installed: bool) -> String {
    let again = format!("weir run -- {} …", client.needs);
    match client.roots {
        Roots::System if !installed => "weir trust install --yes".to_owned(),
        // Then its own settings or variables keep it from the host's store.
        Roots::System => again,
        Roots::Own => format!("{again}, or weir trust install --stores system,env --yes"),
        Roots::Java => "weir trust install --stores system,java --yes".to_owned(),
    }
}

/// The exit code, and what it complained of; `None` where it had to be ended.
fn wait(mut child: Child, patience: Duration) -> (Option<i32>, String) {
    let pipe = child.stderr.take();
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(pipe) = pipe {
            // A child of the client may hold the pipe: what there is by then has to do.
            let _cut_short =
                std::io::Read::read_to_end(&mut std::io::Read::take(pipe, 64 << 10), &mut said);
        }
        String::from_utf8_lossy(&said).into_owned()
    });
    let mut waited = Duration::ZERO;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status.code().unwrap_or(-1)),
            Ok(None) if waited < patience => {
                std::thread::sleep(PAUSE);
                waited += PAUSE;
            }
            _ => {
                let _gone_already = child.kill();
                let _reaped = child.wait();
                break None;
            }
        }
    };
    let said = if status.is_some() { reader.join().unwrap_or_default() } else { String::new() };
    (status, said)
}

fn print(answers: &[Answer], as_json: bool, out: &mut impl Write) -> anyhow::Result<()> {
    if as_json {
        let rows = answers.iter().map(|answer| {
            json!({
                "client": answer.client,
                "trusts": answer.trusts,
                "detail": answer.detail,
                "fix": answer.fix,
            })
        });
        let report = json!({"schema_version": 1, "rows": rows.collect::<Vec<_>>()});
        writeln!(out, "{report:#}")?;
        return Ok(());
    }
    let width = answers.iter().map(|answer| answer.client.len()).max().unwrap_or(0).max(6);
    writeln!(out, "{:<width$}  TRUSTS  HOW TO FIX", "CLIENT")?;
    for answer in answers {
        let word = match answer.trusts {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        let fix = answer.fix.as_deref().unwrap_or(&answer.detail);
        writeln!(
            out,
            "{}",
            clean(format!("{:<width$}  {word:<6}  {fix}", answer.client).trim_end())
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::downstream::ca::PUBLIC_ROOT;

    #[test]
    fn clients_are_asked_for_real() {
        let dir = tempfile::tempdir().unwrap();
        let now = System.now().wall;
        let authority = Authority::open_or_create(dir.path(), &["api.openai.com"], now).unwrap();
        let root = dir.path().join(PUBLIC_ROOT).display().to_string();
        let leaves = Leaves::new(Arc::new(authority)).unwrap();
        let config = leaves.config_for("api.openai.com", &[b"http/1.1".to_vec()], now).unwrap();
        // Where this host has none of them there is nothing to see; it has been said by `absent`.
        for (name, variable) in [
            ("curl", "CURL_CA_BUNDLE"),
            ("openssl", "SSL_CERT_FILE"),
            ("python-urllib", "SSL_CERT_FILE"),
            ("node", "NODE_EXTRA_CA_CERTS"),
        ] {
            let client = clients::ALL.iter().find(|client| client.name == name).unwrap();
            for (file, expected) in [(root.as_str(), true), ("/dev/null", false)] {
                let listener = Listener::open(Arc::clone(&config)).unwrap();
                let mut env = environment();
                env.insert(variable.to_owned(), file.to_owned());
                env.remove("SSL_CERT_DIR");
                let answer = ask(client, "api.openai.com", listener, (dir.path(), &env)).unwrap();
                assert!(answer.trusts.is_none_or(|trusts| trusts == expected), "{answer:?}");
                assert!(expected || !answer.detail.is_empty(), "{answer:?}");
            }
        }
    }

    #[test]
    fn the_matrix_says_what_helps() {
        let answer = |trusts, fix: Option<&str>| Answer {
            client: "node".to_owned(),
            trusts,
            detail: String::new(),
            fix: fix.map(str::to_owned),
        };
        let mut out = Vec::new();
        let rows = [answer(Some(true), None), answer(Some(false), Some("weir run -- node …"))];
        print(&rows, false, &mut out).unwrap();
        let said = String::from_utf8(out).unwrap();
        assert_eq!(
            said,
            "CLIENT  TRUSTS  HOW TO FIX\nnode    yes\nnode    no      weir run -- node …\n"
        );
    }
}
