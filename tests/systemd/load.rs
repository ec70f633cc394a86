//! A program that calls all the time, as a unit; and what it has counted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent::drain::Drain;
use anyhow::{Context, ensure};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, interval, timeout};
use tokio_rustls::TlsConnector;

use crate::host;
use crate::link::{Link, trusting};

/// Calls at the same time, at most.
const CALLERS: u32 = 16;
/// No call takes longer, unless nobody answers.
const PATIENCE: Duration = Duration::from_mins(1);
/// Failures told in words.
const TOLD: usize = 5;
const REPORT: &str = "/run/load.json";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    amount: Amount,
    /// Where it writes what it has counted
    #[arg(long)]
    report: PathBuf,
}

/// How much is asked.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Amount {
    /// Calls a second
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Streams at the same time, each of two seconds, one after the other
    #[arg(long, default_value_t = 10)]
    streams: u32,
}

/// What came of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) calls: u64,
    pub(crate) streams: u64,
    /// Answered by the agent, calls and streams.
    pub(crate) metered: u64,
    /// Sent again over a new connection.
    pub(crate) again: u64,
    pub(crate) failed: u64,
    pub(crate) failures: Vec<String>,
    pub(crate) longest_ms: u128,
    pub(crate) seconds: f64,
}

impl Tally {
    /// In a few words.
    pub(crate) fn told(&self) -> String {
        let Self { calls, streams, metered, again, failed, longest_ms, seconds, .. } = self;
        #[expect(clippy::cast_precision_loss, reason = "thousands of calls")]
        let rate = *calls as f64 / seconds;
        format!(
            "{calls} calls ({rate:.0}/s) and {streams} streams, {metered} of them metered, \
             {failed} failed; {again} sent again over a new connection; longest {longest_ms} ms"
        )
    }
}

/// Calls until SIGTERM, lets what it began come to its end, and reports.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let tls = trusting()?;
    let (drain, tally) = (Drain::new(), Arc::<Mutex<Tally>>::default());
    let start = Instant::now();
    let Amount { rate, streams } = options.amount;
    let callers = CALLERS.min(rate);
    for _ in 0..callers {
        let every = Duration::from_secs(1) * callers / rate;
        drain.spawn(calls(tls.clone(), every, drain.clone(), Arc::clone(&tally)));
    }
    for _ in 0..streams {
        drain.spawn(streamed(tls.clone(), drain.clone(), Arc::clone(&tally)));
    }
    signal(SignalKind::terminate())?.recv().await;
    drain.finish(PATIENCE).await;
    let mut tally = std::mem::take(&mut *tally.lock());
    tally.seconds = start.elapsed().as_secs_f64();
    std::fs::write(&options.report, serde_json::to_string(&tally)?).context("write the report")
}

async fn calls(tls: TlsConnector, every: Duration, drain: Drain, tally: Arc<Mutex<Tally>>) {
    let mut link = Link::new(tls);
    // What came late is made up for.
    let mut ticks = interval(every);
    while !drain.is_signalled() {
        ticks.tick().await;
        one(&mut link, false, &tally).await;
    }
}

async fn streamed(tls: TlsConnector, drain: Drain, tally: Arc<Mutex<Tally>>) {
    let mut link = Link::new(tls);
    while !drain.is_signalled() {
        one(&mut link, true, &tally).await;
    }
}

async fn one(link: &mut Link, stream: bool, tally: &Mutex<Tally>) {
    let start = Instant::now();
    let asked = timeout(PATIENCE, link.call(stream)).await;
    let mut tally = tally.lock();
    tally.longest_ms = tally.longest_ms.max(start.elapsed().as_millis());
    *(if stream { &mut tally.streams } else { &mut tally.calls }) += 1;
    let failure = match asked {
        Ok(Ok(answer)) => {
            tally.metered += u64::from(answer.metered);
            tally.again += u64::from(answer.again);
            return;
        }
        Ok(Err(error)) => format!("{error:#}"),
        Err(_elapsed) => "no answer".to_owned(),
    };
    tally.failed += 1;
    if tally.failures.len() < TOLD {
        let kind = if stream { "stream" } else { "call" };
        tally.failures.push(format!("{kind}: {failure}"));
    }
}

/// The unit.
pub(crate) struct Load;

impl Load {
    /// Starts it; it runs until [`Load::end`].
    pub(crate) async fn start(amount: Amount) -> anyhow::Result<Self> {
        if Path::new(REPORT).exists() {
            std::fs::remove_file(REPORT)?;
        }
        let own = std::env::current_exe()?;
        let own = own.to_str().context("a path that is Unicode")?;
        let (rate, streams) = (amount.rate.to_string(), amount.streams.to_string());
        let words = ["load", "--rate", &rate, "--streams", &streams, "--report", REPORT];
        host::start("load", &[&[own][..], &words].concat()).await?;
        Ok(Self)
    }

    /// Lets it end. Every call has to have succeeded.
    pub(crate) async fn end(self) -> anyhow::Result<Tally> {
        host::succeed(&["systemctl", "stop", "load.service"]).await?;
        let report = std::fs::read_to_string(REPORT).context("the load's report")?;
        let tally: Tally = serde_json::from_str(&report)?;
        ensure!(tally.failed == 0, "{}\n{}", tally.told(), tally.failures.join("\n"));
        ensure!(tally.calls > 0 && tally.metered > 0, "{}", tally.told());
        Ok(tally)
    }
}
