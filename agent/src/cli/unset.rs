//! What is said where there is nothing to show because the configuration sets no limits at all.

use super::Ctx;
use super::client::Client;
use crate::admin::policies::{Policies, PolicyRow};

/// Rules a question is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rules {
    /// What is used of them can be asked.
    Limits,
    /// Budgets alone.
    Budgets,
    /// Everything that can refuse a call by itself.
    All,
}

impl Rules {
    fn has(self, row: &PolicyRow) -> bool {
        let (section, _) = row.name.split_once('.').unwrap_or((&row.name, ""));
        match self {
            Self::Budgets => section == "budgets",
            Self::Limits => matches!(section, "budgets" | "rate_limits"),
            Self::All => {
                ["rate_limits", "budgets", "guardrails", "loop_protection", "unknown_price"]
                    .contains(&section)
            }
        }
    }

    /// What there is none of, and where it would be written.
    fn words(self) -> [&'static str; 2] {
        match self {
            Self::Limits => ["limits or budgets", "rate_limits or budgets"],
            Self::Budgets => ["budgets", "budgets"],
            Self::All => ["limits, budgets or guardrails", "rate_limits, budgets or guardrails"],
        }
    }
}

/// Lines that say so where the agent has no such rule; `None` where it has one.
pub(super) fn lines(rules: Rules, ctx: &Ctx) -> anyhow::Result<Option<Vec<String>>> {
    let policies: Policies =
        ctx.block_on(async { Client::connect(ctx).await?.get("/api/policies", &()).await })?;
    if policies.rows.iter().any(|row| rules.has(row)) {
        return Ok(None);
    }
    let [what, sections] = rules.words();
    Ok(Some(vec![
        format!("no {what} are set"),
        format!("    → add {sections} to the configuration"),
        "    → or take the stock ones for users and teams: profile: standard".to_owned(),
    ]))
}
