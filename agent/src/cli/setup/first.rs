//! The first call: made by a process that is younger than the CA, as any program is from then on.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Args;
use crate::cli::variables::Environment;
use crate::cli::{Ctx, Exit};
use crate::drain::Drain;
use crate::upstream::tls::system_roots;
use crate::upstream::{Io, Offer, Tls};

/// For the whole call.
const PATIENCE: Duration = Duration::from_secs(30);
/// A head of an answer to `CONNECT` is a few lines.
const HEAD: usize = 4096;

/// A provider, the variable its key is in, and the cheapest request that has an answer with usage.
struct Known {
    name: &'static str,
    variable: &'static str,
    host: &'static str,
    path: &'static str,
    model: &'static str,
    key: Key,
    body: &'static str,
}

/// How a key is sent.
#[derive(Clone, Copy)]
enum Key {
    Bearer,
    Header(&'static str),
}

const KNOWN: [Known; 3] = [
    Known {
        name: "openai",
        variable: "OPENAI_API_KEY",
        host: "api.openai.com",
        path: "/v1/chat/completions",
        model: "gpt-4o-mini",
        key: Key::Bearer,
        body: r#"{"model":"gpt-4o-mini","max_completion_tokens":16,"messages":[{"role":"user","content":"Say ok."}]}"#,
    },
    Known {
        name: "anthropic",
        variable: "ANTHROPIC_API_KEY",
        host: "api.anthropic.com",
        path: "/v1/messages",
        model: "claude-haiku-4-5",
        key: Key::Header("x-api-key"),
        body: r#"{"model":"claude-haiku-4-5","max_tokens":16,"messages":[{"role":"user","content":"Say ok."}]}"#,
    },
    Known {
        name: "gemini",
        variable: "GEMINI_API_KEY",
        host: "generativelanguage.googleapis.com",
        path: "/v1beta/models/gemini-2.5-flash-lite:generateContent",
        model: "gemini-2.5-flash-lite",
        key: Key::Header("x-goog-api-key"),
        body: r#"{"contents":[{"parts":[{"text":"Say ok."}]}],"generationConfig":{"maxOutputTokens":16}}"#,
    },
];

/// The call that will be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    /// To one of the known providers.
    Known {
        provider: &'static str,
        /// Whether its key is in the environment.
        paid: bool,
        /// Through the agent's proxy, where nothing is captured.
        proxy: Option<SocketAddr>,
    },
    /// The user's own program.
    Own(String),
}

impl Call {
    /// The user's own, or one for the first key there is, or one without.
    pub(super) fn choose(
        args: &Args,
        env: &Environment,
        proxy: Option<SocketAddr>,
    ) -> Option<Self> {
        if args.no_call {
            return None;
        }
        if let Some(command) = &args.call {
            return Some(Self::Own(command.clone()));
        }
        let has_key = |known: &&Known| env.get(known.variable).is_some_and(|key| !key.is_empty());
        let paid = KNOWN.iter().find(has_key);
        let provider = paid.unwrap_or(&KNOWN[0]).name;
        Some(Self::Known { provider, paid: paid.is_some(), proxy })
    }

    /// For the plan.
    pub(super) fn line(&self) -> String {
        match self {
            Self::Own(command) => format!("run once, as you: {command}"),
            Self::Known { provider, paid, .. } => {
                let known = known(provider);
                let (host, model) = (known.host, known.model);
                if *paid {
                    let variable = known.variable;
                    format!(
                        "ask {model} at {host} once, with your {variable}: 16 tokens at most, \
                         less than $0.001"
                    )
                } else {
                    format!(
                        "ask {host} once without a key: it refuses (401), costs nothing, and shows \
                         that calls are read"
                    )
                }
            }
        }
    }

    /// For programs.
    pub(super) fn told(&self) -> Value {
        match self {
            Self::Own(command) => json!({"command": command}),
            Self::Known { provider, paid, proxy } => json!({
                "provider": provider, "host": known(provider).host, "paid": paid, "proxy": proxy,
            }),
        }
    }

    /// Makes it, and returns the process that did, and how that ended.
    pub(super) fn make(&self) -> anyhow::Result<(u32, ExitStatus)> {
        let mut command = match self {
            Self::Known { provider, proxy, .. } => {
                // The very program that runs; this process is older than the CA.
                let mut command = Command::new("/proc/self/exe");
                command.args(["first-call", provider]);
                if let Some(proxy) = proxy {
                    command.args(["--proxy", &proxy.to_string()]);
                }
                command
            }
            Self::Own(words) => {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", words]);
                as_caller(&mut command);
                command
            }
        };
        let mut child = command.stdin(Stdio::null()).spawn().context("starting the call")?;
        let pid = child.id();
        Ok((pid, child.wait()?))
    }
}

fn known(provider: &str) -> &'static Known {
    KNOWN.iter().find(|known| known.name == provider).unwrap_or(&KNOWN[0])
}

