//! The predecessor's side: how it has its successor started, and what it leaves to it.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::oneshot;

use super::messages::{self, Come, Message, Open};
use crate::admin::upgrade::{Generation, Upgraded};
use crate::admin::{Agent as _, Failure, SCHEMA_VERSION};
use crate::app::agent::Running;
use crate::capture::Helper;
use crate::capture::helper::frame;
use crate::cli;
use crate::clock::Now;
use crate::config::Log;
use crate::ledger::Ledger;
use crate::pipeline::Policies;
use crate::pipeline::outstanding::{Held, Settled};
use crate::policy::view::BreakerState;

/// How long the successor may take until it is ready, and then until it has taken over.
const PATIENCE: Duration = Duration::from_secs(30);
/// Calls told of in one message.
const SOME: usize = 256;

/// A successor that is ready to take over. Dropped, it ends: nothing has happened.
#[derive(Debug)]
pub(in crate::app) struct Successor {
    socket: Arc<OwnedFd>,
    /// Who it is.
    pub(in crate::app) generation: Generation,
}

/// The order to hand over, and where the calls in flight are told, or why it failed.
#[derive(Debug)]
pub(in crate::app) struct Leave {
    pub(in crate::app) successor: Successor,
    pub(in crate::app) answer: oneshot::Sender<Result<u64, String>>,
}

/// Has a successor started and hands over to it; where it does not get ready, nothing has happened.
/// Blocks.
pub(in crate::app) fn upgrade(running: &Running) -> Result<Upgraded, Failure> {
    let Some(succession) = running.succession.try_lock() else {
        let what = "an upgrade is under way already".to_owned();
        return Err(Failure::Refused { what, fix: None });
    };
    let log = running.config.lock().config.log;
    let started = Successor::start(running, &running.helper, log);
    let successor = started.map_err(Failure::Unavailable)?;
    let to = successor.generation.clone();
    let (answer, answered) = oneshot::channel();
    let gone = || Failure::Unavailable("this agent is stopping".to_owned());
    succession.blocking_send(Leave { successor, answer }).map_err(|_stopping| gone())?;
    let done = answered.blocking_recv().map_err(|_stopping| gone())?;
    let draining = done.map_err(Failure::Unavailable)?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let from = Generation { version, pid: std::process::id() };
    Ok(Upgraded { schema_version: SCHEMA_VERSION, from, to, draining })
}

impl Successor {
    /// Starts one, and waits until it is ready; or says why it is not. Blocks.
    fn start(running: &Running, helper: &Helper, log: Log) -> Result<Self, String> {
        let failed = |error: io::Error| format!("the successor cannot be started: {error}");
        let (ours, theirs) = frame::pair().map_err(failed)?;
        messages::patience(&ours, Some(PATIENCE)).map_err(failed)?;
        welcome(running, &ours)?;
        launch(helper, log, theirs).map_err(failed)?;
        let generation = match messages::receive(&ours) {
            Ok(Some(Come::Message(Message::Ready { version, pid }, _))) => {
                Generation { version, pid }
            }
            Ok(Some(Come::Message(Message::Failed(why), _))) => {
                return Err(format!("the successor cannot start: {why}"));
            }
            Ok(None) => return Err("the successor ended at its start: see the log".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let seconds = PATIENCE.as_secs();
                return Err(format!("the successor was not ready within {seconds} s"));
            }
            Ok(come) => return Err(failed(messages::unexpected(come.as_ref()))),
            Err(error) => return Err(failed(error)),
        };
        Ok(Self { socket: Arc::new(ours), generation })
    }

    /// Leaves it everything; from here on it decides. Returns how the calls in flight are settled
    /// there. Blocks.
    pub(in crate::app) fn bequeath(
        &self,
        running: &Running,
        policies: &Policies,
        now: Now,
    ) -> io::Result<mpsc::Receiver<Settled>> {
        let ledger = &running.ledger;
        let (held, settled) = policies.outstanding.hand_over();
        // Whoever was settled just before has yet to reach the ledger.
        std::thread::sleep(Duration::from_millis(10));
        ledger.pause();
        let bequeath = || -> io::Result<()> {
            for some in held.chunks(SOME) {
                let some: Vec<Held> = some.to_vec();
                messages::send(&self.socket, &Message::Held(some), &[])?;
            }
            self.count(running)?;
            let views = policies.reliability.lock().breakers(now);
            let open = views.into_iter().filter(|view| view.state != BreakerState::Closed);
            let open = open.map(|view| Open {
                name: view.name.to_string(),
                // One that lets a few through to see does so there.
                until: match view.state {
                    BreakerState::HalfOpen => view.until.or(Some(now.wall)),
                    _ => view.until,
                },
                reason: view.reason,
            });
            messages::send(&self.socket, &Message::State { open: open.collect() }, &[])?;
            match messages::receive(&self.socket)? {
                Some(Come::Message(Message::Took, _)) => messages::patience(&self.socket, None),
                Some(Come::Message(Message::Failed(why), _)) => Err(io::Error::other(why)),
                come => Err(messages::unexpected(come.as_ref())),
            }
        };
        bequeath().map(|()| settled)
    }

    /// Tells it what was counted here.
    pub(in crate::app) fn count(&self, running: &Running) -> io::Result<()> {
        messages::send(&self.socket, &Message::Counted(running.metrics()), &[])
    }

    /// Tells it what the last calls come to, and has their records kept there.
    pub(in crate::app) fn report(
        &self,
        settled: mpsc::Receiver<Settled>,
        ledger: &Ledger,
    ) -> anyhow::Result<()> {
        let socket = Arc::clone(&self.socket);
        ledger.forward(move |lines| {
            messages::send_records(&socket, lines)?;
            match messages::receive(&socket)? {
                Some(Come::Message(Message::Kept(kept), _)) => Ok(kept),
                come => Err(messages::unexpected(come.as_ref())),
            }
        })?;
        let socket = Arc::clone(&self.socket);
        let report = move || {
            for one in settled {
                if let Err(error) = messages::send(&socket, &Message::Settled(one), &[]) {
                    tracing::error!(%error, "the successor is not told what calls came to");
                    return;
                }
            }
        };
        std::thread::Builder::new().name("weir-report".to_owned()).spawn(report)?;
        Ok(())
    }
}

/// What it begins with: it can be read as soon as it looks.
fn welcome(running: &Running, socket: &OwnedFd) -> Result<(), String> {
    let program = running.kernel.as_ref().and_then(|kernel| kernel.program());
    let doors = running.doors.lock();
    let doors = doors.as_ref().ok_or("this agent is stopping")?.handed();
    let (names, fds): (Vec<_>, Vec<_>) = doors.into_iter().unzip();
    let names = names.into_iter().map(str::to_owned).collect();
    messages::send(socket, &Message::Welcome { program, names }, &fds)
        .map_err(|error| format!("the listeners cannot be handed over: {error}"))
}

/// By the process that has kept what this one gave up; by this one where it had nothing to give up.
fn launch(helper: &Helper, log: Log, socket: OwnedFd) -> io::Result<()> {
    if helper.launch(&socket)? {
        return Ok(());
    }
    let mut launcher = cli::helper::launcher(log, &cli::helper::own_command()?)?;
    launcher.stdin(Stdio::from(socket)).stdout(Stdio::null()).spawn()?.wait()?;
    Ok(())
}
