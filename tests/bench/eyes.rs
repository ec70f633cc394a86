//! Those who look at the agent: the dashboard in a browser, a client that follows events, and a
//! collector of OpenTelemetry. Each asks as the real one does and throws away what it is told.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use agent::demo::daemon::Daemon;
use anyhow::{Context, ensure};
use memchr::memmem;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::interval;

use crate::wire::{Buffer, field, length};

const ADMIN: &str = "127.0.0.1:4181";
/// Where a collector is looked for by default.
const COLLECTOR: &str = "127.0.0.1:4318";

/// What the overview asks for, and how often at most where calls come all the time
/// (`dashboard/js/pages/overview.js`): figures, the chart, and the rest.
const QUESTIONS: [(&[&str], Duration); 3] = [
    (
        &[
            "/api/analytics/summary?days=30",
            "/api/spend?by=workload",
            "/api/errors",
            "/api/budgets",
        ],
        Duration::from_secs(3),
    ),
    (&["/api/spend?bucket=day&by=workload"], Duration::from_secs(10)),
    (
        &["/api/status", "/api/breakers", "/api/watch", "/api/calls?last=15&kind=call"],
        Duration::from_secs(30),
    ),
];
const EVENTS: &str = "/api/events/stream";

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Eye {
    /// The overview in a browser, with its own stream of events
    Dashboard,
    /// A client that follows every event
    Events,
    /// A collector that gets spans, metrics and log lines
    Telemetry,
}

impl Eye {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Dashboard => "dashboard",
            Self::Events => "events",
            Self::Telemetry => "telemetry",
        }
    }
}

/// What they were told while they looked.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    answers: Cell<u64>,
    events: Cell<u64>,
    exported: Cell<u64>,
}

impl Seen {
    /// Fails where somebody who looked was told nothing: then nothing was measured.
    pub(crate) fn is_enough(&self, eyes: &[Eye]) -> anyhow::Result<()> {
        let has = |eye| eyes.contains(&eye);
        ensure!(!has(Eye::Dashboard) || self.answers.get() > 0, "no question was answered");
        let followed = has(Eye::Dashboard) || has(Eye::Events);
        ensure!(!followed || self.events.get() > 0, "no event was told");
        ensure!(!has(Eye::Telemetry) || self.exported.get() > 0, "nothing was exported");
        Ok(())
    }

    /// In figures.
    pub(crate) fn told(&self) -> String {
        format!(
            "{} answers, {} events, {} messages of telemetry",
            self.answers.get(),
            self.events.get(),
            self.exported.get()
        )
    }
}

/// Eyes that are open. Dropped, they close.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) seen: Rc<Seen>,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Open {
    /// Opens some, and tells the agent to send telemetry where one of them takes it. Must run in a
    /// `LocalSet`.
    pub(crate) async fn eyes(eyes: &[Eye], daemon: &Daemon) -> anyhow::Result<Self> {
        let mut open = Self { seen: Rc::default(), tasks: JoinSet::new() };
        if eyes.contains(&Eye::Telemetry) {
            let listener = TcpListener::bind(COLLECTOR).await?;
            open.tasks.spawn_local(collect(listener, Rc::clone(&open.seen)));
        }
        set_tracing(daemon, eyes.contains(&Eye::Telemetry)).await?;
        let session = daemon.read(&["dashboard"]).await?;
        let token = session["token"].as_str().context("a session has a token")?;
        for eye in eyes {
            let asked: &[(&'static [&'static str], Duration)] = match eye {
                Eye::Dashboard => &QUESTIONS,
                Eye::Events | Eye::Telemetry => &[],
            };
            for &(paths, every) in asked {
                open.tasks.spawn_local(ask(token.to_owned(), paths, every, Rc::clone(&open.seen)));
            }
            if matches!(eye, Eye::Dashboard | Eye::Events) {
                open.tasks.spawn_local(follow(token.to_owned(), Rc::clone(&open.seen)));
            }
        }
        Ok(open)
    }

    /// Closes them; fails where one has failed.
    pub(crate) async fn close(mut self, daemon: &Daemon) -> anyhow::Result<()> {
        if let Some(ended) = self.tasks.try_join_next() {
            ended??;
        }
        self.tasks.shutdown().await;
        set_tracing(daemon, false).await
    }
}

async fn set_tracing(daemon: &Daemon, enabled: bool) -> anyhow::Result<()> {
    let file = daemon.home().join("weir.yaml");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    config["tracing"] = json!({"enabled": enabled});
    std::fs::write(&file, config.to_string())?;
    let output = daemon.weir(&["config", "reload"]).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

async fn connect() -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(ADMIN.parse::<SocketAddr>()?).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks and reads the head of a good answer.
async fn get(
    (stream, buffer): (&mut TcpStream, &mut Buffer),
    token: &str,
    path: &str,
) -> anyhow::Result<Vec<u8>> {
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {ADMIN}\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let head = buffer.head(stream).await?.with_context(|| format!("{path}: closed"))?;
    let status = head.get(9..12);
    ensure!(status == Some(b"200"), "{path}: {}", String::from_utf8_lossy(&head));
    Ok(head)
}

async fn ask(token: String, paths: &[&str], every: Duration, seen: Rc<Seen>) -> anyhow::Result<()> {
    let (mut stream, mut buffer) = (connect().await?, Buffer::default());
    let mut ticks = interval(every);
    loop {
        ticks.tick().await;
        for path in paths {
            let head = get((&mut stream, &mut buffer), &token, path).await?;
            buffer.body(&mut stream, length(&head)?, |_piece| {}).await?;
            seen.answers.set(seen.answers.get() + 1);
        }
    }
}

async fn follow(token: String, seen: Rc<Seen>) -> anyhow::Result<()> {
    let (mut stream, mut buffer) = (connect().await?, Buffer::default());
    let head = get((&mut stream, &mut buffer), &token, EVENTS).await?;
    let count = |piece: &[u8]| {
        let events = memmem::find_iter(piece, b"\nevent: ").count() as u64;
        seen.events.set(seen.events.get() + events);
    };
    buffer.body(&mut stream, length(&head)?, count).await
}

/// Takes whatever is sent, as a collector that has room.
async fn collect(listener: TcpListener, seen: Rc<Seen>) -> anyhow::Result<()> {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _agent) = listener.accept().await?;
        connections.spawn_local(take(stream, Rc::clone(&seen)));
    }
}

async fn take(mut stream: TcpStream, seen: Rc<Seen>) -> anyhow::Result<()> {
    const TAKEN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\n\
        content-length: 0\r\n\r\n";
    let mut buffer = Buffer::default();
    while let Some(head) = buffer.head(&mut stream).await? {
        if field(&head, "expect").is_some() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        buffer.body(&mut stream, length(&head)?, |_piece| {}).await?;
        stream.write_all(TAKEN).await?;
        seen.exported.set(seen.exported.get() + 1);
    }
    Ok(())
}
