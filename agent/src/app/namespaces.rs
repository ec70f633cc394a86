//! Which other network namespaces have listeners of ours, and those listeners' life.
//!
//! A namespace is opened when it is found with somebody in it whose containers are metered, or at
//! the latest when such a one connects to a provider; it is closed when nobody lives there any
//! more, for our own listener would keep it alive for ever. Nobody is redirected where there is no
//! listener, so that nothing need be undone when this fails or ends.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;

use super::kernel::ON_THE_WAY;
use crate::capture::origin::Origins;
use crate::capture::{Capture, Inside};
use crate::downstream::accept::{self, Limit};
use crate::downstream::{Front, intercept};
use crate::drain::Drain;
use crate::subject::Subject;

/// Namespaces that are open at a time; each takes four descriptors.
pub(super) const MOST: usize = 128;
/// How often namespaces are looked for, in `/proc`.
const EVERY: Duration = Duration::from_secs(5);
/// When one that could not be opened is tried again.
const AGAIN: Duration = Duration::from_secs(15);
/// Reports not yet seen to; who is not among them is reported again with the next connection.
const REPORTS: usize = 64;
/// Namespaces remembered that could not be opened.
const REFUSED: usize = 1024;

/// The namespaces, and what is known of them.
pub(super) struct Namespaces {
    front: Arc<Front>,
    redirect: watch::Sender<bool>,
    /// Processes that connected where there was no listener, by the cookie of their namespace.
    reported: Mutex<HashMap<u64, Process>>,
    report: Notify,
    standing: Mutex<Standing>,
}

/// Pid and start.
type Process = (u32, u64);

/// How many there are.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    /// With listeners of ours.
    pub(super) open: u64,
    /// That could not be given any, by reason; each try counts.
    pub(super) left_out: BTreeMap<&'static str, u64>,
    /// Those of now, by reason.
    pub(super) closed_to_us: BTreeMap<&'static str, u64>,
}

impl Namespaces {
    pub(super) fn new(front: Arc<Front>) -> Arc<Self> {
        Arc::new(Self {
            front,
            redirect: watch::Sender::new(false),
            reported: Mutex::default(),
            report: Notify::new(),
            standing: Mutex::default(),
        })
    }

    /// Whether connections are redirected at all.
    pub(super) fn redirect(&self, on: bool) {
        self.redirect.send_replace(on);
    }

    /// Somebody connected to a provider in a namespace without a listener.
    pub(super) fn report(&self, netns: u64, subject: &Subject) {
        let wanted = *self.redirect.borrow() && subject.process.verified;
        if !wanted || !self.front.rules.load().containers.meters(subject) {
            return;
        }
        let mut reported = self.reported.lock();
        if reported.len() < REPORTS {
            reported.insert(netns, (subject.process.pid, subject.process.start_ticks));
            self.report.notify_one();
        }
    }

    /// How things stand.
    pub(super) fn standing(&self) -> Standing {
        self.standing.lock().clone()
    }

    /// Opens and closes namespaces as long as the programs of `capture` are attached.
    pub(super) async fn run(self: Arc<Self>, capture: Arc<Capture>, limit: Limit, drain: Drain) {
        let mut redirect = self.redirect.subscribe();
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut open = Open {
            front: &self.front,
            capture,
            limit,
            drain: drain.clone(),
            doors: HashMap::new(),
            refused: HashMap::new(),
            left_out: BTreeMap::new(),
        };
        loop {
            let look = tokio::select! {
                () = drain.signalled() => break,
                _ = tick.tick() => true,
                // The sender is ours.
                _ = redirect.changed() => true,
                () = self.report.notified() => false,
            };
            if *redirect.borrow_and_update() {
                let reported = std::mem::take(&mut *self.reported.lock());
                for (netns, process) in reported {
                    open.open(process, Place::Cookie(netns)).await;
                }
                if look {
                    open.look().await;
                }
            } else if !open.doors.is_empty() {
                tokio::time::sleep(ON_THE_WAY).await;
                open.close(|_door| true);
            }
            open.tell(&mut self.standing.lock());
        }
        // The listeners go with the drain.
        self.standing.lock().open = 0;
    }
}

/// How a namespace is known before it has been entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    Cookie(u64),
    Inode(u64),
}

/// The namespaces that are open while the programs are attached.
struct Open<'a> {
    front: &'a Arc<Front>,
    capture: Arc<Capture>,
    limit: Limit,
    drain: Drain,
    /// By cookie.
    doors: HashMap<u64, Door>,
    /// Those that could not be opened: when to try again, and why not.
    refused: HashMap<Place, (Instant, &'static str)>,
    /// Since the last time this was told.
    left_out: BTreeMap<&'static str, u64>,
}

/// Listeners of ours in a namespace.
struct Door {
    inode: u64,
    /// By which sockets that leave from there are made.
    number: Option<u64>,
    /// Ends them.
    drain: Drain,
}

