//! The demo: a provider, an agent and a handful of very different programs, on a stage of their
//! own where nothing of the host changes.

pub mod mock;
pub mod stage;
pub mod daemon;
mod workloads;
mod table;
mod place;

use std::ffi::OsString;
use std::io::{self, Write};
use std::time::Duration;

use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::drain::Drain;
use daemon::Daemon;
use mock::{Control, Mock};
use place::Place;
use table::{Table, count, dollars};
use workloads::{Setting, Workloads};

/// The whole demo is to stay under a minute: this leaves time to start and to end.
const LONGEST: Duration = Duration::from_secs(45);
/// The ledger commits in groups; what ended last may take this long to be read back.
const SETTLE: Duration = Duration::from_secs(3);

/// Plays the demo for about `length`, and reports on standard output. Fails if something does not
/// start, or if a billed call was not attributed.
pub fn run(length: Duration) -> anyhow::Result<()> {
    let length = length.clamp(Duration::from_secs(1), LONGEST);
    // The namespaces are the thread's, so the demo has a thread and a runtime of its own.
    let played = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(play(length))
    });
    match played.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

async fn play(length: Duration) -> anyhow::Result<()> {
    // Before anything exists that would have to be cleaned up.
    let mut interrupts = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    let [Ok(interrupt), Ok(terminate)] = &mut interrupts else {
        anyhow::bail!("cannot watch for signals");
    };
    let (place, limits) = Place::choose()?;
    let drain = Drain::new();
    let played = tokio::select! {
        played = act(&place, limits.as_deref(), length, &drain) => played,
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("told to stop")),
    };
    drain.finish(Duration::from_secs(1)).await;
    played
}

/// Everything that is started here ends here, also when the future is dropped: processes are
/// killed by their handles, the place goes with its owner.
async fn act(
    place: &Place,
    limits: Option<&str>,
    length: Duration,
    drain: &Drain,
) -> anyhow::Result<()> {
    say(&[format!("Weir's demo: {} s, and nothing of this host changes.", length.as_secs())])?;
    if let Some(limits) = limits {
        say(&[format!("  {limits}")])?;
    }
    let mock = Mock::bind(&place.provider(), &crate::clock::System).await?;
    let provider = mock.control();
    let ca_file = place.scratch().join("provider-ca.pem");
    std::fs::write(&ca_file, mock.ca_pem())?;
    let config = place.config(&ca_file, mock.addresses())?;
    let ca_pem = mock.ca_pem().to_owned();
    drain.spawn(mock.run(drain.clone()));

    let weir = std::env::current_exe()?;
    let daemon = Daemon::start(&weir, &place.scratch().join("weir"), &config).await?;
    place.trust(&ca_pem, &daemon.root())?;
    let programs = Workloads::start(&Setting {
        cgroup: place.cgroup(),
        directory: place.scratch(),
        length,
        environment: environment(place, &daemon),
    })?;
    say(&[format!("  provider  {}", place.told()), agent_told(&daemon), String::new()])?;
    say(&programs.listing.iter().map(|line| format!("  {line}")).collect::<Vec<_>>())?;
    say(&[String::new()])?;

    let mut table = Table::default();
    watch(&daemon, &mut table, length).await?;
    let complaints = programs.end().await;
    let spend = settled(&daemon, &provider).await?;
    table.last(&spend)?;
    summary(&spend, &provider, &complaints)?;
    let attributed = count(&spend["total"], "calls");
    let log = daemon.log_tail();
    daemon.stop().await;
    let billed = provider.stats().billed;
    anyhow::ensure!(
        attributed == billed && billed > 0,
        "the provider billed {billed} calls, Weir saw {attributed}. Its log ends with:\n{log}"
    );
    Ok(())
}

/// What the programs find beside their keys. On the stage: nothing but what `weir trust install`
/// would set for clients with roots of their own.
fn environment(place: &Place, daemon: &Daemon) -> Vec<(&'static str, OsString)> {
    match place {
        Place::Stage(_) => vec![("NODE_EXTRA_CA_CERTS", daemon.root().into())],
        Place::Here { proxy, .. } => vec![
            ("OPENAI_BASE_URL", format!("http://127.0.0.1:{proxy}/openai/v1").into()),
            ("ANTHROPIC_BASE_URL", format!("http://127.0.0.1:{proxy}/anthropic").into()),
        ],
    }
}

fn agent_told(daemon: &Daemon) -> String {
    format!("  agent     weir daemon, process {}", daemon.pid().unwrap_or_default())
}

/// Redraws the table every second until the programs' time is up.
async fn watch(daemon: &Daemon, table: &mut Table, length: Duration) -> anyhow::Result<()> {
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let over = sleep(length);
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => return Ok(()),
            _ = seconds.tick() => table.update(&spend(daemon).await?)?,
        }
    }
}

async fn spend(daemon: &Daemon) -> anyhow::Result<Value> {
    Ok(daemon.read(&["spend", "--by", "workload"]).await?)
}

/// The final figures: as soon as every billed call is there, at the latest when it should be.
async fn settled(daemon: &Daemon, provider: &Control) -> anyhow::Result<Value> {
    let complete = async {
        loop {
            let spend = spend(daemon).await?;
            if count(&spend["total"], "calls") >= provider.stats().billed {
                return Ok(spend);
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    match tokio::time::timeout(SETTLE, complete).await {
        Ok(spend) => spend,
        Err(_late) => spend(daemon).await,
    }
}

fn summary(spend: &Value, provider: &Control, complaints: &[String]) -> io::Result<()> {
    let total = &spend["total"];
    let estimated = count(total, "estimated_calls");
    let mut lines = vec![
        String::new(),
        format!("  The provider billed {} calls.", provider.stats().billed),
        format!("  Weir attributed {} calls, ${}.", count(total, "calls"), dollars(total)),
    ];
    if estimated > 0 {
        lines.push(format!(
            "  {estimated} were cut short by their client: billed all the same, so estimated."
        ));
    }
    lines.extend(complaints.iter().map(|complaint| format!("  note: {complaint}")));
    lines.extend(
        [
            "",
            "  Where to look next:",
            "    weir doctor            what works on this host, and what is missing",
            "    weir trust install     let its clients accept the CA; then `weir mode meter`",
            "    weir run -- COMMAND    meter one program and what it starts",
            "    weir spend --by model  also user, process, unit, container, team",
            "    weir explain CALL-ID   why a call cost what it cost",
        ]
        .map(str::to_owned),
    );
    say(&lines)
}

fn say(lines: &[String]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.flush()
}
