//! Policies as lines.

use super::super::text::{clean, count};
use super::super::{Ctx, breaker, budget, usage};
use crate::admin::policies::{Policies, PolicyDetail, PolicyRow};
use crate::cli::table::{Column, Table};
use crate::policy::Enforcement;

/// What stands below figures that nobody acts on.
pub(super) const NOT_ACTING: &str = "policies only decide in this mode";

pub(super) fn list(policies: &Policies, width: u16) -> Vec<String> {
    if policies.rows.is_empty() {
        return vec!["the configuration has no policies".to_owned()];
    }
    let mut table = Table::new([
        Column::Name("POLICY"),
        Column::Word("GOES"),
        Column::Name("SAYS"),
        Column::Figure("PASSED"),
        Column::Figure("ACTED"),
        Column::Figure("WOULD"),
    ]);
    let figure = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), count);
    for row in &policies.rows {
        let star = if row.overridden { "*" } else { "" };
        table.row([
            row.name.clone(),
            format!("{}{star}", row.enforcement),
            row.summary.clone(),
            figure(row.passed),
            figure(row.acted),
            figure(row.shadowed),
        ]);
    }
    let mut lines = table.lines(width);
    let mut notes = Vec::new();
    if policies.rows.iter().any(|row| row.overridden) {
        notes.push("* set by hand, not by the configuration → weir policy reset POLICY".to_owned());
    }
    if !policies.acting {
        notes.push(format!("{NOT_ACTING} → weir mode enforce"));
    }
    if !notes.is_empty() {
        lines.push(String::new());
    }
    lines.extend(notes);
    lines
}

/// What a change came to, in one line; a second says why it may not be seen.
pub(super) fn changed(detail: &PolicyDetail) -> Vec<String> {
    let row = &detail.policy;
    let mut lines = vec![clean(&format!("{}: {}", row.name, goes(row))).into_owned()];
    if !detail.acting && acts(row) {
        lines.push(format!("  ! {NOT_ACTING}"));
        lines.push("    → weir mode enforce".to_owned());
    }
    lines
}

fn acts(row: &PolicyRow) -> bool {
    matches!(row.enforcement.0, Enforcement::Enforce | Enforcement::Canary(_))
}

/// `shadow (set by hand; the configuration says enforce)`.
fn goes(row: &PolicyRow) -> String {
    if row.overridden {
        format!("{} (set by hand; the configuration says {})", row.enforcement, row.configured)
    } else {
        row.enforcement.to_string()
    }
}

pub(super) fn detail(detail: &PolicyDetail, ctx: &Ctx) -> Vec<String> {
    let row = &detail.policy;
    let mut lines = vec![
        format!("policy     {}", row.name),
        format!("about      {}", row.about),
        format!("says       {}", row.summary),
        format!("goes       {}", goes(row)),
    ];
    if row.overridden {
        lines.push(format!("           → weir policy reset {}", row.name));
    }
    if let (Some(passed), Some(acted), Some(would)) = (row.passed, row.acted, row.shadowed) {
        let (passed, acted, would) = (count(passed), count(acted), count(would));
        let text =
            format!("since the start passed {passed}, acted on {acted}, would have on {would}");
        lines.push(format!("calls      {text}"));
    }
    if !detail.acting {
        lines.push(format!("mode       {NOT_ACTING} → weir mode enforce"));
    }
    let mut lines: Vec<String> = lines.iter().map(|line| clean(line).into_owned()).collect();
    let mut section = |rows: Vec<String>| {
        lines.push(String::new());
        lines.extend(rows);
    };
    if !detail.budgets.is_empty() {
        section(budget::table(&detail.budgets, ctx));
    } else if !detail.usage.is_empty() {
        section(usage::table(&detail.usage, ctx));
    }
    if !detail.breakers.is_empty() {
        section(breaker::table(&detail.breakers, ctx));
    }
    lines
}
