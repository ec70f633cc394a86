//! The generator: a closed loop over one or many connections, on one thread.
//!
//! Every answer is checked (status, usage, end of stream). The proxy's CPU time is read at the
//! two ends of the measured window, so the warm-up with its handshakes is outside.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use memchr::memmem;
use parking_lot::Mutex;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::pki::NAME;
use crate::rig::cpu_micros;
use crate::wire::{Buffer, length};

/// What is asked, how often, of whom.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    ca: PathBuf,
    #[arg(long)]
    connections: usize,
    /// A new connection, with a full handshake, for each request
    #[arg(long)]
    fresh: bool,
    /// Requests a second, all connections together; otherwise as fast as answers come
    #[arg(long)]
    rate: Option<u64>,
    /// Stream, with so many milliseconds between events
    #[arg(long)]
    pace: Option<u64>,
    /// Content events of a stream
    #[arg(long, default_value_t = crate::upstream::EVENTS)]
    events: usize,
    /// Answers each connection asks for before it is done; otherwise until the time is up
    #[arg(long)]
    each: Option<u64>,
    #[arg(long, default_value_t = 1200)]
    warm_ms: u64,
    #[arg(long, default_value_t = 4000)]
    measure_ms: u64,
    /// Cgroup whose CPU time is charged
    #[arg(long)]
    meter: Option<PathBuf>,
}

/// One run's figures.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// All good answers, warm-up included.
    pub(crate) total: u64,
    /// Good answers in the window.
    pub(crate) ok: u64,
    /// Bad ones, in the whole run.
    pub(crate) errors: u64,
    /// The first of them.
    pub(crate) complaint: Option<String>,
    /// Answers a second.
    pub(crate) rps: f64,
    /// Latency to the end of the answer, microseconds.
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// To its first byte.
    pub(crate) first_p50_us: f64,
    pub(crate) first_p99_us: f64,
    /// CPU of the metered cgroup per answer, or per event of a stream.
    pub(crate) cpu_us: f64,
    /// Content events in the window.
    pub(crate) events: u64,
}

/// Runs the loop and prints the figures as one line of JSON.
pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let figures = runtime.block_on(drive(options))?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

/// What all connections share.
struct Shared {
    options: Options,
    tls: TlsConnector,
    request: Vec<u8>,
    measuring: AtomicBool,
    over: AtomicBool,
    total: AtomicU64,
    errors: AtomicU64,
    events: AtomicU64,
    complaint: Mutex<Option<String>>,
    /// Latency and time to first byte of each answer in the window, in tenths of a microsecond.
    answers: Mutex<Vec<(u32, u32)>>,
}

