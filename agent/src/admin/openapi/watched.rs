//! What fails, takes too long or costs too much, and what others posted.

use super::super::watch::{ErrorQuery, Errors, Watch};
use super::super::webhooks::{RunQuery, Runs};
use super::operation::Operation;

pub(super) fn table() -> Vec<Operation> {
    let get = Operation::get;
    vec![
        get("/api/errors", "Why calls failed, and how available providers were.")
            .query::<ErrorQuery>()
            .answers::<Errors>(),
        get("/api/watch", "How error budgets, latencies and spending stand.").answers::<Watch>(),
        get(
            "/api/webhooks/runs",
            "What was posted to the agent's webhooks, and what became of it.",
        )
        .query::<RunQuery>()
        .answers::<Runs>(),
    ]
}
