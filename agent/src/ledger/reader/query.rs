//! What can be asked.

use std::time::SystemTime;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::record::{CallId, Kind, Outcome};

/// What spend is grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// The workload's name.
    Workload,
    /// One process instance: `NAME[PID]`.
    Process,
    /// The user's name, or the uid where it has none.
    User,
    /// The team the subject belongs to.
    Team,
    /// The provider's name.
    Provider,
    /// The model asked for; the one that answered where none was named.
    Model,
    /// The configuration's environment.
    Environment,
    /// The systemd unit.
    Unit,
    /// The container.
    Container,
    /// The application group.
    App,
}

/// How long each row's stretch of time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bucket {
    /// A calendar day.
    Day,
    /// A calendar week, from Monday.
    Week,
    /// A calendar month.
    Month,
}

/// Which spend, and how grouped.
#[derive(Debug, Clone)]
pub struct SpendQuery {
    /// Calls that started at this time or later.
    pub since: Option<SystemTime>,
    /// Calls that started before this time.
    pub until: Option<SystemTime>,
    /// One row per combination of these; a single row where empty.
    pub by: Vec<Dimension>,
    /// One row per stretch of calendar time too.
    pub bucket: Option<Bucket>,
    /// Where the calendar is.
    pub zone: TimeZone,
    /// Only what this workload spent.
    pub workload: Option<String>,
    /// Only what this user's processes spent.
    pub uid: Option<u32>,
}

impl Default for SpendQuery {
    fn default() -> Self {
        Self {
            since: None,
            until: None,
            by: Vec::new(),
            bucket: None,
            zone: TimeZone::UTC,
            workload: None,
            uid: None,
        }
    }
}

/// Which calls.
#[derive(Debug, Clone, Default)]
pub struct CallQuery {
    /// Calls that started at this time or later.
    pub since: Option<SystemTime>,
    /// Calls that started before this time.
    pub until: Option<SystemTime>,
    /// The latest so many of those that match.
    pub last: Option<usize>,
    /// Of this workload.
    pub workload: Option<String>,
    /// Of the process with this id.
    pub pid: Option<u32>,
    /// Of the user with this name or uid.
    pub user: Option<String>,
    /// Of this team.
    pub team: Option<String>,
    /// To this provider.
    pub provider: Option<String>,
    /// For this model, asked for or served.
    pub model: Option<String>,
    /// Answered with this status.
    pub status: Option<u16>,
    /// Answered with a status of these hundreds: 4 for 400 to 499.
    pub status_class: Option<u16>,
    /// That ended like this.
    pub outcome: Option<Outcome>,
    /// Of this kind.
    pub kind: Option<Kind>,
    /// Only this user's.
    pub uid: Option<u32>,
    /// Only those that ended after this one did, for following; for pages, those that began after it.
    pub after: Option<CallId>,
}
