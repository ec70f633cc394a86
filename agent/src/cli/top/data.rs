//! What the agent last said, and no more of it than fits in memory.

use crate::admin::breakers::BreakerRow;
use crate::admin::budgets::BudgetRow;
use crate::admin::calls::{CallDetail, CallRow};
use crate::admin::processes::ProcessRow;
use crate::admin::spend::SpendRow;
use crate::admin::status::Status;
use crate::clock::Now;

/// Rows kept of any table.
pub(super) const MOST: usize = 5_000;

/// One answer.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// When it came.
    pub(super) at: Now,
    /// Everything at a glance.
    pub(super) status: Status,
    /// What the tab that was asked for shows.
    pub(super) part: Part,
}

/// What a tab shows.
#[derive(Debug)]
pub(super) enum Part {
    Processes(Vec<ProcessRow>),
    Models(Vec<SpendRow>),
    Calls(Vec<CallRow>),
    Budgets {
        rows: Vec<BudgetRow>,
        only_uid: Option<u32>,
    },
    Breakers(Vec<BreakerRow>),
    /// The status says it all.
    Health,
}

/// What comes from the background.
#[derive(Debug)]
pub(super) enum News {
    /// An answer.
    Snapshot(Box<Snapshot>),
    /// A call with everything that was done about it, or why there is none.
    Call(Result<Box<CallDetail>, String>),
    /// Nobody answers; why.
    Lost(String),
}

/// The last answers, by tab. `None` until there was one.
#[derive(Debug, Default)]
pub(super) struct Data {
    pub(super) status: Option<Status>,
    pub(super) processes: Option<Vec<ProcessRow>>,
    pub(super) models: Option<Vec<SpendRow>>,
    pub(super) calls: Option<Vec<CallRow>>,
    pub(super) budgets: Option<Vec<BudgetRow>>,
    /// Where budgets were limited to those of one user.
    pub(super) only_uid: Option<u32>,
    pub(super) breakers: Option<Vec<BreakerRow>>,
}

impl Data {
    /// Puts an answer in the place of the one before.
    pub(super) fn take(&mut self, status: Status, part: Part) {
        self.status = Some(status);
        match part {
            Part::Processes(rows) => self.processes = Some(bounded(rows)),
            Part::Models(rows) => self.models = Some(bounded(rows)),
            Part::Calls(rows) => self.calls = Some(bounded(rows)),
            Part::Budgets { rows, only_uid } => {
                self.budgets = Some(bounded(rows));
                self.only_uid = only_uid;
            }
            Part::Breakers(rows) => self.breakers = Some(bounded(rows)),
            Part::Health => {}
        }
    }
}

fn bounded<T>(mut rows: Vec<T>) -> Vec<T> {
    rows.truncate(MOST);
    rows.shrink_to_fit();
    rows
}
