//! A client that opens connections at an even rate, whatever becomes of the earlier ones, and takes
//! down what happens to each: one call a connection, and one more try where that fails.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent::clock::since_boot;
use anyhow::{Context, ensure};
use memchr::memmem;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsConnector;

use crate::load::trusting;
use crate::pki::NAME;
use crate::wire::{Buffer, field, length};

/// Longer than anybody is stopped for: who gives up earlier finds more wrong than there is.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most connections open at once.
const MOST: usize = 3_000;
/// Most failures kept; they are all counted.
const KEPT: usize = 10_000;
const BODY: &str = "{\"model\":\"gpt-4o-mini\",\"messages\":[]}";

/// Whom, how often, how long.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    to: SocketAddr,
    /// Roots it trusts
    #[arg(long)]
    ca: Vec<PathBuf>,
    /// Connections a second
    #[arg(long)]
    rate: u32,
    #[arg(long)]
    seconds: u64,
}

/// What became of the connections.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Dialled {
    /// Opened, second tries included.
    pub(crate) connections: u64,
    /// Calls answered in full, by the agent or past it.
    pub(crate) metered: u64,
    pub(crate) direct: u64,
    /// Calls whose second try was answered, and those whose second try failed too.
    pub(crate) retried: u64,
    pub(crate) lost: u64,
    /// Not opened, because too many were open.
    pub(crate) held_back: u64,
    /// How late the client itself was at most, milliseconds.
    pub(crate) late_ms: u64,
    pub(crate) failed: u64,
    pub(crate) failures: Vec<Failure>,
    /// The ids of the calls that the agent answered.
    pub(crate) calls: Vec<String>,
    /// Milliseconds to the end of an answer.
    pub(crate) p50_ms: u64,
    pub(crate) p99_ms: u64,
    pub(crate) longest_ms: u64,
}

/// A connection that failed: from when to when, in milliseconds since boot, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) what: String,
}

/// Milliseconds since boot, the same in every process.
pub(crate) fn now() -> u64 {
    u64::try_from(since_boot().as_millis()).unwrap_or(u64::MAX)
}

/// Runs and prints what happened as one line of JSON.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let dialled = runtime.block_on(drive(options))?;
    println!("{}", serde_json::to_string(&dialled)?);
    Ok(())
}

struct Shared {
    to: SocketAddr,
    tls: TlsConnector,
    told: Mutex<(Dialled, Vec<u64>)>,
}

async fn drive(options: &Options) -> anyhow::Result<Dialled> {
    let shared = Arc::new(Shared {
        to: options.to,
        tls: TlsConnector::from(Arc::new(trusting(&options.ca)?)),
        told: Mutex::default(),
    });
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let mut ticks = interval(Duration::from_secs(1) / options.rate.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let permits = Arc::new(Semaphore::new(MOST));
    let mut calls = JoinSet::new();
    while Instant::now() < until {
        tokio::select! {
            due = ticks.tick() => {
                let late = u64::try_from(due.elapsed().as_millis()).unwrap_or(u64::MAX);
                let most = &mut shared.told.lock().0.late_ms;
                *most = late.max(*most);
                let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                    shared.told.lock().0.held_back += 1;
                    continue;
                };
                let shared = Arc::clone(&shared);
                calls.spawn(async move {
                    call(&shared).await;
                    drop(permit);
                });
            }
            Some(_ended) = calls.join_next() => {}
        }
    }
    while calls.join_next().await.is_some() {}
    let (mut dialled, mut took) = std::mem::take(&mut *shared.told.lock());
    took.sort_unstable();
    let at = |percent: usize| took.get(took.len() * percent / 100).or_else(|| took.last());
    dialled.p50_ms = at(50).copied().unwrap_or_default();
    dialled.p99_ms = at(99).copied().unwrap_or_default();
    dialled.longest_ms = at(100).copied().unwrap_or_default();
    Ok(dialled)
}

/// One call, tried again once.
async fn call(shared: &Shared) {
    for again in [false, true] {
        let from = now();
        let asked = timeout(PATIENCE, ask(shared)).await;
        let to = now();
        let mut told = shared.told.lock();
        let (dialled, took) = &mut *told;
        dialled.connections += 1;
        let failure = match asked {
            Ok(Ok(id)) => {
                match id {
                    Some(id) => {
                        dialled.metered += 1;
                        dialled.calls.push(id);
                    }
                    None => dialled.direct += 1,
                }
                dialled.retried += u64::from(again);
                took.push(to - from);
                return;
            }
            Ok(Err(error)) => format!("{error:#}"),
            Err(_elapsed) => "no answer".to_owned(),
        };
        dialled.failed += 1;
        dialled.lost += u64::from(again);
        if dialled.failures.len() < KEPT {
            dialled.failures.push(Failure { from, to, what: failure });
        }
    }
}

/// A new connection and one call over it; its id, if the agent gave one.
async fn ask(shared: &Shared) -> anyhow::Result<Option<String>> {
    let stream = TcpStream::connect(shared.to).await.context("connect")?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(NAME)?;
    let mut stream = shared.tls.connect(name, stream).await.context("TLS")?;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {NAME}\r\nauthorization: Bearer sk-bench\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    stream.write_all(request.as_bytes()).await.context("send")?;
    stream.flush().await.context("send")?;
    let mut buffer = Buffer::default();
    let head = buffer.head(&mut stream).await.context("answer")?;
    let head = head.context("closed instead of answering")?;
    ensure!(head.get(9..12) == Some(b"200"), "status {:?}", String::from_utf8_lossy(&head));
    let mut body = Vec::new();
    let reading = buffer.body(&mut stream, length(&head)?, |piece| body.extend_from_slice(piece));
    reading.await.context("body")?;
    ensure!(memmem::find(&body, b"\"prompt_tokens\"").is_some(), "no usage in the answer");
    Ok(field(&head, "x-weir-call-id").map(str::to_owned))
}
