//! Spend: figures summed by the numbers of subject and shape in the database, and by name here,
//! so that one query serves every grouping and sums stay exact.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, Row, params};

use crate::ledger::store::parse;
use crate::llm::usage::NanoUsd;
use crate::record::{Billing, Kind, Outcome, UsageSource};

use super::coverage::{Tally, connections};
use super::query::{Dimension, SpendQuery};
use super::range::Range;
use super::rows::{SpendRow, Unpriced};

const SUMS: &str = "
    SELECT s.id, s.pid, s.exe, s.uid, s.user, s.workload, s.unit, s.container, s.app,
           h.provider, coalesce(h.model, h.model_served), h.environment, h.team,
           h.kind, h.outcome, h.usage_source, h.billing,
           a.*
    FROM (SELECT subject, shape, count(*), count(cost_nanos), coalesce(sum(cost_nanos), 0),
                 sum(input), sum(cache_read), sum(cache_write_5m), sum(cache_write_1h),
                 sum(output), sum(reasoning), sum(audio_input), sum(audio_output),
                 max(started_at)
          FROM call
          WHERE call_id >= ?1 AND call_id <= ?2 AND started_at >= ?3 AND started_at < ?4
          GROUP BY subject, shape) a
    JOIN subject s ON s.id = a.subject
    JOIN shape h ON h.id = a.shape
    WHERE (?5 IS NULL OR s.uid = ?5) AND (?6 IS NULL OR s.workload = ?6)";

/// Sums over calls of one subject and shape.
pub(super) struct Sum {
    pub(super) who: Who,
    pub(super) provider: String,
    pub(super) model: Option<String>,
    pub(super) environment: String,
    team: Option<String>,
    pub(super) kind: Kind,
    pub(super) outcome: Option<Outcome>,
    pub(super) usage_source: UsageSource,
    pub(super) billing: Billing,
    pub(super) count: u64,
    pub(super) priced: u64,
    pub(super) cost: NanoUsd,
    tokens: [u64; 8],
    pub(super) last_at: i64,
}

/// What dimensions need of a subject.
#[derive(Clone)]
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

impl Sum {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let number = |index| row.get::<_, i64>(index).map(i64::unsigned_abs);
        let mut tokens = [0; 8];
        for (index, kind) in tokens.iter_mut().enumerate() {
            *kind = number(22 + index)?;
        }
        Ok(Self {
            who: Who::read(row)?,
            provider: row.get(9)?,
            model: row.get(10)?,
            environment: row.get(11)?,
            team: row.get(12)?,
            kind: parse(row.get_ref(13)?.as_str()?).unwrap_or(Kind::Opaque),
            outcome: row.get_ref(14)?.as_str_or_null()?.and_then(parse),
            usage_source: parse(row.get_ref(15)?.as_str()?).unwrap_or(UsageSource::Unknown),
            billing: parse(row.get_ref(16)?.as_str()?).unwrap_or(Billing::Unknown),
            count: number(19)?,
            priced: number(20)?,
            cost: NanoUsd(row.get(21)?),
            tokens,
            last_at: row.get(30)?,
        })
    }

    /// Calls whose cost is not known although they may have had one.
    pub(super) fn unpriced(&self) -> u64 {
        let free = self.kind == Kind::Request || self.usage_source == UsageSource::None;
        if free || self.outcome.is_none() { 0 } else { self.count - self.priced }
    }

    fn failed(&self) -> bool {
        match self.outcome {
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

/// Sums over the calls of a range, one per subject and shape: of one user and one workload, or all.
pub(super) fn sums(
    connection: &Connection,
    range: Range,
    (uid, workload): (Option<u32>, Option<&str>),
) -> rusqlite::Result<Vec<Sum>> {
    let ids = range.ids(connection)?;
    connection
        .prepare_cached(SUMS)?
        .query_map(params![ids.from, ids.to, range.from, range.to, uid, workload], Sum::read)?
        .collect()
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
        for sum in sums(connection, range, whose)?.iter().filter(|it| it.outcome.is_some()) {
            let key = query.by.iter().map(|it| call_value(sum, *it)).collect();
            add(groups.entry(key).or_default(), sum);
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
    for sum in sums(connection, range, (uid, None))? {
        let calls = sum.unpriced();
        if calls > 0 {
            let model = models.entry((sum.provider, sum.model)).or_default();
            model.0 += calls;
            model.1 += if sum.usage_source == UsageSource::Unknown { calls } else { 0 };
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

fn call_value(sum: &Sum, dimension: Dimension) -> Option<String> {
    sum.who.value(dimension, || match dimension {
        Dimension::Provider => Some(sum.provider.clone()),
        Dimension::Model => sum.model.clone(),
        Dimension::Environment => Some(sum.environment.clone()),
        Dimension::Team => sum.team.clone(),
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

fn add(row: &mut SpendRow, sum: &Sum) {
    match sum.kind {
        Kind::Call => row.calls += sum.count,
        Kind::Request => row.requests += sum.count,
        Kind::Opaque => row.opaque += sum.count,
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
    let part = match sum.billing {
        Billing::Metered => &mut row.metered_usd,
        Billing::Subscription => &mut row.subscription_usd,
        Billing::Unknown => &mut row.unknown_billing_usd,
    };
    *part = part.saturating_add(sum.cost);
    row.unknown_cost_calls += sum.unpriced();
    if sum.usage_source == UsageSource::Estimated {
        row.estimated_calls += sum.count;
    }
    if sum.failed() {
        row.errors += sum.count;
    }
}
