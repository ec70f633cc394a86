//! The stock limits of `profile: standard`. What the file says under the same name counts more.

use std::collections::BTreeMap;

use crate::config::amount::{Count, Dollars};
use crate::config::raw::{Raw, RawBudget, RawMatch, RawPer, RawRateLimit};
use crate::llm::usage::NanoUsd;

const USER: &str = "standard-user";
const TEAM: &str = "standard-team";

/// The file's limits, and the stock ones.
pub(super) fn rate_limits(raw: &Raw) -> BTreeMap<String, RawRateLimit> {
    let mut limits = raw.rate_limits.clone();
    if raw.profile.is_some() {
        let user = RawRateLimit {
            requests_per_minute: Some(Count(60)),
            requests_per_hour: Some(Count(1_000)),
            requests_per_day: Some(Count(10_000)),
            tokens_per_day: Some(Count(1_000_000)),
            per: Some(RawPer::User),
            ..RawRateLimit::default()
        };
        let team = RawRateLimit {
            requests_per_day: Some(Count(50_000)),
            tokens_per_day: Some(Count(5_000_000)),
            per: Some(RawPer::Team),
            ..RawRateLimit::default()
        };
        for (name, stock) in [(USER, user), (TEAM, team)] {
            let own = limits.remove(name).unwrap_or_default();
            limits.insert(name.to_owned(), limit_over(own, stock));
        }
    }
    limits
}

/// The file's budgets, and the stock ones.
pub(super) fn budgets(raw: &Raw) -> BTreeMap<String, RawBudget> {
    let mut budgets = raw.budgets.clone();
    if raw.profile.is_some() {
        let stock = |dollars: i64, per| RawBudget {
            daily_limit_usd: Some(Dollars(NanoUsd(dollars * NanoUsd::DOLLAR.0))),
            per: Some(per),
            ..RawBudget::default()
        };
        for (name, stock) in [(USER, stock(100, RawPer::User)), (TEAM, stock(500, RawPer::Team))] {
            let own = budgets.remove(name).unwrap_or_default();
            budgets.insert(
                name.to_owned(),
                RawBudget {
                    daily_limit_usd: own.daily_limit_usd.or(stock.daily_limit_usd),
                    per: own.per.or(stock.per),
                    matching: Some(own.matching.unwrap_or_else(RawMatch::default)),
                    ..own
                },
            );
        }
    }
    budgets
}

fn limit_over(own: RawRateLimit, stock: RawRateLimit) -> RawRateLimit {
    RawRateLimit {
        requests_per_minute: own.requests_per_minute.or(stock.requests_per_minute),
        requests_per_hour: own.requests_per_hour.or(stock.requests_per_hour),
        requests_per_day: own.requests_per_day.or(stock.requests_per_day),
        tokens_per_day: own.tokens_per_day.or(stock.tokens_per_day),
        per: own.per.or(stock.per),
        matching: Some(own.matching.unwrap_or_else(RawMatch::default)),
        ..own
    }
}