async fn drive(options: Options) -> anyhow::Result<Figures> {
    let shared = Arc::new(Shared {
        tls: TlsConnector::from(Arc::new(trusting(std::slice::from_ref(&options.ca))?)),
        request: request(&options),
        measuring: AtomicBool::new(options.each.is_some()),
        over: AtomicBool::new(false),
        total: AtomicU64::default(),
        errors: AtomicU64::default(),
        events: AtomicU64::default(),
        complaint: Mutex::default(),
        answers: Mutex::new(Vec::with_capacity(1 << 20)),
        options,
    });
    let mut loops = JoinSet::new();
    for index in 0..shared.options.connections {
        loops.spawn(keep_asking(Arc::clone(&shared), index));
    }
    let options = &shared.options;
    if options.each.is_none() {
        sleep(Duration::from_millis(options.warm_ms)).await;
    }
    let cpu = || options.meter.as_deref().map(cpu_micros).transpose();
    let (start, before) = (Instant::now(), cpu()?);
    if options.each.is_none() {
        shared.measuring.store(true, Ordering::Relaxed);
        sleep(Duration::from_millis(options.measure_ms)).await;
        shared.measuring.store(false, Ordering::Relaxed);
    } else {
        while loops.join_next().await.is_some() {}
    }
    let (took, after) = (start.elapsed(), cpu()?);
    shared.over.store(true, Ordering::Relaxed);
    loops.shutdown().await;
    Ok(figures(&shared, took, after.zip(before).map_or(0, |(after, before)| after - before)))
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^52")]
fn figures(shared: &Shared, took: Duration, cpu: u64) -> Figures {
    let answers = std::mem::take(&mut *shared.answers.lock());
    let events = shared.events.load(Ordering::Relaxed);
    let ok = answers.len() as u64;
    let (mut whole, mut first): (Vec<u32>, Vec<u32>) = answers.into_iter().unzip();
    whole.sort_unstable();
    first.sort_unstable();
    let at = |sorted: &[u32], percent: usize| {
        let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(index).map_or(0.0, |&tenths| f64::from(tenths) / 10.0)
    };
    let units = if shared.options.pace.is_some() { events } else { ok };
    Figures {
        total: shared.total.load(Ordering::Relaxed),
        ok,
        errors: shared.errors.load(Ordering::Relaxed),
        complaint: shared.complaint.lock().clone(),
        rps: ok as f64 / took.as_secs_f64(),
        p50_us: at(&whole, 50),
        p99_us: at(&whole, 99),
        first_p50_us: at(&first, 50),
        first_p99_us: at(&first, 99),
        cpu_us: if units == 0 { 0.0 } else { cpu as f64 / units as f64 },
        events,
    }
}

/// One connection's loop; an error costs the connection, not the run.
async fn keep_asking(shared: Arc<Shared>, index: usize) {
    let options = &shared.options;
    let mut ticks = options.rate.map(|rate| {
        // Connections take turns, so that the sum is even.
        let all = Duration::from_secs(1).mul_f64(1.0 / rate_of(rate));
        let every = all * u32::try_from(options.connections).unwrap_or(u32::MAX);
        let offset = all * u32::try_from(index).unwrap_or(u32::MAX);
        interval_at(Instant::now() + offset, every)
    });
    let mut open = None;
    let mut left = options.each.unwrap_or(u64::MAX);
    while left > 0 && !shared.over.load(Ordering::Relaxed) {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        left -= 1;
        match ask(&shared, open.take()).await {
            Ok(connection) => open = connection.filter(|_| !options.fresh),
            Err(error) => {
                shared.errors.fetch_add(1, Ordering::Relaxed);
                shared.complaint.lock().get_or_insert_with(|| format!("{error:#}"));
                // Not to spin if nothing listens.
                sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand at most")]
fn rate_of(rate: u64) -> f64 {
    rate as f64
}

type Open = (TlsStream<TcpStream>, Buffer);

/// One request and its answer, on the open connection or a new one.
async fn ask(shared: &Shared, open: Option<Open>) -> anyhow::Result<Option<Open>> {
    let options = &shared.options;
    let start = Instant::now();
    let (mut stream, mut buffer) = match open {
        Some(open) => open,
        None => (connect(shared).await?, Buffer::default()),
    };
    stream.write_all(&shared.request).await?;
    stream.flush().await?;

    let head = buffer.head(&mut stream).await?.context("closed instead of answering")?;
    let first = start.elapsed();
    ensure!(head.get(9..12) == Some(b"200"), "status {:?}", String::from_utf8_lossy(&head));
    let mut check = Check::default();
    buffer.body(&mut stream, length(&head)?, |piece| check.read(piece, shared)).await?;
    let whole = start.elapsed();
    ensure!(check.usage, "no usage in the answer");
    ensure!(options.pace.is_none() || check.done, "no [DONE] at the end of the stream");

    shared.total.fetch_add(1, Ordering::Relaxed);
    if shared.measuring.load(Ordering::Relaxed) {
        shared.answers.lock().push((tenths(whole), tenths(first)));
    }
    Ok(Some((stream, buffer)))
}

fn tenths(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos() / 100).unwrap_or(u32::MAX)
}

async fn connect(shared: &Shared) -> anyhow::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(shared.options.to).await?;
    stream.set_nodelay(true)?;
    Ok(shared.tls.connect(ServerName::try_from(NAME)?, stream).await?)
}

/// What has been found in an answer. A proxy may cut the stream anywhere, so the end of each
/// piece is looked at again together with the next.
#[derive(Default)]
struct Check {
    joint: Vec<u8>,
    usage: bool,
    done: bool,
}

const USAGE: &[u8] = b"\"prompt_tokens\"";
const DONE: &[u8] = b"[DONE]";

impl Check {
    fn read(&mut self, piece: &[u8], shared: &Shared) {
        if shared.options.pace.is_some() && shared.measuring.load(Ordering::Relaxed) {
            let events = memmem::find_iter(piece, b"data: ").count() as u64;
            shared.events.fetch_add(events, Ordering::Relaxed);
        }
        self.look(piece);
        if !self.joint.is_empty() {
            let end = piece.len().min(USAGE.len());
            let joint = [std::mem::take(&mut self.joint), piece[..end].to_vec()].concat();
            self.look(&joint);
        }
        if shared.options.pace.is_some() {
            self.joint = piece[piece.len().saturating_sub(USAGE.len())..].to_vec();
        }
    }

    fn look(&mut self, piece: &[u8]) {
        self.usage = self.usage || memmem::find(piece, USAGE).is_some();
        self.done = self.done || memmem::find(piece, DONE).is_some();
    }
}

/// Full handshakes, with whoever shows a certificate of one of these authorities.
pub(crate) fn trusting(authorities: &[PathBuf]) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for file in authorities {
        for certificate in CertificateDer::pem_file_iter(file)? {
            roots.add(certificate?)?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A new connection is to cost what it costs: a full handshake.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// About 1.5 KB of body and 500 bytes of head, as the OpenAI SDK for Python sends.
fn request(options: &Options) -> Vec<u8> {
    let stream = options.pace.map_or_else(String::new, |pace| {
        format!(
            "\"stream\":true,\"stream_options\":{{\"include_usage\":true}},\
                 \"user\":\"PACE{pace} EVENTS{}\",",
            options.events
        )
    });
    let prompt = "How is the weather in Bergen, and why does it rain there so often? ".repeat(20);
    let body = format!(
        "{{{stream}\"model\":\"gpt-4o-mini\",\"temperature\":0.2,\"messages\":[\
         {{\"role\":\"system\",\"content\":\"You answer briefly.\"}},\
         {{\"role\":\"user\",\"content\":\"{prompt}\"}}]}}"
    );
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {NAME}\r\naccept: application/json\r\n\
         accept-encoding: gzip, deflate\r\ncontent-type: application/json\r\n\
         user-agent: OpenAI/Python 3.54.0\r\nauthorization: Bearer sk-bench-0123456789abcdef\r\n\
         x-stainless-lang: python\r\nx-stainless-package-version: 3.54.0\r\n\
         x-stainless-os: Linux\r\nx-stainless-arch: x64\r\nx-stainless-runtime: CPython\r\n\
         x-stainless-runtime-version: 3.11.7\r\nx-stainless-async: false\r\n\
         x-stainless-retry-count: 0\r\nx-stainless-read-timeout: 600\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body.into_bytes()].concat()
}
