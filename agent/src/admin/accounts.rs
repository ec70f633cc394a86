//! `GET /api/accounts`: what providers say of their own limits. `GET /api/frozen` and
//! `DELETE /api/frozen/WORKLOAD`: workloads a policy has frozen, and their way back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::record::Billing;

/// `GET /api/accounts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Accounts {
    /// See [`crate::admin::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// One for each limit of each account.
    pub rows: Vec<AccountRow>,
}

/// One of a provider's limits on one account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccountRow {
    /// The provider.
    pub provider: String,
    /// The account, as a keyed hash of its credential.
    pub account: String,
    /// How it is billed.
    pub billing: Billing,
    /// Which limit: `requests`, `tokens`, `input_tokens`, `output_tokens`, `5h`, `7d`, …
    pub kind: String,
    /// The share that is left, 0 to 1.
    pub remaining_ratio: f64,
    /// What is left, where the provider gives numbers.
    pub remaining: Option<u64>,
    /// Of how much.
    pub limit: Option<u64>,
    /// When there is all of it again.
    pub resets_at: Option<Timestamp>,
    /// When the provider said so.
    pub seen_at: Timestamp,
    /// Workload of the call it said so to.
    pub workload: String,
    /// Process of that call.
    pub pid: u32,
    /// User of that call.
    pub uid: u32,
}

/// `GET /api/frozen`, and the answer to `DELETE /api/frozen/WORKLOAD`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrozenWorkloads {
    /// See [`crate::admin::SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Frozen, or let go on.
    pub rows: Vec<FrozenRow>,
}

/// A frozen workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenRow {
    /// Its name.
    pub workload: String,
    /// Whose it is.
    pub uid: u32,
    /// The policy that froze it.
    pub policy: String,
    /// Path of its cgroup.
    pub cgroup: String,
    /// Since when.
    pub since: Timestamp,
}
