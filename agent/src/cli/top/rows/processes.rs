//! Who talks to providers: one row for each process of the last 24 hours.

use super::super::super::Ctx;
use super::super::super::ps::providers;
use super::super::super::text::elapsed;
use super::super::grid::{Cell, Column, Id, Key, Row, Tone};
use super::{cost, counted, sized};
use crate::admin::processes::{ProcessRow, Word};

pub(in super::super) const COLUMNS: [Column; 12] = [
    Column::figure("PID", 3),
    Column::name("WORKLOAD", 16, 0),
    Column::word("USER", 8, 5),
    Column::word("PROVIDER", 12, 4),
    Column::figure("CONNS", 6),
    Column::figure("CALLS", 2),
    Column::figure("COST", 1),
    Column::word("COVERAGE", 13, 2),
    Column::figure("SENT", 8),
    Column::figure("RECEIVED", 9),
    Column::figure("SEEN", 7),
    Column::name("COMMAND", 20, 10),
];
/// Where it says what they cost.
pub(in super::super) const COST: usize = 6;
/// Where names are.
pub(super) const NAME: usize = 1;

/// One row for each process.
pub(in super::super) fn rows(processes: &[ProcessRow], ctx: &Ctx) -> Vec<Row> {
    processes.iter().map(|process| row(process, ctx)).collect()
}

/// The row of one process.
pub(super) fn row(process: &ProcessRow, ctx: &Ctx) -> Row {
    let conns: u64 = process.connections.iter().map(|same| same.count).sum();
    let sent: u64 = process.connections.iter().map(|same| same.bytes_up).sum();
    let received: u64 = process.connections.iter().map(|same| same.bytes_down).sum();
    Row::new(
        id(process),
        vec![
            Cell::figure(&process.pid.to_string(), u64::from(process.pid)),
            Cell::text(&process.workload),
            Cell::text(&process.user),
            Cell::text(&providers(process)),
            counted(conns),
            counted(process.calls),
            cost(process.cost_usd, process.calls, process.unpriced_calls),
            Cell::text(process.coverage.word()).toned(tone(process.coverage)),
            sized(sent),
            sized(received),
            // Longest ago is the greatest.
            Cell::figure(
                &elapsed(process.last_seen, ctx.now),
                Key::Whole(ctx.now.as_second().saturating_sub(process.last_seen.as_second())),
            ),
            Cell::text(&process.command).toned(Tone::Faint),
        ],
    )
}

/// What stays the same of a process.
pub(in super::super) fn id(process: &ProcessRow) -> Id {
    Id::Process { pid: process.pid, workload: process.workload.clone(), exe: process.exe.clone() }
}

fn tone(coverage: Word) -> Tone {
    match coverage {
        Word::Metered => Tone::Good,
        // As it was asked for.
        Word::Observed | Word::Bypassed => Tone::Plain,
        Word::Untrusted | Word::NeedsRestart | Word::Container | Word::Proxied => Tone::Warning,
    }
}
