//! Deliveries in their turn: each is begun once, and what others have left behind is taken up.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use ulid::Ulid;

use super::call::Reply;
use super::lane::Lane;
use super::run::{Callback, Run, Status};
use super::spool::{Entry, State};
use super::{Counted, Webhooks, callback};
use crate::alerts;

/// Deliveries that are over and remembered; above it the oldest go.
const MOST: usize = 2000;
/// Between two looks for what others have left behind.
const LOOK: Duration = Duration::from_secs(10);

/// What a look has found.
#[derive(Debug, Default)]
struct Found {
    /// Deliveries that wait, and the webhooks they are for.
    queued: Vec<Run>,
    /// Answers to be posted.
    callbacks: Vec<(Run, Bytes)>,
}

impl Webhooks {
    /// Takes up what is there, and from time to time what agents before this one leave behind,
    /// until drained.
    pub async fn run(self: Arc<Self>) {
        let drain = self.means.drain.clone();
        let mut known = HashSet::new();
        loop {
            let looking = Arc::clone(&self);
            let looked = drain.spawn_blocking(move || {
                let found = looking.look(&mut known);
                (known, found)
            });
            let Ok((seen, found)) = looked.await else {
                return tracing::error!("webhooks: a look at what is left behind panicked");
            };
            known = seen;
            match found {
                Ok(found) if !drain.is_signalled() => self.take_up(found),
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "deliveries to webhooks cannot be read"),
            }
            tokio::select! {
                () = drain.signalled() => return,
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Remembers the requests that agents before this one have taken, for before the first one is
    /// answered. Reads files.
    pub fn remember_all(&self) -> io::Result<()> {
        for entry in self.spool.entries()?.iter().filter(|it| it.state != State::Callback) {
            self.remember(entry);
        }
        Ok(())
    }

    /// Looks through all files. `known` are the deliveries whose requests are remembered.
    fn look(&self, known: &mut HashSet<Ulid>) -> io::Result<Found> {
        let mut found = Found::default();
        let entries = self.spool.entries()?;
        for entry in &entries {
            if entry.state != State::Callback && known.insert(entry.id) {
                self.remember(entry);
            }
            match entry.state {
                State::Queued if !self.waiting.lock().contains(&entry.id) => {
                    found.queued.extend(self.spool.read(entry));
                }
                State::Running => found.callbacks.extend(self.interrupted(entry)?),
                State::Callback => {
                    let Some(body) = self.spool.inherit(entry)? else { continue };
                    match self.spool.done(entry.id) {
                        Some(run) if waits(&run) => found.callbacks.push((run, body)),
                        // The agent died between two steps: it was posted, or its delivery is told
                        // as interrupted.
                        _ => self.spool.discard(entry.id, State::Callback)?,
                    }
                }
                State::Queued | State::Done => {}
            }
        }
        let now = self.means.clock.now().wall;
        self.spool.prune(MOST, |run| run.known_until > now)?;
        let there: HashSet<Ulid> = entries.iter().map(|entry| entry.id).collect();
        known.retain(|id| there.contains(id));
        Ok(found)
    }

    /// What was taken before this agent began is known to it as well.
    fn remember(&self, entry: &Entry) {
        let now = self.means.clock.now().wall;
        let Some(run) = self.spool.read(entry).filter(|run| run.known_until > now) else { return };
        if let Some(tag) = run.tag() {
            self.lanes.lock().remember(&run.webhook, (tag, run.known_until), now);
        }
    }

    /// Ends a delivery whose agent died during its call; what is to be told of it.
    fn interrupted(&self, entry: &Entry) -> io::Result<Option<(Run, Bytes)>> {
        if self.spool.inherit(entry)?.is_none() {
            return Ok(None);
        }
        let read = self.spool.done(entry.id).is_none().then(|| self.spool.claimed(entry.id));
        let Some(Some(run)) = read else {
            // It had been over, or cannot be read.
            self.spool.discard(entry.id, State::Running)?;
            return Ok(None);
        };
        let why = "the agent stopped during the call, which is not made a second time";
        let reply = Reply { status: Status::Interrupted, ..Reply::failed(why) };
        tracing::warn!(webhook = &*run.webhook, id = %run.id, "a delivery was interrupted");
        let (run, body) = self.over(run, &reply);
        self.spool.finish(&run, body.as_deref())?;
        Ok(body.map(|body| (run, body)))
    }

    fn take_up(self: &Arc<Self>, found: Found) {
        for run in found.queued {
            // It may have been begun, or scheduled, since it was looked at.
            if !self.waiting.lock().insert(run.id) {
                continue;
            }
            match self.lane(&run.webhook) {
                // Beyond its places too: it was accepted.
                Some(lane) => {
                    let place = lane.place();
                    self.schedule(run.id, lane, place);
                }
                None => self.schedule(run.id, Lane::nobodys(), None),
            }
        }
        for (run, body) in found.callbacks {
            self.post(run, body);
        }
    }

    /// Lets a delivery wait for its turn, in a task of its own.
    pub(super) fn schedule(
        self: &Arc<Self>,
        id: Ulid,
        lane: Lane,
        place: Option<OwnedSemaphorePermit>,
    ) {
        let webhooks = Arc::clone(self);
        self.means.drain.spawn(async move {
            webhooks.turn(id, &lane).await;
            webhooks.waiting.lock().remove(&id);
            drop(place);
        });
    }

    /// One delivery's turn. Where the agent stops before it comes, the delivery stays for the next;
    /// where it stops for good during the call, the next one finds it interrupted.
    async fn turn(self: &Arc<Self>, id: Ulid, lane: &Lane) {
        let Self { means, .. } = &**self;
        let permit = tokio::select! {
            biased;
            () = means.drain.signalled() => return,
            permit = lane.calls.acquire() => permit,
        };
        let Ok(_permit) = permit else { return };
        let claiming = Arc::clone(self);
        let claimed = means.drain.spawn_blocking(move || claiming.spool.claim(id)).await;
        let (run, prompt) = match claimed {
            Ok(Ok(Some(claimed))) => claimed,
            // Another agent was faster.
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(error)) => {
                return tracing::error!(%error, %id, "a delivery to a webhook cannot be begun");
            }
        };
        let reply = match self.definition(&run.webhook) {
            Some(definition) => tokio::select! {
                reply = means.call(&definition, &run.poster, &prompt) => reply,
                () = means.drain.hurried() => return,
            },
            None => Reply::failed("the webhook is no longer configured"),
        };
        let (run, body) = self.over(run, &reply);
        let (finishing, kept, posted) = (Arc::clone(self), run.clone(), body.clone());
        let finish = move || finishing.spool.finish(&kept, posted.as_deref());
        if let Ok(Err(error)) = means.drain.spawn_blocking(finish).await {
            tracing::error!(%error, %id, "how a delivery ended cannot be kept");
        }
        if let Some(body) = body {
            self.post(run, body);
        }
    }

    /// How a delivery ended, and what is to be posted of it.
    fn over(&self, mut run: Run, reply: &Reply) -> (Run, Option<Bytes>) {
        self.count(&run.webhook, Counted::Run, reply.status.word());
        run.status = reply.status;
        run.ended_at = Some(self.means.clock.now().wall);
        run.call.clone_from(&reply.call);
        run.error.clone_from(&reply.error);
        let wanted = self.definition(&run.webhook).is_some_and(|it| it.callback.is_some());
        let body = wanted.then(|| callback::body(&run, reply.content.as_deref()));
        run.callback = body.is_some().then(Callback::queued);
        (run, body)
    }
}

/// Whether an answer has still to be posted.
fn waits(run: &Run) -> bool {
    run.callback.as_ref().is_some_and(|callback| callback.status == alerts::Status::Queued)
}
