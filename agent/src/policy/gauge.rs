//! How much of one limit one subject has used: settled, reserved, and, where the rule did not act,
//! what went through beyond the limit.

use std::time::{Duration, SystemTime};

use jiff::tz::TimeZone;

use super::budget::Watcher;
use super::calendar::Period;
use super::settings::{Cap, Over, Quantity};
use super::window::Window;

/// What a caller is told to wait where only reservations of running calls are in the way: they
/// mostly come to less, but nobody knows when. For waits of up to [`SURE`] the sure figure is told.
const MEANWHILE: Duration = Duration::from_secs(5);

/// See [`MEANWHILE`]. SDKs of providers follow a `Retry-After` of up to a minute.
const SURE: Duration = Duration::from_mins(1);

/// The time, as gauges are told it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading<'a> {
    /// On the engine's line, in nanoseconds.
    pub(super) at: u64,
    /// By the wall clock.
    pub(super) wall: SystemTime,
    /// Where days begin.
    pub(super) zone: &'a TimeZone,
}

/// Whether something fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It does.
    Now,
    /// It does after so long; where only reservations are in the way, likely after `likely`.
    After { sure: Duration, likely: Duration },
    /// It never does: it is more than the whole limit.
    Never,
}

/// One limit for one subject.
#[derive(Debug, Clone)]
pub(super) struct Gauge {
    pub(super) cap: Cap,
    /// What was let in within the limit, reservations included.
    taken: Account,
    /// What went through beyond it because the rule did not act. Kept apart, so that a rule on
    /// trial refuses on paper what it would refuse in earnest, and no more.
    surplus: Option<Box<Account>>,
    /// Part of both that is reserved by calls that still run.
    reserved: u64,
    /// For budgets of money.
    pub(super) watcher: Option<Box<Watcher>>,
}

/// A part of what a call reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// When it counts.
    pub(super) at: u64,
    pub(super) amount: u64,
}

#[derive(Debug, Clone)]
enum Account {
    Sliding(Window),
    Calendar { period: Period, total: u64 },
}

impl Gauge {
    pub(super) fn new(cap: Cap, is_budget: bool, t: Reading<'_>) -> Self {
        let is_watched = is_budget && cap.of == Quantity::Usd;
        let watcher = is_watched.then(|| Box::new(Watcher::new(cap.over)));
        Self { cap, taken: Account::new(cap.over, t), surplus: None, reserved: 0, watcher }
    }

    /// Lets go of what has left. Comes before anything else.
    pub(super) fn advance(&mut self, t: Reading<'_>) {
        if let Some(surplus) = &mut self.surplus {
            surplus.advance(self.cap.over, t);
            if surplus.sum() == 0 {
                self.surplus = None;
            }
        }
        if self.taken.advance(self.cap.over, t) {
            // What still runs belongs to the period it began in.
            self.reserved = 0;
            if let Some(watcher) = &mut self.watcher {
                watcher.begin_period();
            }
        }
    }

    /// What went through on paper counts for real once the rule acts.
    pub(super) fn act(&mut self) {
        if let Some(surplus) = self.surplus.take() {
            self.taken.absorb(&surplus);
        }
    }

    /// Everything used, reservations included.
    pub(super) fn used(&self) -> u64 {
        self.taken.sum().saturating_add(self.surplus.as_ref().map_or(0, |surplus| surplus.sum()))
    }

    /// As [`Self::used`], without [`Self::advance`].
    pub(super) fn used_at(&self, t: Reading<'_>) -> u64 {
        let surplus = self.surplus.as_ref().map_or(0, |surplus| surplus.sum_at(t));
        self.taken.sum_at(t).saturating_add(surplus)
    }

    /// What running calls have reserved.
    pub(super) fn reserved(&self, t: Reading<'_>) -> u64 {
        if self.taken.is_over(t) { 0 } else { self.reserved }
    }

    /// What settled calls have used.
    pub(super) fn spent(&self) -> u64 {
        self.used().saturating_sub(self.reserved)
    }

    /// What the limit leaves of it, as far as the rule sees, at a position from the present on if
    /// nothing more is used until then.
    pub(super) fn left_at(&self, at: u64) -> u64 {
        let taken = match &self.taken {
            Account::Sliding(window) => window.sum_at(at),
            Account::Calendar { total, .. } => *total,
        };
        self.cap.limit.get().saturating_sub(taken)
    }

