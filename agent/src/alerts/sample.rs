//! Notices for tests.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::llm::usage::NanoUsd;
use crate::record::{Finding, Notice, Topic};

/// 2026-11-22T09:00:00Z.
pub(super) fn at() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(498_705)
}

pub(super) fn budget() -> Notice {
    Notice {
        at: at(),
        topic: Topic::BudgetThreshold,
        policy: Arc::from("budgets.code-reviewer"),
        subject: Arc::from("code-reviewer"),
        uid: Some(1000),
        call_id: None,
        message: "82% of the daily budget is spent".to_owned(),
        spent: Some(NanoUsd(8_250_000_000)),
        limit: Some(NanoUsd(10_000_000_000)),
        class: None,
        finding: None,
    }
}

pub(super) fn errors() -> Notice {
    Notice {
        topic: Topic::ErrorBudgetExceeded,
        policy: Arc::from("error_budgets.chat"),
        spent: None,
        limit: None,
        class: Some(Arc::from("server_error")),
        finding: Some(Finding {
            task: Some(Arc::from("chat")),
            measured: "15.0%".to_owned(),
            target: "5%".to_owned(),
        }),
        ..budget()
    }
}

pub(super) fn escalation(subject: &str) -> Notice {
    Notice {
        topic: Topic::Escalation,
        policy: Arc::from("failover.gpt-4o"),
        subject: Arc::from(subject),
        message: "3 attempts failed".to_owned(),
        spent: None,
        limit: None,
        class: Some(Arc::from("overloaded")),
        ..budget()
    }
}
