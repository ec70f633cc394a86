//! `/api/budgets`: what is spent of every budget, and when it will be spent.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::money::Usd;
use super::policies::Reach;
use super::usage::{percent, timestamp};
use crate::llm::usage::NanoUsd;
use crate::policy::view::BudgetView;

/// From this share on a budget without thresholds of its own is near its limit.
const NEAR: u8 = 80;

/// Which budgets: the parameters of `/api/budgets`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetQuery {
    /// Of this policy: `budgets.code-reviewer`, or without what stands before the dot.
    pub name: Option<String>,
    /// Of this subject.
    pub subject: Option<String>,
    /// Only what counts for this user id alone. Set by who asks, never by what is asked.
    #[serde(skip)]
    pub uid: Option<u32>,
}

impl BudgetQuery {
    /// Whether a budget is one of those asked for.
    pub fn matches(&self, row: &BudgetRow) -> bool {
        let named = |name: &str| row.policy == name || row.name() == name;
        self.name.as_deref().is_none_or(named)
            && self.subject.as_deref().is_none_or(|subject| row.subject == subject)
            && self.uid.is_none_or(|uid| row.uid == Some(uid))
    }
}

/// Budgets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Budgets {
    /// Version of this shape.
    pub schema_version: u32,
    /// Where the answer was limited to what counts for one user alone: that user's id.
    pub only_uid: Option<u32>,
    /// One row for each budget, whom it counts, and period.
    pub rows: Vec<BudgetRow>,
}

/// How a budget stands.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// There is money left.
    Ok,
    /// A threshold is passed.
    Near,
    /// Nothing is left.
    Over,
}

impl Standing {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Near => "near",
            Self::Over => "over",
        }
    }
}

/// One budget for one subject in one period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetRow {
    /// The policy.
    pub policy: String,
    /// Whom it counts.
    pub subject: String,
    /// The user it belongs to, where it is one's.
    pub uid: Option<u32>,
    /// `day`, `month`, `24h`, ….
    pub period: String,
    /// Spent in this period by calls that are over.
    pub spent_usd: Usd,
    /// Reserved by calls in flight.
    pub reserved_usd: Usd,
    /// The limit.
    pub limit_usd: Usd,
    /// What new calls may still cost.
    pub remaining_usd: Usd,
    /// Spent and reserved, in percent of the limit.
    pub used_percent: f64,
    /// Whether it is near or over its limit.
    pub standing: Standing,
    /// When the period began; `null` for rolling ones.
    pub began_at: Option<Timestamp>,
    /// When the next one begins; of a rolling one, when the oldest spend leaves it.
    pub resets_at: Option<Timestamp>,
    /// When it is spent at the present rate, if that is before the period ends.
    pub exhausted_at: Option<Timestamp>,
    /// Percentages at which people are told.
    pub alert_at_percent: Vec<u8>,
    /// What happens when it is spent: `deny`, `downgrade`, `throttle`, `freeze`, `alert`.
    pub action: String,
    /// How far the policy goes.
    pub enforcement: Reach,
}

impl BudgetRow {
    /// The policy's name without what stands before the dot.
    pub fn name(&self) -> &str {
        self.policy.split_once('.').map_or(&*self.policy, |(_, name)| name)
    }
}

impl From<BudgetView> for BudgetRow {
    fn from(view: BudgetView) -> Self {
        let taken = view.spent.saturating_add(view.reserved);
        let left = view.limit.0.saturating_sub(taken.0).max(0);
        let near = view.alert_at.iter().copied().min().unwrap_or(NEAR);
        let used_percent = percent(taken.0.into(), view.limit.0.into());
        let standing = if left == 0 {
            Standing::Over
        } else if used_percent >= f64::from(near) {
            Standing::Near
        } else {
            Standing::Ok
        };
        Self {
            policy: view.policy.to_string(),
            subject: view.subject.to_string(),
            uid: view.uid,
            period: view.period.to_string(),
            spent_usd: Usd(view.spent),
            reserved_usd: Usd(view.reserved),
            limit_usd: Usd(view.limit),
            remaining_usd: Usd(NanoUsd(left)),
            used_percent,
            standing,
            began_at: view.began_at.map(timestamp),
            resets_at: view.resets_at.map(timestamp),
            exhausted_at: view.exhausted_at.map(timestamp),
            alert_at_percent: view.alert_at,
            action: view.action.to_owned(),
            enforcement: Reach(view.enforcement),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Enforcement;

    fn view(spent: i64, reserved: i64, limit: i64, alert_at: &[u8]) -> BudgetView {
        BudgetView {
            policy: "budgets.code-reviewer".into(),
            subject: "code-reviewer".into(),
            uid: None,
            period: "day".into(),
            spent: NanoUsd(spent * NanoUsd::DOLLAR.0),
            reserved: NanoUsd(reserved * NanoUsd::DOLLAR.0),
            limit: NanoUsd(limit * NanoUsd::DOLLAR.0),
            began_at: None,
            resets_at: None,
            exhausted_at: None,
            alert_at: alert_at.to_vec(),
            action: "deny",
            enforcement: Enforcement::Enforce,
        }
    }

    #[test]
    fn a_budget_is_near_from_its_first_threshold_and_over_when_nothing_is_left() {
        for (spent, reserved, alert_at, standing, left) in [
            (0, 0, &[][..], Standing::Ok, "10.00"),
            (7, 0, &[], Standing::Ok, "3.00"),
            (8, 0, &[], Standing::Near, "2.00"),
            (4, 1, &[90, 50], Standing::Near, "5.00"),
            (9, 0, &[95], Standing::Ok, "1.00"),
            (9, 1, &[95], Standing::Over, "0.00"),
            (12, 0, &[], Standing::Over, "0.00"),
        ] {
            let row = BudgetRow::from(view(spent, reserved, 10, alert_at));
            let found = (row.standing, row.remaining_usd.to_string());
            assert_eq!(found, (standing, left.to_owned()), "{spent} {reserved}");
        }
        assert_eq!(BudgetRow::from(view(0, 0, 0, &[])).standing, Standing::Over);
    }

    #[test]
    fn a_budget_goes_by_its_whole_name_and_its_own() {
        let row = BudgetRow::from(view(1, 0, 10, &[]));
        let named =
            |name: &str| BudgetQuery { name: Some(name.to_owned()), ..BudgetQuery::default() };
        assert!(named("budgets.code-reviewer").matches(&row));
        assert!(named("code-reviewer").matches(&row));
        assert!(!named("budgets").matches(&row));
        let other = BudgetQuery { uid: Some(7), ..BudgetQuery::default() };
        assert!(!other.matches(&row), "what is nobody's alone is not shown to one user");
    }
}
