//! How the agent itself fares: what `weir status` says, one row for each thing.

use super::super::super::Ctx;
use super::super::super::status::doing;
use super::super::super::text::{count, coverage, date_time, elapsed, milliseconds};
use super::super::grid::{Cell, Column, Id, Row, Tone};
use crate::admin::status::{State, Status};

pub(in super::super) const COLUMNS: [Column; 4] = [
    Column::word("CHECK", 14, 1),
    Column::word("STATE", 11, 0),
    Column::name("WHAT", 20, 2),
    Column::name("FIX", 24, 3),
];

/// Something that is checked.
#[derive(Debug, Clone)]
struct Check {
    name: String,
    state: &'static str,
    tone: Tone,
    what: String,
    fix: Option<String>,
}

impl Check {
    fn new(name: &str, (state, tone): (&'static str, Tone), what: String) -> Self {
        Self { name: name.to_owned(), state, tone, what, fix: None }
    }

    fn fixed_by(self, fix: Option<String>) -> Self {
        Self { fix, ..self }
    }
}

const OK: (&str, Tone) = ("ok", Tone::Good);
const NOTE: (&str, Tone) = ("-", Tone::Plain);
const WARNING: (&str, Tone) = ("warning", Tone::Warning);
const BAD: (&str, Tone) = ("degraded", Tone::Bad);

/// One row for each thing, what is wrong first.
pub(in super::super) fn rows(status: &Status, ctx: &Ctx) -> Vec<Row> {
    let row = |(at, check): (usize, Check)| {
        let cells = vec![
            Cell::text(&check.name),
            Cell::text(check.state).toned(check.tone),
            Cell::text(&check.what),
            check.fix.as_deref().map_or_else(|| Cell::absent(""), Cell::text),
        ];
        Row::new(Id::Check(check.name, at), cells)
    };
    checks(status, ctx).into_iter().enumerate().map(row).collect()
}

/// What a row says, at length.
pub(in super::super) fn detail(status: &Status, ctx: &Ctx, at: usize) -> Option<Vec<String>> {
    let check = checks(status, ctx).into_iter().nth(at)?;
    let mut lines = vec![
        format!("check      {}", check.name),
        format!("state      {}", check.state),
        format!("what       {}", check.what),
    ];
    lines.extend(check.fix.map(|fix| format!("fix        {fix}")));
    Some(lines)
}

fn checks(status: &Status, ctx: &Ctx) -> Vec<Check> {
    let mut checks: Vec<Check> = status
        .warnings
        .iter()
        .map(|warning| {
            let state = if warning.degrades { BAD } else { WARNING };
            Check::new("warning", state, warning.what.clone()).fixed_by(warning.fix.clone())
        })
        .collect();
    checks.extend(agent(status, ctx));
    checks.extend(kernel(status));
    checks.extend(clients(status));
    checks.extend(rules(status));
    checks
}

fn agent(status: &Status, ctx: &Ctx) -> Vec<Check> {
    let up = elapsed(status.since, ctx.now);
    let since = date_time(status.since, &ctx.zone);
    let what = format!(
        "weir {}, {}, pid {}, since {since} (up {up})",
        status.version,
        doing(status),
        status.pid
    );
    let state = match status.state {
        State::Healthy => OK,
        State::Degraded => BAD,
    };
    let mode = &status.mode;
    let reason = mode.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let mode = if mode.wanted == mode.effective {
        Check::new("mode", OK, format!("{}{reason}", mode.effective))
    } else {
        let what = format!("{}, not {}{reason}", mode.effective, mode.wanted);
        Check::new("mode", BAD, what).fixed_by(Some("weir doctor".to_owned()))
    };
    let mut checks = vec![Check::new("agent", state, what), mode];
    if let Some(overhead) = status.overhead {
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a call")]
        let shown = |us: u64| milliseconds(us as f64 / 1e3);
        let (p50, p99) = (shown(overhead.p50_us), shown(overhead.p99_us));
        checks.push(Check::new("added time", NOTE, format!("{p50} p50, {p99} p99")));
    }
    for listener in &status.listeners {
        checks.push(Check::new(&listener.name, NOTE, listener.address.clone()));
    }
    checks
}

fn kernel(status: &Status) -> Vec<Check> {
    let capture = &status.capture;
    let mut checks = vec![match (&capture.reason, capture.on) {
        (_, true) => Check::new("capture", OK, "on".to_owned()),
        (Some(reason), false) => Check::new("capture", WARNING, format!("off: {reason}")),
        (None, false) => Check::new("capture", WARNING, "off".to_owned()),
    }];
    for hook in &status.capabilities {
        let name = format!("hook {}", hook.hook);
        checks.push(if hook.ok {
            Check::new(&name, OK, "works".to_owned())
        } else {
            let missing = hook.missing.as_deref().unwrap_or("does not work here");
            let consequence = hook.consequence.as_deref();
            let consequence = consequence.map(|it| format!(" ({it})")).unwrap_or_default();
            Check::new(&name, WARNING, format!("{missing}{consequence}"))
        });
    }
    let namespaces = &status.namespaces;
    if namespaces.armed > 0 || !namespaces.left_out.is_empty() {
        let mut parts = vec![format!("{} metered", count(namespaces.armed))];
        let left_out = namespaces.left_out.iter();
        parts.extend(left_out.map(|(reason, number)| format!("{} not ({reason})", count(*number))));
        let state = if namespaces.left_out.is_empty() { OK } else { WARNING };
        checks.push(Check::new("containers", state, parts.join(", ")));
    }
    checks
}

fn clients(status: &Status) -> Vec<Check> {
    let trusted = if status.trust.installed { OK } else { WARNING };
    let fix = (!status.trust.installed).then(|| "weir trust install".to_owned());
    let covered = match (status.coverage.metered, status.coverage.total) {
        (_, 0) => NOTE,
        (metered, total) if metered == total => OK,
        _ => WARNING,
    };
    let reasons = status.coverage.reasons.iter();
    let reasons = reasons.map(|reason| format!("{} {}", count(reason.count), reason.reason));
    let what: Vec<String> = std::iter::once(coverage(&status.coverage)).chain(reasons).collect();
    let fix_coverage = (covered == WARNING).then(|| "weir doctor".to_owned());
    vec![
        Check::new("trust", trusted, status.trust.detail.clone()).fixed_by(fix),
        Check::new("coverage", covered, what.join(", ")).fixed_by(fix_coverage),
    ]
}

fn rules(status: &Status) -> Vec<Check> {
    let policies = &status.policies;
    let mut checks = Vec::new();
    if policies.total > 0 {
        let kinds =
            [(policies.shadow, "shadow"), (policies.canary, "canary"), (policies.off, "off")];
        let kinds = kinds.into_iter().filter(|(number, _)| *number > 0);
        let mut what = vec![count(policies.total)];
        what.extend(kinds.map(|(number, kind)| format!("{} {kind}", count(number))));
        if !policies.acting {
            what.push("none acts in this mode".to_owned());
        }
        checks.push(Check::new("policies", NOTE, what.join(", ")));
    }
    for set in &policies.overridden {
        let what = format!(
            "{} is {}, set by hand (configuration: {})",
            set.name, set.enforcement, set.configured
        );
        let undo = format!("weir policy reset {}", set.name);
        checks.push(Check::new("policy", WARNING, what).fixed_by(Some(undo)));
    }
    if status.escalations.open > 0 {
        let what = format!("{} open", count(status.escalations.open));
        let fix = Some("weir escalations list".to_owned());
        checks.push(Check::new("escalated", WARNING, what).fixed_by(fix));
    }
    let prices = status.price_version.as_deref();
    checks.push(match prices {
        Some(version) => Check::new("prices", NOTE, version.to_owned()),
        None => Check::new("prices", WARNING, "there are none".to_owned()),
    });
    checks
}
