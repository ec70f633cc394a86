//! Spend: figures summed by the numbers of subject and shape in the database, and by name here,
//! so that one query serves every grouping and sums stay exact.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use rusqlite::{Connection, Row, params};

use crate::ledger::store::parse;
use crate::record::{Billing, Kind, Outcome, UsageSource};

use super::coverage::{Tally, connections};
use super::known::Known;
use super::query::{Dimension, SpendQuery};
use super::range::Range;
use super::rows::{SpendRow, Unpriced};
use super::sums::{Sum, sums};

const WHO: &str = "SELECT id, pid, exe, uid, user, workload, unit, container, app FROM subject
    WHERE id = ?";

const WHAT: &str =
    "SELECT provider, coalesce(model, model_served), environment, team, kind, outcome,
    usage_source, billing FROM shape WHERE id = ?";

/// What calls of one subject and shape came to that failed alike, or did not.
pub(super) struct Spent {
    pub(super) who: Rc<Who>,
    what: Rc<What>,
    pub(super) sum: Sum,
}

/// What dimensions and sums need of a shape.
struct What {
    provider: String,
    model: Option<String>,
    environment: String,
    team: Option<String>,
    kind: Kind,
    outcome: Option<Outcome>,
    usage_source: UsageSource,
    billing: Billing,
}

/// What dimensions need of a subject.
pub(super) struct Who {
    pub(super) id: i64,
    pid: u32,
    exe: String,
    uid: u32,
    user: Option<String>,
    workload: String,
    unit: Option<String>,
    container: Option<String>,
    app: Option<String>,
}

impl What {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            provider: row.get(0)?,
            model: row.get(1)?,
            environment: row.get(2)?,
            team: row.get(3)?,
            kind: parse(row.get_ref(4)?.as_str()?).unwrap_or(Kind::Opaque),
            outcome: row.get_ref(5)?.as_str_or_null()?.and_then(parse),
            usage_source: parse(row.get_ref(6)?.as_str()?).unwrap_or(UsageSource::Unknown),
            billing: parse(row.get_ref(7)?.as_str()?).unwrap_or(Billing::Unknown),
        })
    }
}

impl Spent {
    /// LLM calls that are over.
    pub(super) fn calls(&self) -> u64 {
        let counts = self.what.kind == Kind::Call && self.what.outcome.is_some();
        if counts { self.sum.calls } else { 0 }
    }

    /// Calls whose cost is not known although they may have had one.
    pub(super) fn unpriced(&self) -> u64 {
        let What { kind, usage_source, outcome, .. } = &*self.what;
        let free = *kind == Kind::Request || *usage_source == UsageSource::None;
        if free || outcome.is_none() { 0 } else { self.sum.calls.saturating_sub(self.sum.priced) }
    }

    fn failed(&self) -> bool {
        match self.what.outcome {
            Some(
                Outcome::UpstreamError
                | Outcome::RateLimited
                | Outcome::StreamError
                | Outcome::ConnectError
                | Outcome::UpstreamCut
                | Outcome::Internal
                | Outcome::Lost,
            ) => true,
            Some(Outcome::Ok | Outcome::ClientAbort | Outcome::Refused) | None => false,
        }
    }
}

impl Who {
    /// From the first columns of a row.
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            pid: row.get(1)?,
            exe: row.get(2)?,
            uid: row.get(3)?,
            user: row.get(4)?,
            workload: row.get(5)?,
            unit: row.get(6)?,
            container: row.get(7)?,
            app: row.get(8)?,
        })
    }

    fn process(&self) -> String {
        let name = self.exe.rsplit('/').next().filter(|it| !it.is_empty());
        format!("{}[{}]", name.unwrap_or(&self.workload), self.pid)
    }

    fn user(&self) -> String {
        self.user.clone().unwrap_or_else(|| self.uid.to_string())
    }

    /// A dimension's value, which for those that are not about the subject is asked for elsewhere.
    fn value(
        &self,
        dimension: Dimension,
        elsewhere: impl FnOnce() -> Option<String>,
    ) -> Option<String> {
        match dimension {
            Dimension::Workload => Some(self.workload.clone()),
            Dimension::Process => Some(self.process()),
            Dimension::User => Some(self.user()),
            Dimension::Unit => self.unit.clone(),
            Dimension::Container => self.container.clone(),
            Dimension::App => self.app.clone(),
            Dimension::Team | Dimension::Provider | Dimension::Model | Dimension::Environment => {
                elsewhere()
            }
        }
    }
}

/// What the calls of a range came to: of one user and one workload, or all.
pub(super) fn spent(
    connection: &Connection,
    range: Range,
    (uid, workload): (Option<u32>, Option<&str>),
) -> rusqlite::Result<Vec<Spent>> {
    let mut who = Known::new(connection.prepare_cached(WHO)?, Who::read);
    let mut what = Known::new(connection.prepare_cached(WHAT)?, What::read);
    let mut spent = Vec::new();
    for sum in sums(connection, range)? {
        let Some(who) = who.get(sum.subject)? else { continue };
        let is_meant = uid.is_none_or(|uid| who.uid == uid)
            && workload.is_none_or(|workload| who.workload == workload);
        if is_meant && let Some(what) = what.get(sum.shape)? {
            spent.push(Spent { who, what, sum });
        }
    }
    Ok(spent)
}

type Key = Vec<Option<String>>;

