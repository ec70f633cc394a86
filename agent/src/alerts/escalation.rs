//! Calls that failed for good, for people to look at: a durable list with a state each.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::journal::{Entry, Journal};
use crate::record::{CallId, Notice};

/// Escalations kept; above it the oldest resolved ones go, then the oldest.
const MOST: usize = 5000;
/// The same trouble within this time of its last occurrence is the same escalation.
const SAME: Duration = Duration::from_mins(10);

/// What has become of an escalation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nobody has looked at it.
    Open,
    /// Somebody is at it.
    Acked,
    /// It is done with.
    Resolved,
}

/// A call that failed for good, and those after it that failed in the same way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// Identifies it.
    pub id: Ulid,
    /// When it first happened.
    pub at: SystemTime,
    /// When it last happened.
    pub last_at: SystemTime,
    /// How often.
    pub count: u64,
    /// The policy behind it.
    pub policy: Arc<str>,
    /// Whose call failed.
    pub subject: Arc<str>,
    /// The user that the call belongs to.
    pub uid: Option<u32>,
    /// The failure class.
    pub class: Option<Arc<str>>,
    /// The latest of the calls.
    pub call_id: Option<CallId>,
    /// What happened the last time.
    pub message: String,
    /// What has become of it.
    pub state: State,
    /// The user that brought it into this state.
    pub by: Option<u32>,
    /// When that was.
    pub changed_at: Option<SystemTime>,
}

impl Escalation {
    fn new(id: Ulid, notice: &Notice) -> Self {
        Self {
            id,
            at: notice.at,
            last_at: notice.at,
            count: 1,
            policy: Arc::clone(&notice.policy),
            subject: Arc::clone(&notice.subject),
            uid: notice.uid,
            class: notice.class.clone(),
            call_id: notice.call_id,
            message: notice.message.clone(),
            state: State::Open,
            by: None,
            changed_at: None,
        }
    }

    /// Whether a notice tells of the same trouble. A wall clock stepped back makes none of it new.
    fn is_same(&self, notice: &Notice) -> bool {
        self.state != State::Resolved
            && (&self.policy, &self.subject, self.uid, &self.class)
                == (&notice.policy, &notice.subject, notice.uid, &notice.class)
            && notice.at.duration_since(self.last_at).unwrap_or_default() < SAME
    }

    fn again(&self, notice: &Notice) -> Self {
        Self {
            last_at: self.last_at.max(notice.at),
            count: self.count.saturating_add(1),
            call_id: notice.call_id.or(self.call_id),
            message: notice.message.clone(),
            ..self.clone()
        }
    }
}

impl Entry for Escalation {
    fn id(&self) -> Ulid {
        self.id
    }

    fn is_over(&self) -> bool {
        self.state == State::Resolved
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Escalations(Journal<Escalation>);

impl Escalations {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Journal::open(path, MOST).map(Self)
    }

    /// Files a notice; whether it is new trouble.
    pub(super) fn take(&mut self, notice: &Notice) -> (bool, io::Result<()>) {
        let known = self.0.iter().rev().find(|known| known.is_same(notice));
        let is_new = known.is_none();
        let entry = known.map_or_else(
            || Escalation::new(self.0.fresh(notice.at), notice),
            |known| known.again(notice),
        );
        (is_new, self.0.put(entry).1)
    }

    /// One user's, or all; oldest first.
    pub(super) fn list(&self, uid: Option<u32>) -> impl Iterator<Item = &Escalation> {
        self.0.iter().filter(move |known| uid.is_none_or(|uid| known.uid == Some(uid)))
    }

    /// Brings one into another state; `None` where there is none with this id.
    pub(super) fn set(
        &mut self,
        id: Ulid,
        state: State,
        (by, at): (Option<u32>, SystemTime),
    ) -> io::Result<Option<Escalation>> {
        let Some(known) = self.0.get(id) else { return Ok(None) };
        let changed = Escalation { state, by, changed_at: Some(at), ..known.clone() };
        self.0.put(changed.clone()).1?;
        Ok(Some(changed))
    }

    /// How many nobody has looked at, of one user or of all.
    pub(super) fn open_ones(&self, uid: Option<u32>) -> u64 {
        self.list(uid).filter(|known| known.state == State::Open).count() as u64
    }
}

/// Calls and escalated calls of the last 24 hours.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// Hour since the epoch, calls, escalated calls; each at its place of the day.
    hours: [(u64, u64, u64); 24],
}

