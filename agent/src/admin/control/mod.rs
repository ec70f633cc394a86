//! What the routes about policies need of the running agent, and those routes.

pub(super) mod routes;

use super::Failure;
use super::breakers::{BreakerRow, Hand};
use super::budgets::{BudgetQuery, BudgetRow};
use super::policies::{PolicyDetail, PolicyRow, Reach};
use super::reload::Reloaded;
use super::trial::{Trial, TrialQuery};
use super::usage::{UsageQuery, UsageRow};

/// The running agent's policies, as the admin server sees them.
///
/// As with [`Agent`](super::Agent), methods may block, and the `uid` of queries limits the answer
/// to what counts for one user alone.
pub trait Control {
    /// Whether policies act, or only decide.
    fn acting(&self) -> bool;

    /// All policies.
    fn policies(&self) -> Vec<PolicyRow>;

    /// One policy with how its subjects stand; `None` where there is none of this name.
    fn policy(&self, name: &str) -> Option<PolicyDetail>;

    /// Changes how far a policy goes, from the next call on and after a restart too; `None` gives
    /// it back to the configuration. False where there is none of this name.
    fn set_policy(&self, name: &str, reach: Option<Reach>) -> Result<bool, Failure>;

    /// Reads the configuration again and takes it over, whole or not at all.
    fn reload(&self) -> Reloaded;

    /// What would be said of a call.
    fn test(&self, call: &TrialQuery) -> Result<Trial, Failure>;

    /// What is used of every limit.
    fn usage(&self, query: &UsageQuery) -> Vec<UsageRow>;

    /// How every budget stands.
    fn budgets(&self, query: &BudgetQuery) -> Vec<BudgetRow>;

    /// Every breaker.
    fn breakers(&self) -> Vec<BreakerRow>;

    /// Opens or closes a breaker, and how it is then; `None` where there is none of this name.
    fn set_breaker(&self, name: &str, hand: Hand) -> Option<BreakerRow>;
}
