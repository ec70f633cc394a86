//! What the routes need of the running agent.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::accounts::{AccountRow, FrozenRow};
use super::alerts::Alerts;
use super::analytics::Analytics;
use super::bypass::Bypassing;
use super::calls::{CallDetail, CallQuery, CallRow};
use super::control::Control;
use super::prices::{PriceQuery, Prices, UnknownPriceRow};
use super::processes::{ProcessQuery, ProcessRow};
use super::spend::{Spend, SpendQuery};
use super::status::{CaptureState, ModeState, Status};
use super::upgrade::Upgraded;
use super::upkeep::Upkeep;
use crate::config::Mode;
use crate::record::CallId;

/// Why the agent did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It cannot do that as things are; asking again changes nothing.
    #[error("{what}")]
    Refused {
        /// Why.
        what: String,
        /// What to do first.
        fix: Option<String>,
    },
    /// There is nothing of that name.
    #[error("{what}")]
    NotFound {
        /// What there is not, and what may have been meant.
        what: String,
        /// What shows what there is.
        fix: Option<String>,
    },
    /// It cannot do that now.
    #[error("{0}")]
    Unavailable(String),
}

/// The running agent, as the admin server sees it.
///
/// Methods may block on the ledger: they are called on the blocking pool. `uid` and the `uid` of
/// queries limit the answer to one user's rows; what is returned goes to whoever asked.
pub trait Agent: Alerts + Analytics + Control + Upkeep + Bypassing + Send + Sync + 'static {
    /// Everything at a glance; where `uid` is given, no dollars, workloads or warnings that are
    /// about another user.
    fn status(&self, uid: Option<u32>) -> Result<Status, Failure>;

    /// Whether it serves; the reason why not.
    fn ready(&self) -> Result<(), String>;

    /// A client did what none should (a fixed word), at this listener (another).
    fn fault(&self, listener: &'static str, fault: &'static str);

    /// Metrics in the Prometheus text format.
    fn metrics(&self) -> String;

    /// Calls, tokens and dollars, grouped.
    fn spend(&self, query: &SpendQuery) -> Result<Spend, Failure>;

    /// Single calls, oldest first.
    fn calls(&self, query: &CallQuery) -> Result<Vec<CallRow>, Failure>;

    /// One call with everything done about it; `None` where it is not known.
    fn call(&self, id: CallId) -> Result<Option<CallDetail>, Failure>;

    /// Calls as they end.
    fn subscribe(&self) -> broadcast::Receiver<Arc<CallRow>>;

    /// Who talks to a provider, newest first.
    fn processes(&self, query: &ProcessQuery) -> Result<Vec<ProcessRow>, Failure>;

    /// What models cost.
    fn prices(&self, query: &PriceQuery) -> Result<Prices, Failure>;

    /// Models in use that have no price.
    fn unknown_prices(&self, uid: Option<u32>) -> Result<Vec<UnknownPriceRow>, Failure>;

    /// What providers say of their own limits, of accounts last used by this user.
    fn accounts(&self, uid: Option<u32>) -> Vec<AccountRow>;

    /// Workloads that are frozen.
    fn frozen(&self, uid: Option<u32>) -> Vec<FrozenRow>;

    /// Lets a workload go on; what was frozen of it.
    fn thaw(&self, workload: &str) -> Vec<FrozenRow>;

    /// What is done and what was asked for.
    fn mode(&self) -> ModeState;

    /// Does more or less from now on, also after a restart.
    fn set_mode(&self, mode: Mode) -> Result<ModeState, Failure>;

    /// Starts a successor from the program on disk and hands over to it; where that fails, everything
    /// is as before.
    fn upgrade(&self) -> Result<Upgraded, Failure>;

    /// Begins or ends interception; connections that exist go on.
    fn set_capture(&self, on: bool) -> Result<CaptureState, Failure>;
}
