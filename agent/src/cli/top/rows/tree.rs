//! Processes as a tree: user, then workload (a unit, a container, a program), then process. Each
//! group stands for the sum of what is below it.

use std::collections::{BTreeMap, HashSet};

use super::super::super::Ctx;
use super::super::grid::{Cell, Id, Row, Sort, Tone};
use super::processes::{COLUMNS, NAME, row};
use super::{cost, counted, sized};
use crate::admin::money::Usd;
use crate::admin::processes::ProcessRow;
use crate::llm::usage::NanoUsd;

/// What a group adds up to.
#[derive(Debug, Default, Clone, Copy)]
struct Sum {
    processes: u64,
    conns: u64,
    calls: u64,
    nanos: i64,
    unpriced: u64,
    sent: u64,
    received: u64,
}

impl Sum {
    fn of<'a>(processes: impl IntoIterator<Item = &'a ProcessRow>) -> Self {
        let mut sum = Self::default();
        for process in processes {
            sum.processes += 1;
            sum.calls = sum.calls.saturating_add(process.calls);
            sum.nanos = sum.nanos.saturating_add(process.cost_usd.0.0);
            sum.unpriced = sum.unpriced.saturating_add(process.unpriced_calls);
            for same in &process.connections {
                sum.conns = sum.conns.saturating_add(same.count);
                sum.sent = sum.sent.saturating_add(same.bytes_up);
                sum.received = sum.received.saturating_add(same.bytes_down);
            }
        }
        sum
    }
}

type Workloads<'a> = BTreeMap<&'a str, Vec<&'a ProcessRow>>;

/// All rows that are not folded away, parents before children. A group is shown where any process
/// below it is.
pub(in super::super) fn rows(
    processes: &[ProcessRow],
    ctx: &Ctx,
    (sort, filter): (Sort, &str),
    folded: &HashSet<Id>,
) -> Vec<Row> {
    let needle = filter.to_lowercase();
    let mut users: BTreeMap<&str, Workloads<'_>> = BTreeMap::new();
    for process in processes.iter().filter(|process| row(process, ctx).matches(&needle)) {
        let workloads = users.entry(&process.user).or_default();
        workloads.entry(&process.workload).or_default().push(process);
    }
    let mut rows = Vec::new();
    let tops = users.iter().map(|(user, workloads)| {
        let id = Id::User((*user).to_owned());
        let sum = Sum::of(workloads.values().flatten().copied());
        (group(id, user, sum), (*user, workloads))
    });
    for (mut top, (user, workloads)) in sorted(tops.collect(), sort) {
        let open = mark(&mut top, "", folded);
        rows.push(top);
        if open {
            rows.extend(below(workloads, user, ctx, sort, folded));
        }
    }
    rows
}

fn below(
    workloads: &Workloads<'_>,
    user: &str,
    ctx: &Ctx,
    sort: Sort,
    folded: &HashSet<Id>,
) -> Vec<Row> {
    let groups = workloads.iter().map(|(workload, processes)| {
        let id = Id::Workload { user: user.to_owned(), workload: (*workload).to_owned() };
        (group(id, workload, Sum::of(processes.iter().copied())), processes)
    });
    let mut rows = Vec::new();
    for (mut top, processes) in sorted(groups.collect(), sort) {
        let open = mark(&mut top, "  ", folded);
        rows.push(top);
        if open {
            let leaves = processes.iter().map(|process| (row(process, ctx), *process));
            let leaves = sorted(leaves.collect(), sort);
            let last = leaves.len().saturating_sub(1);
            rows.extend(leaves.into_iter().enumerate().map(|(at, (mut leaf, process))| {
                let branch = if at == last { "└" } else { "├" };
                let program = process.exe.rsplit('/').next().unwrap_or(&process.exe);
                leaf.cells[NAME] = Cell::text(&format!("    {branch} {program}"));
                leaf
            }));
        }
    }
    rows
}

fn sorted<T>(mut rows: Vec<(Row, T)>, sort: Sort) -> Vec<(Row, T)> {
    rows.sort_by(|(a, _), (b, _)| sort.compare(a, b));
    rows
}

/// Puts the mark of a group before its name; whether it is open.
fn mark(row: &mut Row, indent: &str, folded: &HashSet<Id>) -> bool {
    let open = !folded.contains(&row.id);
    let mark = if open { "▾" } else { "▸" };
    let name = format!("{indent}{mark} {}", row.cells[NAME].text);
    row.cells[NAME] = Cell { key: row.cells[NAME].key.clone(), ..Cell::text(&name) };
    open
}

/// The row of a group, in the columns of processes.
fn group(id: Id, name: &str, sum: Sum) -> Row {
    let processes = match sum.processes {
        1 => "1 process".to_owned(),
        many => format!("{many} processes"),
    };
    let mut cells = vec![Cell::absent(""); COLUMNS.len()];
    let figures = [
        (NAME, Cell::text(name)),
        (4, counted(sum.conns)),
        (5, counted(sum.calls)),
        (6, cost(Usd(NanoUsd(sum.nanos)), sum.calls, sum.unpriced)),
        (8, sized(sum.sent)),
        (9, sized(sum.received)),
        (11, Cell::text(&processes).toned(Tone::Faint)),
    ];
    for (at, cell) in figures {
        cells[at] = cell;
    }
    Row { group: true, ..Row::new(id, cells) }
}
