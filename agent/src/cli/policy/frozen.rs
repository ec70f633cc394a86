//! `weir policy frozen` and `weir policy thaw`: workloads a policy has frozen.

use super::super::client::{Client, encoded};
use super::super::{Ctx, Exit};
use crate::admin::accounts::{FrozenRow, FrozenWorkloads, SetFrozen};
use crate::cli::table::{Column, Table};

pub(super) fn list(json: bool, ctx: &Ctx) -> anyhow::Result<Exit> {
    let frozen: FrozenWorkloads =
        ctx.block_on(async { Client::connect(ctx).await?.get("/api/frozen", &()).await })?;
    show(&frozen, json, ctx)
}

pub(super) fn thaw(workload: &str, json: bool, ctx: &Ctx) -> anyhow::Result<Exit> {
    let path = format!("/api/frozen/{}", encoded(workload));
    let body = SetFrozen { frozen: false };
    let thawed: FrozenWorkloads =
        ctx.block_on(async { Client::connect(ctx).await?.put(&path, &body).await })?;
    if json {
        ctx.json(&thawed)?;
    } else {
        let goes_on =
            |row: &FrozenRow| format!("{} goes on", super::super::text::clean(&row.workload));
        ctx.lines(&thawed.rows.iter().map(goes_on).collect::<Vec<_>>())?;
    }
    Ok(Exit::Ok)
}

fn show(frozen: &FrozenWorkloads, json: bool, ctx: &Ctx) -> anyhow::Result<Exit> {
    if json {
        ctx.json(frozen)?;
        return Ok(Exit::Ok);
    }
    if frozen.rows.is_empty() {
        ctx.lines(&["nothing is frozen".to_owned()])?;
        return Ok(Exit::Ok);
    }
    let mut table = Table::new([
        Column::Name("WORKLOAD"),
        Column::Name("POLICY"),
        Column::Word("SINCE"),
        Column::Name("CGROUP"),
    ]);
    for row in &frozen.rows {
        table.row([
            row.workload.clone(),
            row.policy.clone(),
            format!("{:.0}", row.since),
            row.cgroup.clone(),
        ]);
    }
    ctx.lines(&table.lines(ctx.width))?;
    Ok(Exit::Ok)
}