impl Rate {
    /// A call is over.
    pub(super) fn call(&mut self, at: SystemTime) {
        self.hour(at).1 += 1;
    }

    /// A call was escalated.
    pub(super) fn escalated(&mut self, at: SystemTime) {
        self.hour(at).2 += 1;
    }

    /// Calls and escalated calls.
    pub(super) fn totals(&self, now: SystemTime) -> (u64, u64) {
        let now = hour(now);
        let recent = self.hours.iter().filter(|(hour, ..)| now.saturating_sub(*hour) < 24);
        recent.fold((0, 0), |sum, (_, calls, escalated)| (sum.0 + calls, sum.1 + escalated))
    }

    fn hour(&mut self, at: SystemTime) -> &mut (u64, u64, u64) {
        let hour = hour(at);
        let place = &mut self.hours[(hour % 24) as usize];
        if place.0 != hour {
            *place = (hour, 0, 0);
        }
        place
    }
}

fn hour(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / 3600
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::sample;

    fn opened() -> (tempfile::TempDir, Escalations) {
        let dir = tempfile::tempdir().unwrap();
        let escalations = Escalations::open(&dir.path().join("escalations.jsonl")).unwrap();
        (dir, escalations)
    }

    fn later(minutes: u64) -> Notice {
        let notice = sample::escalation("batch");
        Notice { at: notice.at + Duration::from_mins(minutes), ..notice }
    }

    #[test]
    fn the_same_trouble_is_one_escalation_while_it_goes_on() {
        let (dir, mut escalations) = opened();
        let new: Vec<bool> =
            [0, 9, 18, 29].map(|minutes| escalations.take(&later(minutes)).0).to_vec();
        assert_eq!(new, [true, false, false, true]);
        let counts: Vec<u64> = escalations.list(None).map(|known| known.count).collect();
        assert_eq!(counts, [3, 1]);
        assert!(escalations.take(&sample::escalation("other")).0);
        drop(escalations);
        let again = Escalations::open(&dir.path().join("escalations.jsonl")).unwrap();
        assert_eq!(again.list(None).count(), 3);
        assert_eq!(again.open_ones(Some(1000)), 3);
        assert_eq!(again.open_ones(Some(1)), 0);
    }

    #[test]
    fn what_is_resolved_begins_anew() {
        let (_dir, mut escalations) = opened();
        escalations.take(&later(0)).1.unwrap();
        let id = escalations.list(None).next().unwrap().id;
        let acked = escalations.set(id, State::Acked, (Some(7), sample::at())).unwrap().unwrap();
        assert_eq!((acked.state, acked.by), (State::Acked, Some(7)));
        assert!(!escalations.take(&later(1)).0, "somebody is at it");
        escalations.set(id, State::Resolved, (Some(7), sample::at())).unwrap();
        assert!(escalations.take(&later(2)).0);
        assert_eq!(escalations.set(Ulid::nil(), State::Acked, (None, sample::at())).unwrap(), None);
    }

    #[test]
    fn the_rate_is_of_the_last_day() {
        let mut rate = Rate::default();
        let at = |hours: u64| sample::at() + Duration::from_hours(hours);
        for hour in 0..24 {
            rate.call(at(hour));
        }
        rate.escalated(at(0));
        rate.escalated(at(23));
        assert_eq!(rate.totals(at(23)), (24, 2));
        assert_eq!(rate.totals(at(24)), (23, 1));
        rate.call(at(24));
        assert_eq!(rate.totals(at(24)), (24, 1));
        assert_eq!(rate.totals(at(100)), (0, 0));
    }
}
