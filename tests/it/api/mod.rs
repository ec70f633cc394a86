//! The HTTP API of a running agent: who may ask, what is answered, and that it is what happened.

mod access;
mod described;
mod export;
mod figures;
mod stream;

use std::net::SocketAddr;

use agent::demo::mock::{Script, Tokens};
use agent::drain::Drain;
use anyhow::{Context, ensure};
use bytes::Bytes;
use harness::{Route, Stage, curl};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

const ADMIN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4181);
/// Runs what follows as somebody who administers nothing.
const AS_NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
const NOBODY: u32 = 65534;
/// Of gpt-4o-mini they cost $0.0003: see `reading.rs`.
const TOKENS: Tokens =
    Tokens { input: 1_200, cached: 800, cache_write: 0, output: 300, reasoning: 100 };

/// An answer that has been read.
#[derive(Debug)]
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Reply {
    /// The JSON of an answer that has to be one.
    fn json(&self) -> anyhow::Result<Value> {
        ensure!(self.status.is_success(), "{}: {}", self.status, self.body);
        Ok(serde_json::from_str(&self.body)?)
    }

    /// The error that an answer has to be.
    fn problem(&self, status: u16) -> anyhow::Result<Value> {
        ensure!(self.status == status, "{}: {}", self.status, self.body);
        let kind = self.headers.get("content-type").context("a content type")?;
        ensure!(kind == "application/problem+json", "{kind:?}");
        let problem: Value = serde_json::from_str(&self.body)?;
        ensure!(problem["status"] == status && problem["type"] == "about:blank", "{problem}");
        ensure!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
        Ok(problem)
    }
}

/// Asks, and leaves the answer's body to be read.
async fn open<S>(stream: S, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer.
    drop(Drain::new().spawn(connection));
    Ok(sender.send_request(request).await?)
}

async fn whole(response: Response<Incoming>) -> anyhow::Result<Reply> {
    let (head, body) = response.into_parts();
    let body = String::from_utf8(body.collect().await?.to_bytes().into())?;
    Ok(Reply { status: head.status, headers: head.headers, body })
}

/// A request with these headers; to `localhost:4181` where they name no host.
fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> anyhow::Result<Request<Full<Bytes>>> {
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost:4181");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    Ok(request.body(Full::new(Bytes::from(body.to_owned())))?)
}

/// Asks over TCP.
async fn over_http(method: &str, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Reply> {
    let stream = TcpStream::connect(ADMIN).await?;
    whole(open(stream, request(method, path, headers, "")?).await?).await
}

/// Asks over the unix socket, as root.
async fn over_socket(stage: &Stage, method: &str, path: &str, body: &str) -> anyhow::Result<Reply> {
    let stream = UnixStream::connect(stage.daemon()?.home().join("run/weir.sock")).await?;
    whole(open(stream, request(method, path, &[], body)?).await?).await
}

/// Somebody with a session.
#[derive(Debug, Clone)]
struct Session(String);

impl Session {
    /// An administrator's, by the command.
    async fn begin(stage: &Stage) -> anyhow::Result<Self> {
        let made = stage.daemon()?.read(&["dashboard"]).await?;
        let token = made["token"].as_str().context("a token")?;
        let url = format!("http://127.0.0.1:4181/#session={token}");
        ensure!(made["url"] == url, "{made}");
        Ok(Self(format!("Bearer {token}")))
    }

    /// That of a user who administers nothing.
    async fn of_nobody(stage: &Stage) -> anyhow::Result<Self> {
        let socket = stage.daemon()?.home().join("run/weir.sock").display().to_string();
        let made = [
            "curl",
            "-sS",
            "--fail-with-body",
            "--unix-socket",
            &socket,
            "-X",
            "POST",
            "http://localhost/api/sessions",
        ];
        let made = stage.succeed(Route::Direct, &[&AS_NOBODY[..], &made].concat()).await?;
        let made: Value = serde_json::from_str(&made.stdout)?;
        Ok(Self(format!("Bearer {}", made["token"].as_str().context("a token")?)))
    }

    fn header(&self) -> (&str, &str) {
        ("authorization", &self.0)
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        over_http("GET", path, &[self.header()]).await?.json().with_context(|| path.to_owned())
    }

    /// Changes something.
    async fn put(&self, path: &str, body: &str) -> anyhow::Result<Reply> {
        let stream = TcpStream::connect(ADMIN).await?;
        whole(open(stream, request("PUT", path, &[self.header()], body)?).await?).await
    }
}

/// One call of root's, and one of nobody's; nobody's process id.
async fn one_each(stage: &mut Stage) -> anyhow::Result<u32> {
    stage.provider().standing(Script { tokens: TOKENS, ..Script::default() });
    let config = stage.config();
    stage.start(&config).await?;
    stage.succeed(Route::Redirect, &curl(&[])).await?;
    let words = curl(&[]);
    let theirs = stage.succeed(Route::Redirect, &[&AS_NOBODY[..], &words].concat()).await?;
    stage.settled(2).await?;
    Ok(theirs.pid)
}

fn rows(answer: &Value) -> anyhow::Result<&Vec<Value>> {
    answer["rows"].as_array().with_context(|| format!("no rows in {answer}"))
}
