//! How long a client may hold a connection without asking for anything.
//!
//! A request's head must come within a limit from its first byte, or a few clients that send a
//! byte now and then would hold every place (slowloris). Between requests a connection may rest
//! for much longer: clients keep connections open to use them again. While a request is being
//! answered nothing is limited here: models think for minutes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// What is waited for, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the first byte of the first request.
    pub first: Duration,
    /// From a head's first byte to its last.
    pub head: Duration,
    /// From one request to the next.
    pub idle: Duration,
}

/// What was waited for in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// The connection's first byte.
    First,
    /// The rest of a head.
    Head,
    /// Another request.
    Next,
}

impl Waited {
    /// One word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::First => "silent",
            Self::Head => "header_timeout",
            Self::Next => "idle",
        }
    }
}

/// Where a connection of HTTP/1.1 stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing has come yet.
    Untouched,
    /// Between two requests, or in the middle of a head.
    Resting,
    /// A request is being answered, and the answer's head can still say anything.
    Asked,
    /// The answer's body is on its way.
    Answered,
}

/// Where a connection stands, as its reads and its answers tell.
#[derive(Debug)]
pub(super) struct Turn {
    began: Instant,
    /// Requests being answered.
    busy: AtomicUsize,
    asked: AtomicBool,
    /// The head of the last request's answer is on its way, and says what it says.
    told: AtomicBool,
    /// When the last answer ended, in milliseconds since `began`.
    rested: AtomicU64,
    /// When the first byte after that came, as `rested` plus one; 0 where none has.
    head: AtomicU64,
}

impl Turn {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            busy: AtomicUsize::new(0),
            asked: AtomicBool::new(false),
            told: AtomicBool::new(false),
            rested: AtomicU64::new(0),
            head: AtomicU64::new(0),
        })
    }

    /// Bytes came from the client.
    pub(super) fn read(&self) {
        if self.busy.load(Relaxed) == 0 && self.head.load(Relaxed) == 0 {
            self.head.store(self.elapsed() + 1, Relaxed);
        }
    }

    /// A request's head is complete; it is being answered for as long as the result lives.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Relaxed);
        self.asked.store(true, Relaxed);
        self.told.store(false, Relaxed);
        self.head.store(0, Relaxed);
        Busy(Arc::clone(self))
    }

    /// The answer's head is complete.
    pub(super) fn tell(&self) {
        self.told.store(true, Relaxed);
    }

    /// What the client is waiting for, or we are.
    pub(super) fn stage(&self) -> Stage {
        match (self.busy.load(Relaxed) > 0, self.told.load(Relaxed)) {
            (true, false) => Stage::Asked,
            (true, true) => Stage::Answered,
            (false, _) if self.asked.load(Relaxed) || self.head.load(Relaxed) > 0 => Stage::Resting,
            (false, _) => Stage::Untouched,
        }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// Until when the client may take, for what; `None` while it is we who take time.
    fn limit(&self, patience: &Patience, heads: bool) -> Option<(Instant, Waited)> {
        if self.busy.load(Relaxed) > 0 {
            return None;
        }
        let at = |millis, more| self.began + Duration::from_millis(millis) + more;
        let (head, rested) = (self.head.load(Relaxed), self.rested.load(Relaxed));
        Some(if head > 0 && heads {
            (at(head - 1, patience.head), Waited::Head)
        } else if self.asked.load(Relaxed) {
            (at(rested, patience.idle), Waited::Next)
        } else {
            (at(0, patience.first), Waited::First)
        })
    }
}

/// A request being answered.
#[derive(Debug)]
pub(super) struct Busy(Arc<Turn>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.rested.store(self.0.elapsed(), Relaxed);
        self.0.busy.fetch_sub(1, Relaxed);
    }
}

/// Resolves when the client has taken too long. To be polled after the connection, in its task:
/// what the connection read decides what is waited for.
#[derive(Debug)]
pub(super) struct Wait {
    turn: Arc<Turn>,
    patience: Patience,
    /// Whether bytes without a request are a head that does not end. Not so in HTTP/2, where
    /// clients keep a resting connection alive with frames.
    heads: bool,
    sleep: Pin<Box<Sleep>>,
}

impl Wait {
    pub(super) fn new(turn: Arc<Turn>, patience: Patience, heads: bool) -> Self {
        let sleep = Box::pin(sleep_until(turn.began + patience.first.min(patience.head)));
        Self { turn, patience, heads, sleep }
    }
}

impl Future for Wait {
    type Output = Waited;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Waited> {
        let this = &mut *self;
        // Only a limit that is nearer than the alarm must move it: one that is farther is seen
        // when the alarm goes off, so a busy connection sets it rarely.
        if let Some((until, _)) = this.turn.limit(&this.patience, this.heads)
            && until < this.sleep.deadline()
        {
            this.sleep.as_mut().reset(until);
        }
        loop {
            ready!(this.sleep.as_mut().poll(cx));
            let now = Instant::now();
            let next = match this.turn.limit(&this.patience, this.heads) {
                Some((until, waited)) if until <= now => return Poll::Ready(waited),
                Some((until, _)) => until,
                None => now + this.patience.head,
            };
            this.sleep.as_mut().reset(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience {
        first: Duration::from_mins(1),
        head: Duration::from_secs(30),
        idle: Duration::from_mins(10),
    };

    async fn pass(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_own_limit() {
        let turn = Turn::new();
        let begun = Instant::now();
        let mut wait = Wait::new(Arc::clone(&turn), PATIENCE, true);
        assert_eq!((&mut wait).await, Waited::First);
        assert_eq!(begun.elapsed(), Duration::from_mins(1));

        let turn = Turn::new();
        let mut wait = Wait::new(Arc::clone(&turn), PATIENCE, true);
        let begun = Instant::now();
        turn.read();
        pass(20).await;
        turn.read();
        assert_eq!((&mut wait).await, Waited::Head, "later bytes buy no time");
        assert_eq!(begun.elapsed(), Duration::from_secs(30));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_takes_as_long_as_it_takes_and_then_the_client_may_rest() {
        let turn = Turn::new();
        let mut wait = Wait::new(Arc::clone(&turn), PATIENCE, true);
        turn.read();
        let busy = turn.begin();
        let answered = tokio::time::timeout(Duration::from_hours(1), &mut wait).await;
        assert!(answered.is_err(), "nothing is waited for but ourselves");
        turn.read();
        drop(busy);
        let rested = Instant::now();
        assert_eq!((&mut wait).await, Waited::Next);
        assert!(rested.elapsed() >= PATIENCE.idle, "{:?}", rested.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn frames_of_http2_are_no_head() {
        let turn = Turn::new();
        let mut wait = Wait::new(Arc::clone(&turn), PATIENCE, false);
        drop(turn.begin());
        turn.read();
        let begun = Instant::now();
        assert_eq!((&mut wait).await, Waited::Next);
        assert!(begun.elapsed() >= PATIENCE.idle);
    }
}
