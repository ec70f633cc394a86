//! Single calls, newest first.

use super::super::super::Ctx;
use super::super::super::calls::{SHORT_ID, result};
use super::super::super::text::{maybe_milliseconds, usd};
use super::super::grid::{Cell, Column, Id, Key, Row, Tone};
use super::scaled;
use crate::admin::calls::CallRow;
use crate::record::{Kind, Outcome};

pub(in super::super) const COLUMNS: [Column; 14] = [
    Column::word("TIME", 8, 3),
    Column::name("WORKLOAD", 14, 0),
    Column::name("MODEL", 14, 1),
    Column::word("STAT", 4, 4),
    Column::figure("IN", 6),
    Column::figure("OUT", 7),
    Column::figure("COST", 2),
    Column::figure("TOOK", 5),
    Column::word("ID", 6, 8),
    Column::figure("TTFT", 10),
    Column::word("PROVIDER", 16, 9),
    Column::figure("PID", 11),
    Column::word("USER", 12, 12),
    Column::name("ERROR", 20, 13),
];
/// Where it says when they began.
pub(in super::super) const TIME: usize = 0;

/// One row for each call.
pub(in super::super) fn rows(calls: &[CallRow], ctx: &Ctx) -> Vec<Row> {
    let today = ctx.now.to_zoned(ctx.zone.clone()).date();
    let row = |call: &CallRow| {
        let began = call.started_at.to_zoned(ctx.zone.clone());
        let format = if began.date() == today { "%H:%M:%S" } else { "%d %b" };
        let time = began.strftime(format).to_string();
        Row::new(Id::Call(call.call_id), cells(call, &time))
    };
    calls.iter().map(row).collect()
}

fn cells(call: &CallRow, time: &str) -> Vec<Cell> {
    let llm = call.kind == Kind::Call;
    let tokens = |count: u64| if llm { scaled(count) } else { Cell::absent("-") };
    let model = call.model_served.as_deref().or(call.model.as_deref());
    let id = call.call_id.to_string();
    vec![
        Cell::figure(time, Key::Whole(call.started_at.as_microsecond())),
        Cell::text(&call.workload),
        model.map_or_else(|| Cell::text(&format!("({})", call.operation)), Cell::text),
        Cell::text(&result(call)).toned(tone(call)),
        tokens(call.tokens.sent()),
        tokens(call.tokens.received()),
        match call.cost_usd {
            Some(cost) if llm => Cell::figure(&usd(cost), Key::Whole(cost.0.0)),
            None if llm => Cell::absent("?"),
            _ => Cell::absent("-"),
        },
        span(call.latency_ms, "?"),
        Cell::text(&id[id.len().saturating_sub(SHORT_ID)..]),
        span(call.ttft_ms, "-"),
        Cell::text(&call.provider),
        Cell::figure(&call.pid.to_string(), u64::from(call.pid)),
        Cell::text(&call.user),
        call.error.as_deref().map_or_else(|| Cell::absent(""), Cell::text).toned(Tone::Warning),
    ]
}

fn span(milliseconds: Option<f64>, unknown: &str) -> Cell {
    match milliseconds {
        Some(span) => Cell::figure(&maybe_milliseconds(milliseconds), Key::Real(span)),
        None => Cell::absent(unknown),
    }
}

fn tone(call: &CallRow) -> Tone {
    match (call.outcome, call.status) {
        (None | Some(Outcome::ClientAbort), _) => Tone::Faint,
        (Some(Outcome::Ok), Some(..400) | None) => Tone::Good,
        (Some(Outcome::RateLimited | Outcome::Refused), _) | (_, Some(400..=499)) => Tone::Warning,
        _ => Tone::Bad,
    }
}
