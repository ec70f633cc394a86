//! Made-up escalations and deliveries.

use agent::admin::alerts::{
    Alerts, Deliveries, DeliveryQuery, DeliveryRow, DeliveryStatus, EscalationQuery,
    EscalationRate, EscalationRow, EscalationState, Escalations,
};
use agent::admin::money::{Tokens, Usd};
use agent::admin::webhooks::{CallbackRow, Inbound, PosterRow, RunQuery, RunRow, RunStatus, Runs};
use agent::admin::{Failure, SCHEMA_VERSION, status};
use agent::llm::usage::NanoUsd;

use super::{Fake, HOSTILE, NOBODY, at, id, visible};

pub(crate) const ESCALATION: &str = "01JD0000000000000000000001";

fn rate(uid: Option<u32>) -> Option<EscalationRate> {
    uid.is_none().then_some(EscalationRate { calls: 412, escalated: 5, rate: Some(0.0121) })
}

pub(super) fn state(uid: Option<u32>) -> status::EscalationState {
    let rate = rate(uid).map(|rate| EscalationRate { escalated: 0, rate: Some(0.0), ..rate });
    status::EscalationState { open: 0, rate }
}

fn escalation(uid: u32, workload: &str) -> EscalationRow {
    EscalationRow {
        id: ESCALATION.to_owned(),
        at: at("2020-01-02T09:42:03Z"),
        last_at: at("2020-01-02T09:50:03Z"),
        count: 1204,
        policy: "failover.gpt-5".to_owned(),
        workload: workload.to_owned(),
        uid: Some(uid),
        class: Some("overloaded".to_owned()),
        call_id: Some(id(1)),
        message: "3 attempts failed".to_owned(),
        state: EscalationState::Open,
        by: None,
        changed_at: None,
    }
}

fn delivery(status: DeliveryStatus, attempts: u32, error: Option<&str>) -> DeliveryRow {
    DeliveryRow {
        id: "01JD0000000000000000000009".to_owned(),
        at: at("2020-01-02T09:42:03Z"),
        channel: "ops".to_owned(),
        topic: "budget_threshold".to_owned(),
        policy: "budgets.code-reviewer".to_owned(),
        subject: HOSTILE.to_owned(),
        message: "82% of the daily budget is spent".to_owned(),
        status,
        attempts,
        error: error.map(str::to_owned),
        ended_at: None,
    }
}

impl Alerts for Fake {
    fn escalations(&self, query: &EscalationQuery) -> Result<Escalations, Failure> {
        let done = EscalationRow { state: EscalationState::Resolved, ..escalation(0, "exe:old") };
        let rows = [(0, escalation(0, HOSTILE)), (NOBODY, escalation(NOBODY, "exe:theirs"))];
        let rows = rows.into_iter().chain(query.all.then_some((0, done)));
        let rows = rows.filter(|(owner, _)| visible(query.uid, *owner)).map(|(_, row)| row);
        let (rows, rate) = (rows.collect(), rate(query.uid));
        Ok(Escalations { schema_version: SCHEMA_VERSION, rows, rate })
    }

    fn set_escalation(
        &self,
        id: &str,
        state: EscalationState,
        by: Option<u32>,
    ) -> Result<Option<EscalationRow>, Failure> {
        let known = id == ESCALATION;
        Ok(known.then(|| EscalationRow { state, by, ..escalation(0, HOSTILE) }))
    }

    fn deliveries(&self, query: &DeliveryQuery) -> Result<Deliveries, Failure> {
        let refused = "the receiver answered 400 Bad Request";
        let rows = vec![
            delivery(DeliveryStatus::Delivered, 1, None),
            delivery(DeliveryStatus::Dead, 8, Some(refused)),
        ];
        let rows = if visible(query.uid, 0) { rows } else { Vec::new() };
        Ok(Deliveries { schema_version: SCHEMA_VERSION, rows })
    }

    fn test_channel(&self, channel: &str) -> Result<DeliveryRow, Failure> {
        match channel {
            "ops" => Ok(delivery(DeliveryStatus::Delivered, 1, None)),
            "down" => Ok(delivery(DeliveryStatus::Queued, 1, Some("the receiver answered 503"))),
            _ => Err(Failure::Refused {
                what: format!("there is no alert channel `{channel}`"),
                fix: None,
            }),
        }
    }
}

impl Inbound for Fake {
    fn runs(&self, query: &RunQuery) -> Result<Runs, Failure> {
        let poster = |uid| PosterRow { pid: 7, exe: "/usr/bin/curl".to_owned(), uid, user: None };
        let callback = |status, error: Option<&str>| CallbackRow {
            status,
            attempts: 2,
            error: error.map(str::to_owned),
            ended_at: None,
        };
        let ok = RunRow {
            id: "01JD0000000000000000000011".to_owned(),
            at: at("2020-01-02T09:40:00Z"),
            webhook: "triage".to_owned(),
            workload: "webhook:triage".to_owned(),
            poster: poster(0),
            status: RunStatus::Ok,
            call_id: Some(id(1)),
            model: Some("gpt-4o-mini".to_owned()),
            tokens: Some(Tokens { input_tokens: 10, ..Tokens::default() }),
            cost_usd: Some(Usd(NanoUsd(14_500_000))),
            error: None,
            callback: Some(callback(DeliveryStatus::Delivered, Some("an earlier failure"))),
            ended_at: None,
        };
        let failed = RunRow {
            id: "01JD0000000000000000000012".to_owned(),
            at: at("2020-01-02T09:50:00Z"),
            poster: poster(NOBODY),
            status: RunStatus::Failed,
            model: None,
            tokens: None,
            cost_usd: None,
            error: Some("\u{1b}[2Jthe answer was 500".to_owned()),
            callback: Some(callback(DeliveryStatus::Dead, Some("the receiver answered 410"))),
            ..ok.clone()
        };
        let rows = [ok, failed].into_iter().filter(|row| visible(query.uid, row.poster.uid));
        Ok(Runs { schema_version: SCHEMA_VERSION, rows: rows.collect() })
    }
}
