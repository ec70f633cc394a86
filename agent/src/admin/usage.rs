//! `/api/usage`, `/api/ratelimit/usage`: what is used of every limit, and what is left.

use std::time::SystemTime;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::money::Usd;
use crate::policy::Amount;
use crate::policy::view::UsageView;

/// A count as a number, money as a decimal string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Quantity {
    /// Requests or tokens.
    Count(u64),
    /// Dollars.
    Usd(Usd),
}

impl From<Amount> for Quantity {
    fn from(amount: Amount) -> Self {
        match amount {
            Amount::Count(count) => Self::Count(count),
            Amount::Usd(nanos) => Self::Usd(Usd(nanos)),
        }
    }
}

impl Quantity {
    /// How much of `limit` this is, in percent; 100 of a limit of nothing.
    pub fn percent_of(self, limit: Self) -> f64 {
        let units = |quantity: Self| match quantity {
            Self::Count(count) => i128::from(count),
            Self::Usd(Usd(nanos)) => i128::from(nanos.0),
        };
        percent(units(self), units(limit))
    }
}

/// In percent to the hundredth, rounded down: only what is spent is 100.
pub(super) fn percent(part: i128, whole: i128) -> f64 {
    let hundredths = if whole <= 0 { 10_000 } else { part.max(0) * 10_000 / whole };
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more digits")]
    let shown = hundredths as f64 / 100.0;
    shown
}

/// Which usage; all where nothing is named: the parameters of both routes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UsageQuery {
    /// Of this subject, as rules name it (`batch-agent`, `user:alice`), or of this policy, with or
    /// without what stands before its dot.
    pub subject: Option<String>,
    /// Of this user, by name or id.
    pub user_id: Option<String>,
    /// Only what counts for this user id alone. Set by who asks, never by what is asked.
    #[serde(skip)]
    pub uid: Option<u32>,
}

impl UsageQuery {
    /// Whether a row is one of those asked for.
    pub fn matches(&self, row: &UsageRow) -> bool {
        let of_user = |user: &str| {
            row.subject.strip_prefix("user:") == Some(user)
                || row.uid.is_some_and(|uid| user.parse() == Ok(uid))
        };
        let named = |name: &str| {
            name == row.subject
                || name == row.policy
                || row.policy.split_once('.').is_some_and(|(_, own)| own == name)
                // Who claims a name within a workload is found under it.
                || row.subject.split_once(" in ").is_some_and(|(claimed, _)| claimed == name)
        };
        self.subject.as_deref().is_none_or(named)
            && self.user_id.as_deref().is_none_or(of_user)
            && self.uid.is_none_or(|uid| row.uid == Some(uid))
    }
}

/// What is used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Version of this shape.
    pub schema_version: u32,
    /// Where the answer was limited to what counts for one user alone: that user's id.
    pub only_uid: Option<u32>,
    /// One row for each limit and whom it counts.
    pub rows: Vec<UsageRow>,
}

/// What one subject used of one limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UsageRow {
    /// Whom it counts: `batch-agent`, `user:alice`.
    pub subject: String,
    /// The policy.
    pub policy: String,
    /// The user it belongs to, where it is one's.
    pub uid: Option<u32>,
    /// What is limited, as the configuration names it: `requests_per_minute`.
    pub unit: String,
    /// Used, reservations included.
    pub used: Quantity,
    /// The limit.
    pub limit: Quantity,
    /// What is left.
    pub remaining: Quantity,
    /// Used, in percent of the limit.
    pub used_percent: f64,
    /// When it is empty again; of a sliding window, when the oldest use leaves it.
    pub resets_at: Option<Timestamp>,
}

impl From<UsageView> for UsageRow {
    fn from(view: UsageView) -> Self {
        let used = Quantity::from(view.figure.used);
        let limit = Quantity::from(view.figure.limit);
        Self {
            subject: view.subject.to_string(),
            policy: view.policy.to_string(),
            uid: view.uid,
            unit: view.figure.unit.to_owned(),
            used,
            limit,
            remaining: view.remaining.into(),
            used_percent: used.percent_of(limit),
            resets_at: view.figure.resets_at.map(timestamp),
        }
    }
}

/// Times outside of what a timestamp can hold become its ends.
pub(super) fn timestamp(at: SystemTime) -> Timestamp {
    let end = if at < SystemTime::UNIX_EPOCH { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::try_from(at).unwrap_or(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::usage::NanoUsd;
    use crate::policy::Figure;

    fn row(subject: &str, uid: Option<u32>) -> UsageRow {
        UsageRow::from(UsageView {
            policy: "rate_limits.users".into(),
            subject: subject.into(),
            uid,
            figure: Figure {
                unit: "requests_per_minute",
                used: Amount::Count(2),
                limit: Amount::Count(3),
                resets_at: Some(SystemTime::UNIX_EPOCH),
            },
            remaining: Amount::Count(1),
        })
    }

    #[test]
    fn counts_are_numbers_and_money_is_text() {
        let json = serde_json::to_value(row("user:al", Some(7))).unwrap();
        assert_eq!((&json["used"], &json["remaining"]), (&2.into(), &1.into()));
        assert_eq!(
            (&json["used_percent"], &json["resets_at"]),
            (&66.66.into(), &"1970-01-01T00:00:00Z".into())
        );
        let money = Quantity::from(Amount::Usd(NanoUsd(1_500_000_000)));
        assert_eq!(serde_json::to_string(&money).unwrap(), r#""1.50""#);
        for quantity in [Quantity::Count(3), money] {
            let text = serde_json::to_string(&quantity).unwrap();
            assert_eq!(serde_json::from_str::<Quantity>(&text).unwrap(), quantity);
        }
    }

    #[test]
    fn shares_are_rounded_down_and_nothing_is_spent_at_once() {
        let count = Quantity::Count;
        for (used, limit, percent) in [
            (0, 5, 0.0),
            (1, 3, 33.33),
            (9999, 10_000, 99.99),
            (99_999, 100_000, 99.99),
            (7, 5, 140.0),
            (0, 0, 100.0),
        ] {
            assert!(
                (count(used).percent_of(count(limit)) - percent).abs() < 1e-9,
                "{used}/{limit}"
            );
        }
        assert!(count(u64::MAX).percent_of(count(1)) > 100.0);
    }

    #[test]
    fn a_user_is_found_by_name_and_id_and_sees_no_one_else() {
        let query = |subject: Option<&str>, user: Option<&str>, uid| UsageQuery {
            subject: subject.map(str::to_owned),
            user_id: user.map(str::to_owned),
            uid,
        };
        let al = row("user:al", Some(7));
        let job = row("batch-agent", None);
        assert!(query(None, None, None).matches(&job));
        assert!(query(Some("user:al"), None, None).matches(&al));
        assert!(query(Some("rate_limits.users"), None, None).matches(&al));
        assert!(query(Some("users"), None, None).matches(&al));
        assert!(!query(Some("al"), None, None).matches(&al));
        let claimed = row("planner in unit:agents.service", None);
        assert!(query(Some("planner"), None, None).matches(&claimed));
        assert!(!query(Some("agents"), None, None).matches(&claimed));
        assert!(query(None, Some("al"), None).matches(&al));
        assert!(query(None, Some("7"), None).matches(&al));
        assert!(!query(None, Some("batch-agent"), None).matches(&job));
        assert!(query(None, None, Some(7)).matches(&al));
        assert!(!query(None, None, Some(8)).matches(&al));
        // What counts for more than one user is none of one user's business.
        assert!(!query(None, None, Some(7)).matches(&job));
        assert!(!query(None, Some("al"), Some(8)).matches(&al));
    }
}