/// Makes a command run as the user who called sudo: root need not run what is theirs.
fn as_caller(command: &mut Command) {
    let env = crate::cli::variables::environment();
    let id = |name: &str| env.get(name).and_then(|id| id.parse::<u32>().ok());
    let (Some(uid), Some(gid)) = (id("SUDO_UID"), id("SUDO_GID")) else { return };
    if uid == 0 || !rustix::process::geteuid().is_root() {
        return;
    }
    command.uid(uid).gid(gid);
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    for line in users.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [name, _, id, _, _, home, ..] = fields[..]
            && id.parse() == Ok(uid)
        {
            command.env("HOME", home).env("USER", name).env("LOGNAME", name);
        }
    }
}

/// Make one call to a provider (setup starts this itself).
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct FirstCall {
    /// The provider
    #[arg(value_parser = ["openai", "anthropic", "gemini"])]
    provider: String,
    /// Through this proxy
    #[arg(long)]
    proxy: Option<SocketAddr>,
}

/// Makes it as any program would: by the system's resolver and roots.
pub(in crate::cli) fn first_call(args: &FirstCall, ctx: &Ctx) -> anyhow::Result<Exit> {
    let env = crate::cli::variables::environment();
    let known = known(&args.provider);
    let key = env.get(known.variable).map(String::as_str).filter(|key| !key.is_empty());
    let asked = ctx.block_on(async {
        let asking = ask(known, key, args.proxy);
        tokio::time::timeout(PATIENCE, asking).await.context("no answer in time")?
    });
    let status = asked.with_context(|| format!("asking {}", known.host))?;
    // Who has no key is refused, as was said.
    let as_meant = (200..300).contains(&status) || (key.is_none() && status == 401);
    Ok(if as_meant { Exit::Ok } else { Exit::Failure })
}

async fn ask(known: &Known, key: Option<&str>, proxy: Option<SocketAddr>) -> anyhow::Result<u16> {
    let stream = match proxy {
        Some(proxy) => through(proxy, known.host).await?,
        None => TcpStream::connect((known.host, 443)).await.context("connecting")?,
    };
    stream.set_nodelay(true)?;
    let tls = Tls::new(system_roots(&[]), [])?;
    let io: Io = Box::new(stream);
    let (stream, _) = tls.handshake(&known.host.into(), Offer::Http1, io).await.context("TLS")?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the sender.
    drop(Drain::new().spawn(connection));
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(known.path)
        .header("host", known.host)
        .header("content-type", "application/json")
        .header("user-agent", concat!("weir-setup/", env!("CARGO_PKG_VERSION")));
    if known.name == "anthropic" {
        request = request.header("anthropic-version", "2023-06-01");
    }
    request = match (key, known.key) {
        (None, _) => request,
        (Some(key), Key::Bearer) => request.header("authorization", format!("Bearer {key}")),
        (Some(key), Key::Header(name)) => request.header(name, key),
    };
    // Nothing of the key may reach a terminal: what is wrong with it is not told either.
    let request = request
        .body(Full::new(Bytes::from_static(known.body.as_bytes())))
        .map_err(|_| anyhow::anyhow!("{} is no key that could be sent", known.variable))?;
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    answer.into_body().collect().await?;
    Ok(status)
}

/// A way to a host through the agent's proxy.
async fn through(proxy: SocketAddr, host: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(proxy).await.context("connecting to the proxy")?;
    let request = format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        ensure!(head.len() < HEAD, "the proxy's answer has no end");
        head.push(stream.read_u8().await.context("the proxy closed the connection")?);
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    ensure!(line.split(' ').nth(1) == Some("200"), "the proxy refuses: {line}");
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn choose(words: &[&str], env: &[(&str, &str)]) -> Option<Call> {
        let args = Line::parse_from(["setup"].iter().chain(words)).args;
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Call::choose(&args, &env.iter().map(pair).collect(), None)
    }

    #[test]
    fn the_first_key_pays_and_without_one_nothing_is_paid() {
        let call = |provider, paid| Some(Call::Known { provider, paid, proxy: None });
        assert_eq!(choose(&[], &[]), call("openai", false));
        assert_eq!(choose(&[], &[("OPENAI_API_KEY", "")]), call("openai", false));
        assert_eq!(choose(&[], &[("ANTHROPIC_API_KEY", "k")]), call("anthropic", true));
        assert_eq!(choose(&["--no-call"], &[("OPENAI_API_KEY", "k")]), None);
        let own = choose(&["--call", "python3 a.py"], &[("OPENAI_API_KEY", "k")]);
        assert_eq!(own, Some(Call::Own("python3 a.py".to_owned())));
    }

    #[test]
    fn the_plan_says_what_it_costs() {
        for known in &KNOWN {
            let paid = Call::Known { provider: known.name, paid: true, proxy: None }.line();
            assert!(paid.contains(known.variable) && paid.contains("less than $"), "{paid}");
            let body: Value = serde_json::from_str(known.body).unwrap();
            let said = body["model"].as_str().map_or(known.path, |model| model);
            assert!(said.contains(known.model), "{said}");
        }
        let free = Call::Known { provider: "openai", paid: false, proxy: None }.line();
        assert!(free.contains("costs nothing"), "{free}");
    }
}
