//! What today went to: one row for each model of each provider.

use super::super::super::text::{calls, count, usd};
use super::super::grid::{Cell, Column, Id, Key, Row, Tone};
use super::{cost, counted, named, scaled};
use crate::admin::money::Usd;
use crate::admin::spend::SpendRow;
use crate::llm::usage::NanoUsd;

pub(in super::super) const COLUMNS: [Column; 12] = [
    Column::name("MODEL", 16, 0),
    Column::word("PROVIDER", 16, 3),
    Column::figure("CALLS", 2),
    Column::figure("IN", 5),
    Column::figure("CACHED", 7),
    Column::figure("OUT", 6),
    Column::figure("COST", 1),
    Column::figure("SHARE", 4),
    Column::figure("ERRORS", 8),
    Column::figure("REASONING", 9),
    Column::figure("UNPRICED", 10),
    Column::figure("ESTIMATED", 11),
];
/// Where it says what they cost.
pub(in super::super) const COST: usize = 6;

/// One row for each model.
pub(in super::super) fn rows(models: &[SpendRow]) -> Vec<Row> {
    let total = models.iter().fold(0_i64, |sum, row| sum.saturating_add(row.cost_usd.0.0));
    models.iter().map(|model| row(model, total)).collect()
}

fn row(model: &SpendRow, total: i64) -> Row {
    let failed = if model.errors > 0 { Tone::Warning } else { Tone::Plain };
    let unpriced = if model.unpriced_calls > 0 { Tone::Warning } else { Tone::Plain };
    Row::new(
        id(model),
        vec![
            named(model.model.as_deref()),
            named(model.provider.as_deref()),
            counted(model.calls),
            scaled(model.tokens.sent()),
            scaled(model.tokens.cached()),
            scaled(model.tokens.received()),
            cost(model.cost_usd, model.calls, model.unpriced_calls),
            share(model.cost_usd.0.0, total),
            counted(model.errors).toned(failed),
            scaled(model.tokens.reasoning_tokens),
            counted(model.unpriced_calls).toned(unpriced),
            counted(model.estimated_calls),
        ],
    )
}

/// What stays the same of a model.
pub(in super::super) fn id(row: &SpendRow) -> Id {
    Id::Model {
        provider: row.provider.clone().unwrap_or_default(),
        model: row.model.clone().unwrap_or_default(),
    }
}

/// In percent of all that is known, rounded down: only everything is 100%.
fn share(part: i64, total: i64) -> Cell {
    if total <= 0 {
        return Cell::absent("-");
    }
    let percent = i128::from(part.max(0)) * 100 / i128::from(total);
    Cell::figure(&format!("{percent}%"), Key::Whole(part))
}

/// Everything known about a model's calls of today.
pub(in super::super) fn detail(row: &SpendRow) -> Vec<String> {
    let tokens = &row.tokens;
    let mut lines = vec![
        format!("model      {}", row.model.as_deref().unwrap_or("-")),
        format!("provider   {}", row.provider.as_deref().unwrap_or("-")),
        format!("today      {}, {} failed", calls(row.calls), count(row.errors)),
        // Exact here: this is where people check the figure.
        format!("cost       ${}", row.cost_usd),
    ];
    if row.subscription_usd.0 > NanoUsd(0) {
        let notional = usd(row.subscription_usd);
        lines.push(format!("           {notional} of it is notional: a subscription pays"));
    }
    if row.unpriced_calls > 0 {
        let unknown = calls(row.unpriced_calls);
        lines.push(format!("           {unknown} of unknown cost not in it → weir price unknown"));
    }
    if let Some(each) = each(row) {
        lines.push(format!("a call     {each} on average, of those with a price"));
    }
    for (kind, number) in [
        ("input", tokens.input_tokens),
        ("cache read", tokens.cache_read_tokens),
        ("cache write 5m", tokens.cache_write_5m_tokens),
        ("cache write 1h", tokens.cache_write_1h_tokens),
        ("output", tokens.output_tokens),
        ("reasoning", tokens.reasoning_tokens),
        ("audio in", tokens.audio_input_tokens),
        ("audio out", tokens.audio_output_tokens),
    ] {
        if number > 0 {
            lines.push(format!("tokens     {kind} {}", count(number)));
        }
    }
    if row.estimated_calls > 0 {
        let estimated = calls(row.estimated_calls);
        lines.push(format!("           {estimated} estimated, because no usage arrived"));
    }
    lines
}

fn each(row: &SpendRow) -> Option<String> {
    let priced = i64::try_from(row.calls.saturating_sub(row.unpriced_calls)).ok()?;
    (priced > 0).then(|| usd(Usd(NanoUsd(row.cost_usd.0.0 / priced))))
}
