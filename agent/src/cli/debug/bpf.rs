//! `weir debug bpf`: what of the agent is in the kernel, as the kernel tells it of the open files of
//! its processes (proc(5), `/proc/PID/fdinfo`).

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::admin::status::Status;
use crate::cli::client::Client;
use crate::cli::table::{Column, Table};
use crate::cli::text::{bytes, clean, count};
use crate::cli::{Ctx, Exit, Fault};

/// Processes looked through: the daemon, the helper, the helper's keeper.
const PROCESSES: usize = 16;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is found.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Found {
    /// Attached programs: by the link's id, the program's and where it is attached.
    links: Vec<Object>,
    programs: Vec<Object>,
    maps: Vec<Object>,
}

/// One object of the kernel's, with what it says of it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Object {
    id: u64,
    #[serde(flatten)]
    fields: BTreeMap<String, String>,
}

pub(super) fn run(args: &Args, ctx: &Ctx) -> anyhow::Result<Exit> {
    let (status, metrics) = ctx.block_on(async {
        let mut client = Client::connect(ctx).await?;
        let status: Status = client.get("/api/status", &()).await?;
        Ok((status, client.text("/metrics").await?))
    })?;
    let mut found = Found::default();
    for pid in family(status.pid) {
        found.look(Path::new(&format!("/proc/{pid}/fdinfo"))).map_err(|error| Fault {
            exit: if error.kind() == std::io::ErrorKind::PermissionDenied {
                Exit::Permission
            } else {
                Exit::Failure
            },
            what: format!("/proc/{pid}/fdinfo: {error}"),
            fix: Some("sudo weir debug bpf".to_owned()),
        })?;
    }
    found.sort();
    let counters = counters(&metrics);
    if args.json {
        ctx.json(&serde_json::json!({
            "schema_version": crate::admin::SCHEMA_VERSION,
            "hooks": status.capabilities, "counters": counters,
            "links": found.links, "programs": found.programs, "maps": found.maps,
        }))?;
        return Ok(Exit::Ok);
    }
    let mut out = ctx.out();
    for hook in &status.capabilities {
        let state = hook.missing.as_deref().filter(|_| !hook.ok).unwrap_or("works");
        writeln!(out, "hook  {:<18} {}", clean(&hook.hook), clean(state))?;
    }
    drop(out);
    show(ctx, ("LINK", &found.links), &["prog_id", "attach_type", "link_type"])?;
    show(ctx, ("PROG", &found.programs), &["prog_type", "prog_tag", "run_cnt", "run_time_ns"])?;
    show(ctx, ("MAP", &found.maps), &["map_type", "key_size", "value_size", "max_entries"])?;
    let memory: u64 = found.programs.iter().chain(&found.maps).filter_map(Object::memory).sum();
    let mut out = ctx.out();
    writeln!(out, "\n{} locked in the kernel", bytes(memory))?;
    for (name, total) in &counters {
        writeln!(out, "{:>12}  {}", count(*total), clean(name))?;
    }
    Ok(Exit::Ok)
}

fn show(
    ctx: &Ctx,
    (title, objects): (&'static str, &[Object]),
    keys: &[&'static str],
) -> anyhow::Result<()> {
    let columns =
        std::iter::once(Column::Figure(title)).chain(keys.iter().map(|key| Column::Word(key)));
    let mut table = Table::new(columns.collect::<Vec<_>>());
    for object in objects {
        let of = |key: &&str| object.fields.get(*key).cloned().unwrap_or_else(|| "-".to_owned());
        let cells = std::iter::once(object.id.to_string()).chain(keys.iter().map(of));
        table.row(cells.collect::<Vec<_>>());
    }
    writeln!(ctx.out())?;
    Ok(ctx.lines(&table.lines(ctx.width))?)
}

impl Found {
    /// Takes down what a process has open.
    fn look(&mut self, fdinfo: &Path) -> std::io::Result<()> {
        for entry in fs::read_dir(fdinfo)?.flatten() {
            // A file may be closed meanwhile.
            if let Ok(text) = fs::read_to_string(entry.path()) {
                self.take(&text);
            }
        }
        Ok(())
    }

    fn take(&mut self, text: &str) {
        let fields: BTreeMap<String, String> = text
            .lines()
            .filter_map(|line| line.split_once(":\t"))
            .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
            .collect();
        // A link names its program, and a program that calls others a map: the order counts.
        for (key, list) in [
            ("link_id", &mut self.links),
            ("map_id", &mut self.maps),
            ("prog_id", &mut self.programs),
        ] {
            if let Some(id) = fields.get(key).and_then(|id| id.parse().ok()) {
                if !list.iter().any(|known| known.id == id) {
                    list.push(Object { id, fields });
                }
                return;
            }
        }
    }

    fn sort(&mut self) {
        for list in [&mut self.links, &mut self.programs, &mut self.maps] {
            list.sort_by_key(|object| object.id);
        }
    }
}

impl Object {
    fn memory(&self) -> Option<u64> {
        self.fields.get("memlock")?.parse().ok()
    }
}

/// A process and all below it.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(pid) = all.get(next).copied().filter(|_| all.len() < PROCESSES) {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        next += 1;
    }
    all
}

/// What the programs count: `NAME{event="…"}` of the kernel half.
fn counters(metrics: &str) -> BTreeMap<String, u64> {
    let of = |line: &str| {
        let (name, rest) =
            line.strip_prefix("weir_capture_events_total{event=\"")?.split_once('"')?;
        let value = rest.rsplit(' ').next()?.parse().ok()?;
        Some((name.to_owned(), value))
    };
    metrics.lines().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_told_apart_and_each_counts_once() {
        let mut found = Found::default();
        for text in [
            "pos:\t0\nlink_type:\tcgroup\nlink_id:\t7\nprog_tag:\tab\nprog_id:\t3\nattach_type:\t10\n",
            "pos:\t0\nprog_type:\t18\nprog_tag:\tab\nmemlock:\t4096\nprog_id:\t3\nrun_cnt:\t5\n",
            "pos:\t0\nmap_type:\t9\nmax_entries:\t100\nmemlock:\t8192\nmap_id:\t4\n",
            "pos:\t0\nmap_type:\t9\nmax_entries:\t100\nmemlock:\t8192\nmap_id:\t4\n",
            "pos:\t0\nflags:\t02\nmnt_id:\t9\n",
        ] {
            found.take(text);
        }
        assert_eq!((found.links.len(), found.programs.len(), found.maps.len()), (1, 1, 1));
        assert_eq!(found.links[0].fields["attach_type"], "10");
        assert_eq!(found.programs[0].memory(), Some(4096));
    }

    #[test]
    fn counters_are_read_from_the_metrics() {
        let text =
            "# TYPE x counter\nweir_capture_events_total{event=\"redirected\"} 12\nother 3\n";
        assert_eq!(counters(text), BTreeMap::from([("redirected".to_owned(), 12)]));
    }

    #[test]
    fn a_family_begins_with_its_first() {
        let own = std::process::id();
        assert_eq!(family(own)[0], own);
    }
}
