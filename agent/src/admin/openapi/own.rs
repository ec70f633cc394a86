//! What calls, costs and events are asked by.

use super::super::accounts::{Accounts, FrozenWorkloads, SetFrozen};
use super::super::alerts::{
    Deliveries, DeliveryQuery, DeliveryRow, EscalationQuery, EscalationRow, Escalations,
    SetEscalation,
};
use super::super::analytics::{EventQuery, Events, ExportQuery, Span, Summary, WorkloadReport};
use super::super::calls::{CallDetail, CallQuery, Calls};
use super::super::prices::{PriceQuery, Prices, UnknownPrices};
use super::super::processes::{ProcessQuery, Processes};
use super::super::sessions::{NewSession, WhoAmI};
use super::super::spend::{Spend, SpendQuery};
use super::super::stream::StreamQuery;
use super::operation::Operation;

pub(super) fn table() -> Vec<Operation> {
    let (get, put) = (Operation::get, Operation::put);
    vec![
        get("/api/session", "Who one is.").answers::<WhoAmI>().open(),
        Operation::delete("/api/session", "Ends the session that asks for it."),
        Operation::post("/api/sessions", "Makes a session; over the unix socket only.")
            .answers::<NewSession>(),
        get("/api/spend", "Calls, tokens and dollars over a span of time, by anything.")
            .query::<SpendQuery>()
            .answers::<Spend>(),
        get("/api/calls", "Single calls; with `follow` as NDJSON, also as they end.")
            .query::<CallQuery>()
            .answers::<Calls>(),
        get("/api/calls/{id}", "One call with everything that was done about it.")
            .answers::<CallDetail>(),
        get("/api/processes", "Who talks to a provider, and how far that is metered.")
            .query::<ProcessQuery>()
            .answers::<Processes>(),
        get("/api/prices", "What models cost.").query::<PriceQuery>().answers::<Prices>().open(),
        get("/api/prices/unknown", "Models in use that have no price.").answers::<UnknownPrices>(),
        get("/api/analytics/summary", "What calls came to, day by day and compared with before.")
            .query::<Span>()
            .answers::<Summary>(),
        get("/api/analytics/agents/{id}", "One workload: cost, latency, errors, policies, calls.")
            .query::<Span>()
            .answers::<WorkloadReport>(),
        get("/api/analytics/events", "The latest events.")
            .query::<EventQuery>()
            .answers::<Events>(),
        get("/api/analytics/export", "Calls as a file, streamed: JSON (one array) or CSV.")
            .query::<ExportQuery>()
            .answers_as("text/csv"),
        get("/api/events/stream", "Events as they happen, as server-sent events.")
            .query::<StreamQuery>()
            .answers_as("text/event-stream"),
        get("/api/accounts", "What providers say of their own limits.").answers::<Accounts>(),
        get("/api/frozen", "Workloads that a policy has frozen.").answers::<FrozenWorkloads>(),
        put("/api/frozen/{*workload}", "Lets a frozen workload go on.")
            .body::<SetFrozen>()
            .answers::<FrozenWorkloads>(),
        get("/api/escalations", "Calls that failed for good.")
            .query::<EscalationQuery>()
            .answers::<Escalations>(),
        put("/api/escalations/{id}", "Brings an escalation into another state.")
            .body::<SetEscalation>()
            .answers::<EscalationRow>(),
        get("/api/webhooks/history", "What people were told.")
            .query::<DeliveryQuery>()
            .answers::<Deliveries>(),
        put("/api/webhooks/{name}/test", "Sends a channel something to see whether it arrives.")
            .answers::<DeliveryRow>(),
    ]
}