    /// Whether `amount` fits. What went through on paper is left out; see [`Self::act`].
    pub(super) fn fit(&self, amount: u64, t: Reading<'_>) -> Fit {
        let limit = self.cap.limit.get();
        // What costs nothing is not held up by what is spent, be it more than the limit.
        let fits = self.taken.sum().saturating_add(amount) <= limit && self.taken.is_free(t);
        if amount == 0 || fits {
            return Fit::Now;
        }
        let wait = match &self.taken {
            Account::Sliding(window) => match window.fits(amount, limit, t.at) {
                Some(from) if from <= t.at => return Fit::Now,
                Some(from) => Duration::from_nanos(from - t.at),
                None => return Fit::Never,
            },
            Account::Calendar { .. } if amount > limit => return Fit::Never,
            Account::Calendar { period, .. } => {
                period.ends.duration_since(t.wall).unwrap_or_default()
            }
        };
        let settled = self.taken.sum().saturating_sub(self.reserved);
        let only_reserved = settled.saturating_add(amount) <= limit;
        // A call that runs stays a call; it only comes to fewer tokens and less money.
        let may_shrink = only_reserved && self.cap.of != Quantity::Requests;
        let likely = if may_shrink && wait > SURE { MEANWHILE } else { wait };
        Fit::After { sure: wait, likely }
    }

    /// Whether a sliding limit could be waited for.
    pub(super) fn is_sliding(&self) -> bool {
        matches!(self.taken, Account::Sliding(_))
    }

    /// Counts a use that is over: one restored from the ledger.
    pub(super) fn count(&mut self, at: u64, amount: u64) {
        self.taken.add(at, amount);
    }

    /// When the calendar period being counted in began and ends.
    pub(super) fn period(&self, t: Reading<'_>) -> Option<Period> {
        match &self.taken {
            Account::Sliding(_) => None,
            Account::Calendar { period, .. } if period.is_over(t.wall, t.at) => {
                Some(Period::of(self.cap.over, t.wall, (t.at, t.zone)))
            }
            Account::Calendar { period, .. } => Some(*period),
        }
    }

    /// When it is empty again; for sliding limits, when the oldest use leaves.
    pub(super) fn resets_at(&self, t: Reading<'_>) -> Option<SystemTime> {
        match &self.taken {
            Account::Calendar { .. } => self.period(t).map(|period| period.ends),
            Account::Sliding(window) => {
                let surplus = self.surplus.as_deref().and_then(|surplus| match surplus {
                    Account::Sliding(window) => window.resets(t.at),
                    Account::Calendar { .. } => None,
                });
                let first = window.resets(t.at).into_iter().chain(surplus).min()?;
                t.wall.checked_add(Duration::from_nanos(first - t.at))
            }
        }
    }

    /// Counts a use and holds it as reserved.
    pub(super) fn reserve(&mut self, part: Part, is_surplus: bool) {
        self.account(is_surplus).add(part.at, part.amount);
        self.reserved = self.reserved.saturating_add(part.amount);
    }

    /// Moves a part of what is reserved to a later place.
    pub(super) fn shift(&mut self, (from, to): (u64, u64), amount: u64, is_surplus: bool) {
        let is_surplus = is_surplus && self.surplus.is_some();
        // Where it has left its window, or its period is over, it counts again: the call still runs.
        match self.account(is_surplus) {
            Account::Sliding(window) => {
                window.remove(from, amount);
                window.add(to, amount);
            }
            Account::Calendar { period, total }
                if from < period.entered && period.entered <= to =>
            {
                *total = total.saturating_add(amount);
                self.reserved = self.reserved.saturating_add(amount);
            }
            Account::Calendar { .. } => {}
        }
    }

