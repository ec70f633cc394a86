//! `chaos`: clients connect all the time, the agent is killed, stopped, switched and robbed of its
//! helper, and nobody but who was in flight at that moment may notice.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, interval_at, sleep};

use crate::dial::{Dialled, Failure, now};
use crate::hooks::programs;
use crate::overhead::on_rig;
use crate::rig::{PROVIDER, Rig};
use crate::upset::{Kind, QUIET, Upset, Victim};

/// Most failures told in words.
const TOLD: usize = 10;

/// How long, and how much.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
    /// How long, in minutes; at least one
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Connections a second
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// For the same upsets in the same order; otherwise any
    #[arg(long)]
    seed: Option<u64>,
}

/// Memory and open files of the agent's process at a minute's end.
#[derive(Debug, Clone, Serialize)]
struct Mark {
    minute: u64,
    rss_mib: f64,
    files: usize,
    /// How long this process had been running.
    age_s: u64,
}

/// What the ledger knows.
#[derive(Debug, Default, Serialize)]
struct Booked {
    calls: usize,
    /// Without an end.
    open: usize,
    /// Answered, and not there.
    missing: usize,
}

/// Upsets, and reports.
pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    on_rig(async move || upset(&options).await)
}

async fn upset(options: &Options) -> anyhow::Result<()> {
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("{} min, {} connections/s, --seed {seed}", options.minutes, options.rate);
    let before = programs();
    let rig = Rig::set().await?;
    let process = Cell::new(None);
    let mut victim = Victim::start(&rig, &process).await?;
    let length = Duration::from_mins(options.minutes);
    let root = victim.daemon()?.root().display().to_string();
    let command = [
        "dial".to_owned(),
        "--to".to_owned(),
        PROVIDER.to_string(),
        "--ca".to_owned(),
        rig.pki.ca.display().to_string(),
        "--ca".to_owned(),
        root,
        "--rate".to_owned(),
        options.rate.to_string(),
        "--seconds".to_owned(),
        length.as_secs().to_string(),
    ];
    let until = Instant::now() + length.saturating_sub(QUIET);
    let mut random = fastrand::Rng::with_seed(seed);
    let (output, (), marks) = tokio::join!(
        rig.front(true, &command),
        victim.upset(&mut random, until),
        mark(&process, options.minutes)
    );
    let dialled: Dialled = serde_json::from_str(&output?).context("the client's figures")?;
    let state = victim.daemon()?.root().parent().context("a directory")?.to_owned();
    let (upsets, mut complaints) = victim.stop().await;
    let booked = booked(&rig, &state.join("ledger.db"), &dialled).await?;
    let left = programs().iter().filter(|id| !before.contains(id)).count();
    if left > 0 {
        complaints.push(format!("{left} programs are left in the kernel"));
    }
    let (flight, other) = sorted(&dialled.failures, &upsets);
    report(&dialled, &upsets, (&flight, &other));
    for Mark { minute, rss_mib, files, age_s } in &marks {
        println!("minute {minute}: {rss_mib:.1} MiB, {files} files, {age_s} s after its start");
    }
    println!(
        "ledger: {} answered by the agent, {} calls in it, {} of them without an end, {} missing",
        dialled.metered, booked.calls, booked.open, booked.missing
    );
    for complaint in &complaints {
        println!("complaint: {complaint}");
    }
    if options.json {
        let words = |by: &BTreeMap<Kind, usize>| {
            by.iter().map(|(kind, count)| (kind.word(), json!(count))).collect::<BTreeMap<_, _>>()
        };
        let summary = json!({
            "schema_version": 1, "minutes": options.minutes, "rate": options.rate, "seed": seed,
            "connections": dialled.connections, "metered": dialled.metered,
            "direct": dialled.direct, "failed": dialled.failed, "in_flight": words(&flight),
            "other": other.len(), "retried": dialled.retried, "lost": dialled.lost,
            "held_back": dialled.held_back, "late_ms": dialled.late_ms, "upsets": words(&counted(&upsets)), "marks": marks,
            "p50_ms": dialled.p50_ms, "p99_ms": dialled.p99_ms,
            "longest_ms": dialled.longest_ms, "ledger": booked, "complaints": complaints,
        });
        println!("{summary}");
    }
    ensure!(
        dialled.held_back == 0,
        "{} connections were held back, too many being open: nobody answers, or this machine is too \
         slow for --rate {}, and its client late for that reason (by up to {} ms)",
        dialled.held_back,
        options.rate,
        dialled.late_ms
    );
    ensure!(other.is_empty(), "{} connections failed that were not in flight", other.len());
    ensure!(dialled.metered > 0, "nothing was metered");
    ensure!(booked.missing == 0, "{} answered calls are not in the ledger", booked.missing);
    ensure!(complaints.is_empty(), "{} complaints", complaints.len());
    Ok(())
}