impl Open<'_> {
    /// Looks for namespaces that nobody lives in any more, and for those where somebody does who is
    /// to be metered.
    async fn look(&mut self) {
        let now = self.front.runtime.clock.mono();
        self.refused.retain(|_place, (again, _reason)| *again > now);
        self.close(|door| door.drain.is_signalled());
        if self.doors.is_empty() && !self.front.rules.load().containers.meters_any() {
            return;
        }
        let (front, capture) = (Arc::clone(self.front), Arc::clone(&self.capture));
        let known: Vec<u64> = self.doors.values().map(|door| door.inode).collect();
        let looking = self.drain.spawn_blocking(move || {
            let inhabited = capture.inhabited()?;
            let lives: Vec<u64> = inhabited.iter().map(|it| it.inode).collect();
            let others = inhabited.iter().filter(|it| !known.contains(&it.inode));
            let wanted: Vec<(u64, Process)> = others
                .filter_map(|it| Some((it.inode, metered_among(&front, &it.pids)?)))
                .collect();
            Some((lives, wanted))
        });
        // Where nothing can be seen, nothing is taken to be empty.
        let Ok(Some((lives, wanted))) = looking.await else { return };
        self.close(|door| !lives.contains(&door.inode));
        for (inode, process) in wanted {
            self.open(process, Place::Inode(inode)).await;
        }
    }

    /// Opens the namespace of a process.
    async fn open(&mut self, process: Process, place: Place) {
        let netns = match place {
            Place::Cookie(netns) if self.doors.contains_key(&netns) => return,
            Place::Cookie(netns) => Some(netns),
            Place::Inode(_) => None,
        };
        if self.refused.contains_key(&place) {
            return;
        }
        if self.doors.len() >= MOST {
            return self.refuse(place, "bound");
        }
        let capture = Arc::clone(&self.capture);
        let entering = self.drain.spawn_blocking(move || capture.enter(process, netns));
        match entering.await {
            Ok(Ok(inside)) => {
                let netns = inside.netns();
                if let Err(error) = self.serve(inside) {
                    tracing::warn!(%error, netns, "no listener in a network namespace");
                    self.refuse(place, "error");
                }
            }
            Ok(Err(error)) => {
                let (pid, _) = process;
                tracing::debug!(%error, pid, "a network namespace stays unmetered");
                self.refuse(place, error.word());
            }
            // It panicked, or the runtime is going down.
            Err(_) => self.refuse(place, "error"),
        }
    }

    fn serve(&mut self, mut inside: Inside) -> io::Result<()> {
        let listeners = inside.take_listeners()?.into_iter().map(TcpListener::from_std);
        let listeners = listeners.collect::<io::Result<Vec<_>>>()?;
        let door =
            Door { inode: inside.inode(), number: inside.elsewhere(), drain: self.drain.child() };
        let netns = inside.netns();
        let origins: Arc<dyn Origins> = Arc::new(inside);
        for listener in listeners {
            self.accept(listener, &origins, &door.drain);
        }
        tracing::info!(netns, inode = door.inode, "a network namespace is metered");
        self.doors.insert(netns, door);
        Ok(())
    }

    fn accept(&self, listener: TcpListener, origins: &Arc<dyn Origins>, drain: &Drain) {
        let (front, origins) = (Arc::clone(self.front), Arc::clone(origins));
        let serve = move |stream, client, permit| {
            let accepted = intercept::Accepted { stream, client, permit };
            intercept::serve(Arc::clone(&front), Arc::clone(&origins), accepted)
        };
        // Who accepts holds a permit while nobody comes. As many as there are namespaces would be
        // missing elsewhere, so each brings one, and takes it away again.
        let permits = Arc::clone(&self.limit.permits);
        permits.add_permits(1);
        let accepting = accept::run(listener, self.limit.clone(), drain.clone(), serve);
        let door = drain.clone();
        drain.spawn(async move {
            accepting.await;
            // Where nobody said so its listener was closed: the namespace is to be entered again.
            door.signal();
            if let Ok(own) = permits.acquire_owned().await {
                own.forget();
            }
        });
    }

    fn close(&mut self, is_over: impl Fn(&Door) -> bool) {
        self.doors.retain(|netns, door| {
            let over = is_over(door);
            if over {
                tracing::info!(netns, inode = door.inode, "a network namespace is left");
                door.drain.signal();
                if let Some(number) = door.number {
                    self.front.upstream.pool.leave(number);
                }
            }
            !over
        });
    }

    fn refuse(&mut self, place: Place, reason: &'static str) {
        *self.left_out.entry(reason).or_default() += 1;
        if reason == "gone" {
            // Whoever lives there now may be let in.
            return;
        }
        if self.refused.len() >= REFUSED {
            self.refused.clear();
        }
        let again = self.front.runtime.clock.mono() + AGAIN;
        self.refused.insert(place, (again, reason));
    }

    fn tell(&mut self, standing: &mut Standing) {
        standing.open = self.doors.len() as u64;
        for (reason, times) in std::mem::take(&mut self.left_out) {
            *standing.left_out.entry(reason).or_default() += times;
        }
        let count = |found: bool| {
            let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
            let refused = self.refused.iter();
            let of_kind = refused.filter(|(at, _)| matches!(at, Place::Inode(_)) == found);
            for (_, (_again, reason)) in of_kind {
                *counts.entry(reason).or_default() += 1;
            }
            counts
        };
        // One that was found and has connected since is known in both ways, and is one.
        standing.closed_to_us = count(true);
        for (reason, number) in count(false) {
            let most = standing.closed_to_us.entry(reason).or_default();
            *most = number.max(*most);
        }
    }
}

/// One of these processes whose connections are to be metered.
fn metered_among(front: &Front, pids: &[u32]) -> Option<Process> {
    let rules = front.rules.load();
    pids.iter().find_map(|pid| {
        let subject = front.identities.of_pid(*pid)?;
        let process = (subject.process.pid, subject.process.start_ticks);
        (subject.process.verified && rules.containers.meters(&subject)).then_some(process)
    })
}
