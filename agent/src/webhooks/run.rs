//! One delivery to a webhook, from its acceptance to the end of its callback.

use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::signature::{Tag, hex, unhex};
use crate::llm::usage::{NanoUsd, Usage};
use crate::record::CallId;
use crate::subject::Process;

/// What has become of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It waits for its turn.
    Queued,
    /// Its call is under way.
    Running,
    /// The model answered.
    Ok,
    /// A policy refused the call.
    Refused,
    /// The call failed.
    Failed,
    /// The agent died or stopped during the call, which is not made a second time.
    Interrupted,
}

impl Status {
    /// As metrics, callbacks and the API write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// One delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Identifies it, also to its sender and to the receiver of its callback.
    pub id: Ulid,
    /// When it was accepted.
    pub at: SystemTime,
    /// The webhook's name.
    pub webhook: Arc<str>,
    /// The process that posted it.
    pub poster: Process,
    /// By what the request is known again, in hex.
    pub(super) tag: String,
    /// Until when it is.
    pub(super) known_until: SystemTime,
    /// What has become of it.
    pub status: Status,
    /// When its call was over.
    pub ended_at: Option<SystemTime>,
    /// Its call, where one was made.
    pub call: Option<Called>,
    /// What went wrong, in one line without content or secrets.
    pub error: Option<String>,
    /// The callback, where one is wanted and the call is over.
    pub callback: Option<Callback>,
}

/// The call of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
    /// Its id in the ledger.
    pub call_id: CallId,
    /// Model that answered, or that was asked.
    pub model: Option<Arc<str>>,
    /// Its tokens.
    pub usage: Usage,
    /// What it cost; `None` where that is unknown.
    pub cost: Option<NanoUsd>,
}

/// How the posting of an answer stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callback {
    /// What has become of it.
    pub status: crate::alerts::Status,
    /// Attempts made.
    pub attempts: u32,
    /// Why the last failed attempt did.
    pub error: Option<String>,
    /// When it was delivered or given up.
    pub ended_at: Option<SystemTime>,
}

impl Callback {
    /// One that waits.
    pub(super) fn queued() -> Self {
        let status = crate::alerts::Status::Queued;
        Self { status, attempts: 0, error: None, ended_at: None }
    }
}

impl Run {
    /// A delivery that waits.
    pub(super) fn new(
        (id, at): (Ulid, SystemTime),
        webhook: &Arc<str>,
        poster: Process,
        (tag, known_until): (Tag, SystemTime),
    ) -> Self {
        Self {
            id,
            at,
            webhook: Arc::clone(webhook),
            poster,
            tag: hex(&tag),
            known_until,
            status: Status::Queued,
            ended_at: None,
            call: None,
            error: None,
            callback: None,
        }
    }

    /// By what the request is known again.
    pub(super) fn tag(&self) -> Option<Tag> {
        unhex(&self.tag)
    }
}
