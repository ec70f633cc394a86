//! What is left of budgets: one row for each budget, whom it counts, and period.

use super::super::super::Ctx;
use super::super::super::budget::{line, whose};
use super::super::super::text::{ahead, date_time, usd};
use super::super::grid::{Cell, Column, Id, Key, Row, Tone};
use crate::admin::budgets::{BudgetRow, Standing};
use crate::admin::money::Usd;

pub(in super::super) const COLUMNS: [Column; 11] = [
    Column::name("BUDGET", 14, 0),
    Column::word("PER", 6, 2),
    Column::figure("SPENT", 3),
    Column::figure("RESERVED", 8),
    Column::figure("LIMIT", 4),
    Column::figure("USED", 1),
    Column::word("STATE", 5, 5),
    Column::word("RUNS OUT", 10, 6),
    Column::word("RESETS", 10, 7),
    Column::word("THEN", 10, 9),
    Column::word("REACH", 10, 10),
];
/// Where it says how much of the limit is used.
pub(in super::super) const USED: usize = 5;
/// Columns of a whole bar.
const BAR: usize = 10;

/// One row for each of them.
pub(in super::super) fn rows(budgets: &[BudgetRow], ctx: &Ctx) -> Vec<Row> {
    let row = |budget: &BudgetRow| Row::new(id(budget), cells(budget, ctx));
    budgets.iter().map(row).collect()
}

/// What stays the same of a budget.
pub(in super::super) fn id(row: &BudgetRow) -> Id {
    Id::Budget {
        policy: row.policy.clone(),
        subject: row.subject.clone(),
        period: row.period.clone(),
    }
}

fn cells(row: &BudgetRow, ctx: &Ctx) -> Vec<Cell> {
    let tone = match row.standing {
        Standing::Ok => Tone::Good,
        Standing::Near => Tone::Warning,
        Standing::Over => Tone::Bad,
    };
    let used = format!("{} {:>4}", bar(row.used_percent), percent(row.used_percent));
    vec![
        Cell::text(&whose(row)),
        Cell::text(&row.period),
        money(row.spent_usd),
        money(row.reserved_usd),
        money(row.limit_usd),
        Cell::figure(&used, Key::Real(row.used_percent)).toned(tone),
        Cell::text(row.standing.word()).toned(tone),
        match row.standing {
            Standing::Over => Cell::figure("spent", Key::Whole(0)),
            _ => time(row.exhausted_at, ctx),
        },
        time(row.resets_at, ctx),
        Cell::text(&row.action),
        Cell::text(&row.enforcement.to_string()),
    ]
}

fn money(amount: Usd) -> Cell {
    Cell::figure(&usd(amount), Key::Whole(amount.0.0))
}

fn time(at: Option<jiff::Timestamp>, ctx: &Ctx) -> Cell {
    match at {
        Some(time) => Cell::figure(&ahead(at, ctx.now), Key::Whole(time.as_second())),
        None => Cell::absent("-"),
    }
}

/// `84%`, rounded down.
fn percent(used: f64) -> String {
    format!("{:.0}%", used.floor())
}

/// `########--`: signs that every terminal has, full only where nothing is left.
fn bar(percent: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between nothing and ten"
    )]
    let full = (percent / 10.0).floor().clamp(0.0, 10.0) as usize;
    format!("{}{}", "#".repeat(full), "-".repeat(BAR - full))
}

/// What `weir budget check` says, and the rest of it.
pub(in super::super) fn detail(row: &BudgetRow, ctx: &Ctx) -> Vec<String> {
    let mut lines = vec![
        format!("budget     {}", row.policy),
        format!("whose      {}", row.subject),
        format!("verdict    {}", line(row, ctx)),
        // Exact here: this is where people check the figures.
        format!("spent      ${} of ${} per {}", row.spent_usd, row.limit_usd, row.period),
        format!("reserved   ${} by calls in flight", row.reserved_usd),
        format!("left       ${}", row.remaining_usd),
    ];
    let times =
        [("began", row.began_at), ("runs out", row.exhausted_at), ("resets", row.resets_at)];
    for (word, at) in times {
        if let Some(at) = at {
            lines.push(format!("{word:<10} {}", date_time(at, &ctx.zone)));
        }
    }
    if !row.alert_at_percent.is_empty() {
        let shares: Vec<String> =
            row.alert_at_percent.iter().map(|percent| format!("{percent}%")).collect();
        lines.push(format!("alerts at  {}", shares.join(", ")));
    }
    lines.push(format!("then       {} ({})", row.action, row.enforcement));
    lines
}
