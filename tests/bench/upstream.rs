//! The provider of the benchmark: one thread, prepared answers, one send per event.
//!
//! It costs far less per call than any proxy in front of it, so that the proxy is the limit.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use memchr::memmem;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;

use crate::wire::{Buffer, length};

/// Content events of a stream, unless the request names another number.
pub(crate) const EVENTS: usize = 200;

/// Where it listens and what it shows.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    certificate: PathBuf,
    #[arg(long)]
    key: PathBuf,
}

/// Serves until it is killed.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let tls = TlsAcceptor::from(Arc::new(tls(options)?));
        let listener = socket(options.listen)?;
        let answers = Arc::new(Answers::new());
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted?;
                    connections.spawn(connection(stream, tls.clone(), Arc::clone(&answers)));
                }
                // Ended connections: reaped so that the set does not grow. How they end is the
                // generator's to judge.
                Some(_ended) = connections.join_next() => {}
            }
        }
    })
}

/// Thousands of connections arrive at once: the standard backlog would make some wait a second.
fn socket(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket.listen(8192)?)
}

fn tls(options: &Options) -> anyhow::Result<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(&options.certificate)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(&options.key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Bytes ready to be sent.
struct Answers {
    json: Vec<u8>,
    stream_head: Vec<u8>,
    first: Vec<u8>,
    content: Vec<u8>,
    last: [Vec<u8>; 3],
}

impl Answers {
    fn new() -> Self {
        let json = json_body();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             openai-processing-ms: 412\r\nopenai-version: 2020-10-01\r\n\
             x-request-id: req_0123456789abcdef0123456789abcdef\r\n\
             x-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\n\r\n",
            json.len()
        );
        let chunk = |choices: &str, usage: &str| {
            chunked(&format!(
                "data: {{\"id\":\"chatcmpl-bench0001\",\"object\":\"chat.completion.chunk\",\
                 \"created\":1767225600,\"model\":\"gpt-4o-mini-2024-07-18\",\
                 \"service_tier\":\"default\",\"system_fingerprint\":\"fp_bench\",\
                 \"choices\":{choices},\"usage\":{usage}}}\n\n"
            ))
        };
        let choice = |delta: &str, finish: &str| {
            format!(
                "[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]"
            )
        };
        let usage = "{\"prompt_tokens\":320,\"completion_tokens\":200,\"total_tokens\":520}";
        Self {
            json: [head.as_bytes(), json.as_bytes()].concat(),
            stream_head: b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                transfer-encoding: chunked\r\n\r\n"
                .to_vec(),
            first: chunk(&choice("{\"role\":\"assistant\",\"content\":\"\"}", "null"), "null"),
            content: chunk(&choice("{\"content\":\" weather\"}", "null"), "null"),
            last: [
                chunk(&choice("{}", "\"stop\""), "null"),
                chunk("[]", usage),
                [chunked("data: [DONE]\n\n"), b"0\r\n\r\n".to_vec()].concat(),
            ],
        }
    }
}

/// 630 bytes, as a short answer of the real API has.
fn json_body() -> String {
    let body = |content: &str| {
        format!(
            "{{\"id\":\"chatcmpl-bench0001\",\"object\":\"chat.completion\",\
             \"created\":1767225600,\"model\":\"gpt-4o-mini-2024-07-18\",\"choices\":[{{\
             \"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":\"{content}\",\
             \"refusal\":null}},\"logprobs\":null,\"finish_reason\":\"stop\"}}],\"usage\":{{\
             \"prompt_tokens\":320,\"completion_tokens\":42,\"total_tokens\":362,\
             \"prompt_tokens_details\":{{\"cached_tokens\":0}},\
             \"completion_tokens_details\":{{\"reasoning_tokens\":0}}}},\
             \"service_tier\":\"default\",\"system_fingerprint\":\"fp_bench\"}}"
        )
    };
    let padding = 630_usize.saturating_sub(body("").len());
    body(&"x".repeat(padding))
}

fn chunked(event: &str) -> Vec<u8> {
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}

async fn connection(
    stream: TcpStream,
    tls: TlsAcceptor,
    answers: Arc<Answers>,
) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = tls.accept(stream).await?;
    let mut buffer = Buffer::default();
    while let Some(head) = buffer.head(&mut stream).await? {
        let mut plan = Plan::default();
        buffer.body(&mut stream, length(&head)?, |piece| plan.read(piece)).await?;
        if plan.is_stream {
            play(&mut stream, &answers, &plan).await?;
        } else {
            stream.write_all(&answers.json).await?;
            stream.flush().await?;
        }
    }
    Ok(())
}

/// What a request's body asks for, in words that cost nothing to find.
#[derive(Debug, Default)]
struct Plan {
    is_stream: bool,
    pace: Option<Duration>,
    events: Option<usize>,
}

impl Plan {
    /// The words stand together at the start of the body, so a piece holds all or none.
    fn read(&mut self, piece: &[u8]) {
        self.is_stream |= memmem::find(piece, b"\"stream\":true").is_some();
        if self.is_stream {
            self.pace = number(piece, b"PACE").map(Duration::from_millis).or(self.pace);
            let events = number(piece, b"EVENTS").and_then(|events| usize::try_from(events).ok());
            self.events = events.or(self.events);
        }
    }
}

fn number(piece: &[u8], word: &[u8]) -> Option<u64> {
    let at = memmem::find(piece, word)? + word.len();
    let digits = piece[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&piece[at..at + digits]).ok()?.parse().ok()
}

async fn play(
    stream: &mut (impl AsyncWriteExt + Unpin),
    answers: &Answers,
    plan: &Plan,
) -> anyhow::Result<()> {
    let mut pace = plan.pace.map(interval);
    if let Some(pace) = &mut pace {
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    stream.write_all(&answers.stream_head).await?;
    let content = std::iter::repeat_n(&answers.content, plan.events.unwrap_or(EVENTS));
    for event in std::iter::once(&answers.first).chain(content).chain(&answers.last) {
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        stream.write_all(event).await?;
        stream.flush().await?;
    }
    Ok(())
}