/// Looks at the agent's process at the end of each minute.
async fn mark(process: &Cell<Option<(u32, u64)>>, minutes: u64) -> Vec<Mark> {
    let minute = Duration::from_mins(1);
    let mut ticks = interval_at(Instant::now() + minute, minute);
    let mut marks = Vec::new();
    for minute in 1..=minutes {
        ticks.tick().await;
        // It may be between two lives.
        for _ in 0..500 {
            if let Some(mark) = process.get().and_then(|it| look(minute, it)) {
                marks.push(mark);
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
    marks
}

fn look(minute: u64, (pid, since): (u32, u64)) -> Option<Mark> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    let age_s = now().saturating_sub(since) / 1000;
    Some(Mark { minute, rss_mib: kib / 1024.0, files, age_s })
}

/// How many failures there were in flight at an upset, by its kind; and the others.
fn sorted<'a>(
    failures: &'a [Failure],
    upsets: &[Upset],
) -> (BTreeMap<Kind, usize>, Vec<&'a Failure>) {
    let (mut flight, mut other) = (BTreeMap::new(), Vec::new());
    for failure in failures {
        let cause = upsets.iter().find(|upset| {
            upset.costs.is_some_and(|(from, to)| failure.from <= to && failure.to >= from)
        });
        match cause {
            Some(upset) => *flight.entry(upset.kind).or_default() += 1,
            None => other.push(failure),
        }
    }
    (flight, other)
}

fn counted(upsets: &[Upset]) -> BTreeMap<Kind, usize> {
    let mut counts = BTreeMap::new();
    for upset in upsets {
        *counts.entry(upset.kind).or_default() += 1;
    }
    counts
}

/// Lets an agent take in what the last one left, and compares.
async fn booked(rig: &Rig, ledger: &Path, dialled: &Dialled) -> anyhow::Result<Booked> {
    let process = Cell::new(None);
    let last = Victim::start(rig, &process).await?;
    let mut found = compare(ledger, dialled)?;
    for _ in 0..500 {
        if found.missing == 0 && found.open == 0 {
            break;
        }
        sleep(Duration::from_millis(20)).await;
        found = compare(ledger, dialled)?;
    }
    last.stop().await;
    compare(ledger, dialled)
}

fn compare(ledger: &Path, dialled: &Dialled) -> anyhow::Result<Booked> {
    let connection = Connection::open_with_flags(ledger, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut calls = connection.prepare("SELECT call_id FROM call")?;
    let known = calls.query_map([], |row| row.get(0))?.collect::<Result<BTreeSet<String>, _>>()?;
    let missing = dialled.calls.iter().filter(|id| !known.contains(*id)).count();
    let mut open = connection.prepare(
        "SELECT count(*) FROM call JOIN shape ON shape.id = call.shape WHERE shape.outcome IS NULL",
    )?;
    let open: i64 = open.query_row([], |row| row.get(0))?;
    Ok(Booked { calls: known.len(), open: usize::try_from(open)?, missing })
}

fn report(
    dialled: &Dialled,
    upsets: &[Upset],
    (flight, other): (&BTreeMap<Kind, usize>, &[&Failure]),
) {
    for (kind, count) in counted(upsets) {
        println!("{count} times {}", kind.word());
    }
    println!(
        "{} connections: {} metered, {} direct, {} failed; {} held back, the client late by \
         {} ms at most; {} calls answered at the \
         second try, {} not; p50 {} ms, p99 {} ms, longest {} ms",
        dialled.connections,
        dialled.metered,
        dialled.direct,
        dialled.failed,
        dialled.held_back,
        dialled.late_ms,
        dialled.retried,
        dialled.lost,
        dialled.p50_ms,
        dialled.p99_ms,
        dialled.longest_ms,
    );
    for (kind, count) in flight {
        println!("{count} failed in flight at: {}", kind.word());
    }
    println!("{} failed otherwise", other.len());
    for Failure { from, to, what } in other.iter().take(TOLD) {
        let at = |upset: &&Upset| upset.costs.is_some_and(|(at, _)| at <= *from);
        let last = upsets.iter().rev().find(at);
        let since = last.and_then(|upset| Some((upset.kind.word(), from - upset.costs?.0)));
        println!("  from {from} to {to}: {what} (after, in ms: {since:?})");
    }
}
