//! Who callbacks are posted to.

use std::net::SocketAddr;
use std::sync::Arc;

use agent::drain::Drain;
use anyhow::Context;
use harness::{Route, Stage, until};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::page;

/// Tells by its exit code what the page's `genuine` says of SECRET TIMESTAMP SIGNATURE BODY.
const VERDICT: &str = "
import sys
secret, stamp, signature, body = sys.argv[1:]
headers = {'X-Webhook-Timestamp': stamp, 'X-Webhook-Signature': signature}
sys.exit(0 if genuine(secret, headers, body.encode()) else 1)
";

/// A callback as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    head: String,
    pub(crate) body: String,
}

impl Told {
    pub(crate) fn header(&self, name: &str) -> anyhow::Result<&str> {
        let found = self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        found.with_context(|| format!("no {name} in {}", self.head))
    }

    pub(crate) fn json(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.body)?)
    }

    /// Whether it is signed, as a receiver finds out who has read the page on webhooks.
    pub(crate) async fn is_genuine(&self, stage: &Stage, secret: &str) -> anyhow::Result<bool> {
        let program = page("python").pop().context("an example")? + VERDICT;
        let (stamp, signature) =
            (self.header("x-webhook-timestamp")?, self.header("x-webhook-signature")?);
        let words = ["python3", "-c", &program, secret, stamp, signature, &self.body];
        let output = stage.run(Route::Direct, &words).await?;
        anyhow::ensure!(output.stderr.is_empty(), "{}", output.stderr);
        Ok(output.code == Some(0))
    }
}

/// One that takes down what it is told, and answers 200.
#[derive(Debug)]
pub(crate) struct Receiver {
    address: SocketAddr,
    told: Arc<Mutex<Vec<Told>>>,
    drain: Drain,
}

impl Receiver {
    /// On a port that is free.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub(crate) async fn at(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (told, drain): (Arc<Mutex<Vec<Told>>>, _) = (Arc::default(), Drain::new());
        let (tell, stop) = (Arc::clone(&told), drain.clone());
        drain.spawn(async move {
            loop {
                let stream = tokio::select! {
                    () = stop.signalled() => return,
                    accepted = listener.accept() => accepted.map(|(stream, _)| stream),
                };
                let Ok(stream) = stream else { return };
                if let Ok(one) = read(stream).await {
                    tell.lock().push(one);
                }
            }
        });
        Ok(Self { address, told, drain })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/done", self.address)
    }

    /// What it was told, once it was told so much.
    pub(crate) async fn told(&self, count: usize) -> anyhow::Result<Vec<Told>> {
        until("callbacks", async || {
            let told = self.told.lock();
            Ok((told.len() >= count).then(|| told.clone()))
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.drain.signal();
    }
}

async fn read(mut stream: TcpStream) -> anyhow::Result<Told> {
    let mut bytes = Vec::new();
    let end = loop {
        anyhow::ensure!(stream.read_buf(&mut bytes).await? > 0, "it ended early");
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec())?;
    let mut told = Told { head, body: String::new() };
    let length: usize = told.header("content-length")?.parse()?;
    while bytes.len() < end + 4 + length {
        anyhow::ensure!(stream.read_buf(&mut bytes).await? > 0, "it ended early");
    }
    told.body = String::from_utf8(bytes.split_off(end + 4))?;
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
    Ok(told)
}
