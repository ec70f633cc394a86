//! What policies, limits, budgets and breakers are asked by.

use super::super::breakers::{BreakerRow, Breakers, SetBreaker};
use super::super::budgets::{BudgetQuery, Budgets};
use super::super::policies::{Policies, PolicyDetail, SetPolicy};
use super::super::trial::{Trial, TrialQuery};
use super::super::usage::{Usage, UsageQuery};
use super::operation::Operation;

pub(super) fn table() -> Vec<Operation> {
    let (get, put) = (Operation::get, Operation::put);
    vec![
        get("/api/policies", "Which rules there are, how far each goes, and how it fared.")
            .answers::<Policies>(),
        get("/api/policies/test", "What would be said of a call that nobody makes.")
            .query::<TrialQuery>()
            .answers::<Trial>(),
        get("/api/policies/{*name}", "One policy with how its subjects stand.")
            .answers::<PolicyDetail>(),
        put("/api/policies/{*name}", "Changes how far a policy goes.")
            .body::<SetPolicy>()
            .answers::<PolicyDetail>(),
        get("/api/usage", "What is used of every limit, and what is left.")
            .query::<UsageQuery>()
            .answers::<Usage>(),
        get("/api/ratelimit/usage", "The same.").query::<UsageQuery>().answers::<Usage>(),
        get("/api/budgets", "What is spent of every budget, and until when it lasts.")
            .query::<BudgetQuery>()
            .answers::<Budgets>(),
        get("/api/breakers", "How providers fare, and who may still be asked.")
            .answers::<Breakers>(),
        get("/api/breakers/{*name}", "One breaker.").answers::<BreakerRow>(),
        put("/api/breakers/{*name}", "Opens or closes a breaker.")
            .body::<SetBreaker>()
            .answers::<BreakerRow>(),
    ]
}