pub(super) fn spend(
    connection: &Connection,
    query: &SpendQuery,
) -> rusqlite::Result<Vec<SpendRow>> {
    let range = Range::new(query.since, query.until);
    let mut rows = Vec::new();
    for (start, range) in range.buckets(query.bucket, &query.zone, connection)? {
        let mut groups: BTreeMap<Key, SpendRow> = BTreeMap::new();
        let whose = (query.uid, query.workload.as_deref());
        let spent = spent(connection, range, whose)?;
        for spent in spent.iter().filter(|it| it.what.outcome.is_some()) {
            let key = query.by.iter().map(|it| call_value(spent, *it)).collect();
            add(groups.entry(key).or_default(), spent);
        }
        let mut covered = tallies(connection, range, query)?;
        let mut part: Vec<SpendRow> = groups
            .into_iter()
            .map(|(key, mut row)| {
                let calls = row.calls + row.opaque > 0;
                row.coverage = covered
                    .as_mut()
                    .and_then(|all| all.remove(&key).unwrap_or_default().finish(calls).ratio());
                row.keys = query.by.iter().copied().zip(key).collect();
                row.bucket_start = start;
                row
            })
            .collect();
        part.sort_by_key(|it| std::cmp::Reverse((it.cost_usd, it.calls)));
        rows.append(&mut part);
    }
    Ok(rows)
}

pub(super) fn unpriced(
    connection: &Connection,
    range: Range,
    uid: Option<u32>,
) -> rusqlite::Result<Vec<Unpriced>> {
    let mut models: BTreeMap<(String, Option<String>), (u64, u64)> = BTreeMap::new();
    for spent in spent(connection, range, (uid, None))? {
        let calls = spent.unpriced();
        if calls > 0 {
            let What { provider, model, usage_source, .. } = &*spent.what;
            let model = models.entry((provider.clone(), model.clone())).or_default();
            model.0 += calls;
            model.1 += if *usage_source == UsageSource::Unknown { calls } else { 0 };
        }
    }
    let mut rows: Vec<_> = models
        .into_iter()
        .map(|((provider, model), (calls, unknown_usage))| Unpriced {
            provider,
            model,
            calls,
            unknown_usage,
        })
        .collect();
    rows.sort_by_key(|it| std::cmp::Reverse(it.calls));
    Ok(rows)
}

fn call_value(spent: &Spent, dimension: Dimension) -> Option<String> {
    let what = &*spent.what;
    spent.who.value(dimension, || match dimension {
        Dimension::Provider => Some(what.provider.clone()),
        Dimension::Model => what.model.clone(),
        Dimension::Environment => Some(what.environment.clone()),
        Dimension::Team => what.team.clone(),
        _ => None,
    })
}

/// Connections by group, or `None` where they do not know a dimension.
fn tallies(
    connection: &Connection,
    range: Range,
    query: &SpendQuery,
) -> rusqlite::Result<Option<HashMap<Key, Tally>>> {
    let known =
        |it: &Dimension| !matches!(it, Dimension::Model | Dimension::Environment | Dimension::Team);
    if !query.by.iter().all(known) {
        return Ok(None);
    }
    let subjects: HashMap<i64, Who> = connection
        .prepare_cached(
            "SELECT id, pid, exe, uid, user, workload, unit, container, app FROM subject
             WHERE id IN (SELECT subject FROM connection WHERE closed_at >= ?1 AND opened_at < ?2)",
        )?
        .query_map(params![range.from, range.to], Who::read)?
        .map(|who| who.map(|who| (who.id, who)))
        .collect::<Result<_, _>>()?;
    let mut tallies: HashMap<Key, Tally> = HashMap::new();
    for linked in connections(connection, range, query.uid)? {
        let Some(who) = subjects.get(&linked.subject) else { continue };
        if query.workload.as_ref().is_some_and(|workload| *workload != who.workload) {
            continue;
        }
        let value = |it: &Dimension| who.value(*it, || Some(linked.provider.clone()));
        tallies.entry(query.by.iter().map(value).collect()).or_default().add(&linked);
    }
    Ok(Some(tallies))
}

fn add(row: &mut SpendRow, spent: &Spent) {
    let (what, sum) = (&*spent.what, &spent.sum);
    match what.kind {
        Kind::Call => row.calls += sum.calls,
        Kind::Request => row.requests += sum.calls,
        Kind::Opaque => row.opaque += sum.calls,
    }
    let [input, read, short, long, output, reasoning, audio_in, audio_out] = sum.tokens;
    row.input_tokens += input;
    row.cache_read_tokens += read;
    row.cache_write_5m_tokens += short;
    row.cache_write_1h_tokens += long;
    row.output_tokens += output;
    row.reasoning_tokens += reasoning;
    row.audio_input_tokens += audio_in;
    row.audio_output_tokens += audio_out;
    row.cost_usd = row.cost_usd.saturating_add(sum.cost);
    let part = match what.billing {
        Billing::Metered => &mut row.metered_usd,
        Billing::Subscription => &mut row.subscription_usd,
        Billing::Unknown => &mut row.unknown_billing_usd,
    };
    *part = part.saturating_add(sum.cost);
    row.unknown_cost_calls += spent.unpriced();
    if what.usage_source == UsageSource::Estimated {
        row.estimated_calls += sum.calls;
    }
    if spent.failed() {
        row.errors += sum.calls;
    }
}
