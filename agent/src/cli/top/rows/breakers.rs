//! How providers fare, and who may still be asked.

use super::super::super::Ctx;
use super::super::super::breaker::probes;
use super::super::super::text::{count, date_time, elapsed};
use super::super::grid::{Cell, Column, Id, Key, Row, Tone};
use super::counted;
use crate::admin::breakers::{BreakerRow, BreakerState};

pub(in super::super) const COLUMNS: [Column; 8] = [
    Column::name("BREAKER", 16, 0),
    Column::word("STATE", 9, 1),
    Column::word("FOR", 7, 4),
    Column::word("PROBES", 10, 3),
    Column::figure("IN A ROW", 5),
    Column::figure("FAILED", 2),
    Column::figure("OPENED", 6),
    Column::name("REASON", 12, 7),
];

/// One row for each breaker.
pub(in super::super) fn rows(breakers: &[BreakerRow], ctx: &Ctx) -> Vec<Row> {
    let row = |row: &BreakerRow| Row::new(Id::Breaker(row.name.clone()), cells(row, ctx));
    breakers.iter().map(row).collect()
}

fn cells(row: &BreakerRow, ctx: &Ctx) -> Vec<Cell> {
    let tone = match row.state {
        BreakerState::Closed => Tone::Good,
        BreakerState::HalfOpen => Tone::Warning,
        BreakerState::Open => Tone::Bad,
    };
    vec![
        Cell::text(&row.name),
        Cell::text(row.state.word()).toned(tone),
        match row.since {
            Some(since) => {
                let lasts = ctx.now.as_second().saturating_sub(since.as_second());
                Cell::figure(&elapsed(since, ctx.now), Key::Whole(lasts))
            }
            None => Cell::absent("-"),
        },
        Cell::text(&probes(row, ctx.now)),
        counted(row.failures.into()),
        Cell::figure(
            &format!("{}% of {}", row.failure_percent, count(row.calls)),
            u64::from(row.failure_percent),
        ),
        counted(row.opened),
        Cell::text(row.reason.as_deref().unwrap_or_default()),
    ]
}

/// Everything known about a breaker, and what can be done to it.
pub(in super::super) fn detail(row: &BreakerRow, ctx: &Ctx) -> Vec<String> {
    let by_hand = if row.by_hand { ", by hand" } else { "" };
    let mut lines = vec![
        format!("breaker    {}", row.name),
        format!("state      {}{by_hand}", row.state.word()),
    ];
    if let Some(reason) = &row.reason {
        lines.push(format!("why        {reason}"));
    }
    if let Some(since) = row.since {
        let lasts = elapsed(since, ctx.now);
        lines.push(format!("since      {} ({lasts})", date_time(since, &ctx.zone)));
    }
    let (percent, calls) = (row.failure_percent, count(row.calls));
    lines.push(format!("probes     {}", probes(row, ctx.now)));
    lines.push(format!("failed     {percent}% of the {calls} calls in its window"));
    lines.push(format!("in a row   {}", count(row.failures.into())));
    lines.push(format!("opened     {} times since the agent started", count(row.opened)));
    lines.push(match row.state {
        BreakerState::Closed => format!("to open    weir breaker trip {}", row.name),
        _ => format!("to close   weir breaker reset {}", row.name),
    });
    lines
}