    /// Puts what a call came to in the place of what it reserved; returns what is now counted of
    /// it. What is more than reserved counts from now on: its own place may have left already.
    pub(super) fn settle(
        &mut self,
        parts: impl DoubleEndedIterator<Item = Part> + Clone,
        (actual, is_surplus): (u64, bool),
        t: Reading<'_>,
    ) -> u64 {
        if let Account::Calendar { period, .. } = &self.taken {
            // A call belongs to the period it began in, as it does in the ledger.
            let entered = period.entered;
            if parts.clone().next().is_some_and(|first| first.at < entered) {
                let since: u64 =
                    parts.filter(|part| part.at >= entered).map(|part| part.amount).sum();
                self.reserved = self.reserved.saturating_sub(since);
                self.account(is_surplus).remove(t.at, since);
                return 0;
            }
        }
        let reserved: u64 = parts.clone().map(|part| part.amount).sum();
        self.reserved = self.reserved.saturating_sub(reserved);
        let is_surplus = is_surplus && self.surplus.is_some();
        let mut back = reserved.saturating_sub(actual);
        for part in parts.rev() {
            let amount = back.min(part.amount);
            if amount == 0 {
                break;
            }
            self.account(is_surplus).remove(part.at, amount);
            back -= amount;
        }
        if actual > reserved {
            self.account(is_surplus).add(t.at, actual - reserved);
        }
        actual
    }

    /// Whether nothing would be lost by forgetting it.
    pub(super) fn is_idle(&self, t: Reading<'_>) -> bool {
        self.used_at(t) == 0 && self.reserved(t) == 0
    }

    /// Goes on under a limit that has changed.
    pub(super) fn renew(mut self, cap: Cap, is_budget: bool) -> Self {
        self.cap = cap;
        match (&self.watcher, is_budget && cap.of == Quantity::Usd) {
            (None, true) => self.watcher = Some(Box::new(Watcher::new(cap.over))),
            (Some(_), false) => self.watcher = None,
            _ => {}
        }
        self
    }

    fn account(&mut self, is_surplus: bool) -> &mut Account {
        if !is_surplus {
            return &mut self.taken;
        }
        let like = self.taken.empty(self.cap.over);
        self.surplus.get_or_insert_with(|| Box::new(like))
    }
}

impl Account {
    fn new(over: Over, t: Reading<'_>) -> Self {
        match over {
            Over::Sliding(length) => Self::Sliding(Window::new(length)),
            over => Self::Calendar { period: Period::of(over, t.wall, (t.at, t.zone)), total: 0 },
        }
    }

    fn empty(&self, over: Over) -> Self {
        match (self, over) {
            (Self::Sliding(_), Over::Sliding(length)) => Self::Sliding(Window::new(length)),
            (Self::Calendar { period, .. }, _) => Self::Calendar { period: *period, total: 0 },
            (Self::Sliding(window), _) => Self::Sliding(window.clone()),
        }
    }

    /// True where another period began.
    fn advance(&mut self, over: Over, t: Reading<'_>) -> bool {
        match self {
            Self::Sliding(window) => {
                window.advance(t.at);
                false
            }
            Self::Calendar { period, total } => {
                let rolled = period.advance(over, t.wall, (t.at, t.zone));
                if rolled {
                    *total = 0;
                }
                rolled
            }
        }
    }

    fn sum(&self) -> u64 {
        match self {
            Self::Sliding(window) => window.sum(),
            Self::Calendar { total, .. } => *total,
        }
    }

    fn sum_at(&self, t: Reading<'_>) -> u64 {
        match self {
            Self::Sliding(window) => window.sum_at(t.at),
            Self::Calendar { total, .. } => {
                if self.is_over(t) {
                    0
                } else {
                    *total
                }
            }
        }
    }

    fn is_over(&self, t: Reading<'_>) -> bool {
        match self {
            Self::Sliding(_) => false,
            Self::Calendar { period, .. } => period.is_over(t.wall, t.at),
        }
    }

    /// Whether nobody waits in line.
    fn is_free(&self, t: Reading<'_>) -> bool {
        match self {
            Self::Sliding(window) => !window.is_queued(t.at),
            Self::Calendar { .. } => true,
        }
    }

    fn add(&mut self, at: u64, amount: u64) {
        match self {
            Self::Sliding(window) => window.add(at, amount),
            Self::Calendar { total, .. } => *total = total.saturating_add(amount),
        }
    }

    fn remove(&mut self, at: u64, amount: u64) {
        match self {
            Self::Sliding(window) => window.remove(at, amount),
            Self::Calendar { total, .. } => *total = total.saturating_sub(amount),
        }
    }

    fn absorb(&mut self, other: &Self) {
        match (self, other) {
            (Self::Sliding(window), Self::Sliding(other)) => window.absorb(other),
            (Self::Calendar { total, .. }, Self::Calendar { total: other, .. }) => {
                *total = total.saturating_add(*other);
            }
            _ => {}
        }
    }
}
