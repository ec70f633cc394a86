//! What is written down of a call's tries, for `weir explain`.

use std::sync::Arc;

use super::Dispatch;
use crate::policy::Barred;
use crate::policy::reliability::{Blocked, Hop, Note, breaker_policy};

/// Why a try can't be made.
pub(super) enum NotReady {
    /// A breaker is open.
    Blocked(Blocked),
    /// What is in the way.
    NoWay(String),
    /// This limit has not enough left for it.
    Uncovered(Arc<str>),
    /// A policy is against it, and has said so.
    Forbidden { policy: Arc<str>, message: String },
}

impl From<Barred> for NotReady {
    fn from(barred: Barred) -> Self {
        match barred {
            Barred::Uncovered(policy) => Self::Uncovered(policy),
            Barred::Forbidden { policy, message } => Self::Forbidden { policy, message },
        }
    }
}

impl NotReady {
    /// In a few words.
    pub(super) fn why(&self) -> String {
        match self {
            Self::Blocked(blocked) => format!("the circuit breaker of {} is open", blocked.breaker),
            Self::NoWay(why) => why.clone(),
            Self::Forbidden { policy, message } => format!("{policy}: {message}"),
            Self::Uncovered(policy) => format!("{policy} has less left than it can come to"),
        }
    }
}

impl Dispatch<'_> {
    /// Notes why a try can't be made, and says it in a few words.
    pub(super) fn not_ready(&mut self, not: &NotReady, action: &str) -> String {
        let why = not.why();
        match not {
            NotReady::Blocked(blocked) => self.blocked(action, blocked),
            NotReady::NoWay(_) => {
                let policy = self.course.policy().map_or_else(|| Arc::from("failover"), Arc::clone);
                let detail = self.of_target(&why);
                self.exchange.decide(&policy, "skip".to_owned(), detail);
            }
            NotReady::Forbidden { .. } => {}
            NotReady::Uncovered(policy) => {
                let detail = self.of_target("another try can come to more than is left");
                self.exchange.decide(policy, action.to_owned(), detail);
            }
        }
        why
    }

    pub(super) fn blocked(&mut self, action: &str, blocked: &Blocked) {
        let Blocked { breaker, reason, retry_after } = blocked;
        let until = match retry_after {
            Some(wait) => format!("for another {} s", wait.as_secs()),
            None => "until it is reset".to_owned(),
        };
        let policy = breaker_policy(breaker);
        self.exchange.decide(&policy, action.to_owned(), format!("open {until}: {reason}"));
    }

    /// The try is one by which an open breaker finds out.
    pub(super) fn probe(&mut self) {
        let Hop { provider, model } = &self.course.target;
        let detail = format!("{provider}/{model} is asked to see whether it works again");
        self.exchange.decide(&breaker_policy(provider), "probe".to_owned(), detail);
    }

    pub(super) fn note(&mut self, notes: Vec<Note>) {
        for Note { policy, action, detail } in notes {
            self.exchange.decide(&policy, action.to_owned(), detail);
        }
    }

    fn of_target(&self, what: &str) -> String {
        let Hop { provider, model } = &self.course.target;
        format!("{provider}/{model}: {what}")
    }
}
