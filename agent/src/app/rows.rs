//! From the ledger's rows to those of the admin API.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::freezer::Frozen;
use crate::admin::accounts::{AccountRow, FrozenRow};
use crate::admin::calls::{AttemptRow, CallDetail, CallQuery, CallRow, DecisionRow, StatusFilter};
use crate::admin::money::{Coverage, Reason, Tokens, Usd};
use crate::admin::processes::{ProcessConnections, ProcessRow, Word};
use crate::admin::spend::{Bucket, Dimension, SpendQuery, SpendRow};
use crate::admin::{SCHEMA_VERSION, prices};
use crate::ledger;
use crate::llm::providers::{Base, Providers};
use crate::llm::quota::Quota;
use crate::pipeline::accounts::Account;
use crate::record::{Treatment, Via};

/// What the ledger is asked for spend.
pub(super) fn spend_query(query: &SpendQuery) -> ledger::SpendQuery {
    ledger::SpendQuery {
        since: query.since.map(SystemTime::from),
        until: query.until.map(SystemTime::from),
        by: query.by.iter().map(|by| dimension(*by)).collect(),
        bucket: query.bucket.map(|bucket| match bucket {
            Bucket::Day => ledger::Bucket::Day,
            Bucket::Week => ledger::Bucket::Week,
            Bucket::Month => ledger::Bucket::Month,
        }),
        zone: query.zone.clone(),
        workload: None,
        uid: query.uid,
    }
}

/// One row of spend; a bucket is named by its first day, a month by itself.
pub(super) fn spend(row: ledger::SpendRow, query: &SpendQuery) -> SpendRow {
    let mut answer = SpendRow {
        period: row.bucket_start.map(|start| {
            let date = start.to_zoned(query.zone.clone()).date();
            match query.bucket {
                Some(Bucket::Month) => date.strftime("%Y-%m").to_string(),
                _ => date.to_string(),
            }
        }),
        calls: row.calls,
        requests: row.requests,
        opaque: row.opaque,
        errors: row.errors,
        tokens: Tokens {
            input_tokens: row.input_tokens,
            cache_read_tokens: row.cache_read_tokens,
            cache_write_5m_tokens: row.cache_write_5m_tokens,
            cache_write_1h_tokens: row.cache_write_1h_tokens,
            output_tokens: row.output_tokens,
            reasoning_tokens: row.reasoning_tokens,
            audio_input_tokens: row.audio_input_tokens,
            audio_output_tokens: row.audio_output_tokens,
        },
        cost_usd: Usd(row.cost_usd),
        subscription_usd: Usd(row.subscription_usd),
        unpriced_calls: row.unknown_cost_calls,
        estimated_calls: row.estimated_calls,
        coverage: row.coverage,
        ..SpendRow::default()
    };
    for (key, value) in row.keys {
        if let Some(key) = admin_dimension(key) {
            answer.name(key, value.unwrap_or_else(|| "-".to_owned()));
        }
    }
    answer
}

/// What the ledger is asked for calls.
pub(super) fn call_query(query: &CallQuery) -> ledger::CallQuery {
    ledger::CallQuery {
        since: query.since.map(SystemTime::from),
        until: query.until.map(SystemTime::from),
        last: query.last.map(|last| last as usize),
        workload: query.workload.clone(),
        pid: query.pid,
        user: query.user.clone(),
        team: query.team.clone(),
        provider: query.provider.clone(),
        model: query.model.clone(),
        status: match query.status {
            Some(StatusFilter::Exact(status)) => Some(status),
            Some(StatusFilter::Class(_)) | None => None,
        },
        status_class: match query.status {
            Some(StatusFilter::Class(hundreds)) => Some(hundreds),
            Some(StatusFilter::Exact(_)) | None => None,
        },
        outcome: query.outcome,
        kind: query.kind,
        uid: query.uid,
        after: query.after,
    }
}

/// One call.
pub(super) fn call(row: ledger::CallRow) -> CallRow {
    CallRow {
        call_id: row.call_id,
        started_at: row.started_at,
        kind: row.kind,
        via: row.via,
        workload: row.workload,
        app: row.app,
        unit: row.unit,
        container: row.container,
        pid: row.pid,
        exe: row.exe,
        command: row.command,
        uid: row.uid,
        user: row.user.unwrap_or_else(|| row.uid.to_string()),
        agent_name: row.agent_name,
        environment: row.environment,
        team: row.team,
        account: row.account,
        provider: row.provider,
        host: row.host,
        operation: row.operation,
        method: row.method,
        path: row.path,
        model: row.model,
        model_served: row.model_served,
        stream: row.stream,
        status: row.status,
        outcome: row.outcome,
        error: row.error,
        tokens: Tokens {
            input_tokens: row.input_tokens,
            cache_read_tokens: row.cache_read_tokens,
            cache_write_5m_tokens: row.cache_write_5m_tokens,
            cache_write_1h_tokens: row.cache_write_1h_tokens,
            output_tokens: row.output_tokens,
            reasoning_tokens: row.reasoning_tokens,
            audio_input_tokens: row.audio_input_tokens,
            audio_output_tokens: row.audio_output_tokens,
        },
        usage_source: row.usage_source,
        cost_usd: row.cost_usd.map(Usd),
        billing: row.billing,
        price_version: row.price_version,
        attempts: row.attempts,
        retry_of: row.retry_of,
        ttft_ms: row.ttft.map(milliseconds),
        latency_ms: row.latency.map(milliseconds),
        upstream_ms: row.upstream.map(milliseconds),
        bytes_in: row.bytes_in,
        bytes_out: row.bytes_out,
        flags: row.flags,
    }
}

/// One call with everything done about it.
pub(super) fn detail(detail: ledger::CallDetail, providers: &Providers) -> CallDetail {
    let attempts = detail.attempts.into_iter().map(|attempt| AttemptRow {
        started_at: attempt.started_at,
        provider: attempt.provider,
        model: attempt.model,
        status: attempt.status,
        outcome: attempt.outcome,
        upstream_ms: attempt.upstream.map(milliseconds),
        cost_usd: attempt.cost_usd.map(Usd),
    });
    let decisions = detail.decisions.into_iter().map(|decision| DecisionRow {
        at_ms: decision.at.map(milliseconds),
        rule: decision.rule,
        action: decision.action,
        detail: decision.detail,
    });
    let provider = providers.by_name(&detail.row.provider);
    CallDetail {
        schema_version: SCHEMA_VERSION,
        url: url(&detail.row, provider.map(|provider| &provider.base)),
        call: call(detail.row),
        attempts: attempts.collect(),
        decisions: decisions.collect(),
    }
}

/// Where a call was sent, as its client would write it: by a base URL to where the configuration
/// says, by the proxy's absolute form in the clear, and otherwise over TLS.
fn url(call: &ledger::CallRow, base: Option<&Base>) -> String {
    let base = base.filter(|base| call.via == Via::Gateway && *base.host == *call.host);
    let tls = call.via != Via::Forward && base.is_none_or(|base| base.tls);
    let usual = if tls { 443 } else { 80 };
    let port = base.map_or(usual, |base| base.port);
    let port = if port == usual { String::new() } else { format!(":{port}") };
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{}{port}{}", call.host, call.path)
}

/// One process; its coverage word is that of its most frequent kind of connection that was not
/// metered, or `metered`. Connections that came to nothing say nothing of it.
pub(super) fn process(row: ledger::ProcessRow) -> ProcessRow {
    let opened = |it: &&ledger::ProcessConnections| it.count > it.failed;
    let unmetered = row
        .connections
        .iter()
        .filter(opened)
        .filter(|connection| connection.treatment != Treatment::Metered)
        .max_by_key(|connection| connection.count - connection.failed);
    let only_failed = row.calls == 0
        && !row.connections.is_empty()
        && !row.connections.iter().any(|it| opened(&it));
    // That the client gave up on our certificate is no failure of the network.
    let rejected = row.connections.iter().any(|it| it.reason == "rejected");
    let reason = match unmetered {
        Some(connection) => Some(connection.reason.clone()),
        None if only_failed && rejected => Some("rejected".to_owned()),
        None if only_failed => Some("no connection opened".to_owned()),
        None => None,
    };
    let (coverage, fix) = match &reason {
        None => (Word::Metered, None),
        Some(_) if only_failed && !rejected => (Word::Observed, None),
        Some(reason) => word(reason),
    };
    let connections = row.connections.into_iter().map(|connection| ProcessConnections {
        provider: connection.provider,
        treatment: connection.treatment,
        reason: connection.reason,
        count: connection.count,
        failed: connection.failed,
        bytes_up: connection.bytes_up,
        bytes_down: connection.bytes_down,
    });
    ProcessRow {
        pid: row.pid,
        workload: row.workload,
        exe: row.exe,
        command: row.command,
        uid: row.uid,
        user: row.user.unwrap_or_else(|| row.uid.to_string()),
        last_seen: row.last_seen,
        connections: connections.collect(),
        calls: row.calls,
        cost_usd: Usd(row.cost_usd),
        unpriced_calls: row.unknown_cost_calls,
        coverage,
        reason,
        cause: None,
        fix: fix.map(str::to_owned),
    }
}

/// The coverage word for a reason, and what helps.
fn word(reason: &str) -> (Word, Option<&'static str>) {
    match reason {
        "untrusted" | "rejected" => {
            (Word::Untrusted, Some("it does not accept the CA: weir doctor names the setting"))
        }
        "needs_restart" => {
            (Word::NeedsRestart, Some("restart it: it read its roots before the CA came"))
        }
        "not_installed" => (Word::Untrusted, Some("weir trust install, or start it by weir run")),
        "observe" => (Word::Observed, Some("weir mode meter")),
        "container" => (
            Word::Container,
            Some("once its image trusts the CA, name it under `containers: {meter: […]}`"),
        ),
        "container_unarmed" => (Word::Container, None),
        "proxied" => (Word::Proxied, Some("its way leads through another proxy, unread")),
        "bypassed" => (Word::Bypassed, Some("weir bypass list")),
        _ => (Word::Bypassed, None),
    }
}

/// The share of connections that are metered.
pub(super) fn coverage(coverage: &ledger::Coverage) -> Coverage {
    let reasons = coverage.reasons.iter().map(|it| Reason {
        treatment: it.treatment,
        reason: it.reason.clone(),
        count: it.count,
    });
    Coverage { metered: coverage.metered, total: coverage.total, reasons: reasons.collect() }
}

/// A model in use without a price.
pub(super) fn unpriced(row: ledger::Unpriced) -> prices::UnknownPriceRow {
    prices::UnknownPriceRow {
        provider: row.provider,
        model: row.model,
        calls: row.calls,
        unknown_usage: row.unknown_usage,
    }
}

/// What a provider says of one account, limit by limit.
pub(super) fn account(account: &Account) -> Vec<AccountRow> {
    let row = |quota: &Quota| AccountRow {
        provider: account.provider.to_string(),
        account: account.account.to_string(),
        billing: account.billing,
        kind: quota.kind.to_owned(),
        remaining_ratio: quota.remaining,
        remaining: quota.count.map(|(remaining, _)| remaining),
        limit: quota.count.map(|(_, limit)| limit),
        resets_at: quota.resets_at.and_then(|at| Timestamp::try_from(at).ok()),
        seen_at: Timestamp::try_from(account.at).unwrap_or_default(),
        workload: account.subject.workload.name.to_string(),
        pid: account.subject.process.pid,
        uid: account.subject.process.uid,
    };
    account.quotas.iter().map(row).collect()
}

/// A frozen workload.
pub(super) fn frozen(frozen: Frozen) -> FrozenRow {
    FrozenRow {
        workload: frozen.workload,
        uid: frozen.uid,
        policy: frozen.policy,
        cgroup: frozen.cgroup,
        since: Timestamp::try_from(frozen.since).unwrap_or_default(),
    }
}

fn dimension(by: Dimension) -> ledger::Dimension {
    match by {
        Dimension::Workload => ledger::Dimension::Workload,
        Dimension::Process => ledger::Dimension::Process,
        Dimension::User => ledger::Dimension::User,
        Dimension::Team => ledger::Dimension::Team,
        Dimension::Provider => ledger::Dimension::Provider,
        Dimension::Model => ledger::Dimension::Model,
        Dimension::Environment => ledger::Dimension::Environment,
        Dimension::Unit => ledger::Dimension::Unit,
        Dimension::Container => ledger::Dimension::Container,
        Dimension::App => ledger::Dimension::App,
    }
}

fn admin_dimension(by: ledger::Dimension) -> Option<Dimension> {
    Dimension::ALL.into_iter().find(|known| dimension(*known) == by)
}

/// To the microsecond: more digits would be noise.
pub(super) fn milliseconds(span: Duration) -> f64 {
    (span.as_secs_f64() * 1e6).round() / 1e3
}

/// A part of a whole, 0 to 1; none of nothing.
#[expect(clippy::cast_precision_loss, reason = "a share of counts needs no more")]
pub(super) fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::usage::NanoUsd;

    fn process_with(calls: u64, connections: &[(Treatment, &str, u64, u64)]) -> ledger::ProcessRow {
        let connection =
            |&(treatment, reason, count, failed): &(_, &str, _, _)| ledger::ProcessConnections {
                provider: "openai".to_owned(),
                treatment,
                reason: reason.to_owned(),
                count,
                failed,
                bytes_up: 0,
                bytes_down: 0,
            };
        ledger::ProcessRow {
            pid: 7,
            start_ticks: 1,
            workload: "exe:curl".to_owned(),
            uid: 0,
            user: None,
            exe: String::new(),
            command: String::new(),
            calls,
            cost_usd: NanoUsd(0),
            unknown_cost_calls: 0,
            last_seen: Timestamp::UNIX_EPOCH,
            connections: connections.iter().map(connection).collect(),
        }
    }

    #[test]
    fn a_process_whose_connections_all_failed_is_not_metered() {
        use Treatment::{Metered, Opaque};
        let word = |calls, connections: &[_]| process(process_with(calls, connections)).coverage;
        assert_eq!(word(0, &[(Metered, "", 1, 1)]), Word::Observed);
        assert_eq!(word(0, &[(Metered, "", 1, 1), (Opaque, "connect", 2, 2)]), Word::Observed);
        assert_eq!(word(0, &[(Metered, "", 2, 1)]), Word::Metered);
        assert_eq!(word(0, &[(Opaque, "rejected", 1, 1)]), Word::Untrusted);
        // Calls are there before their connection is over.
        assert_eq!(word(1, &[(Metered, "", 1, 1)]), Word::Metered);
        assert_eq!(word(1, &[]), Word::Metered);
        assert_eq!(word(0, &[(Metered, "", 5, 0), (Opaque, "untrusted", 1, 0)]), Word::Untrusted);
        // What failed to open does not outweigh what did.
        let mixed = [(Opaque, "connect", 9, 9), (Opaque, "untrusted", 1, 0)];
        assert_eq!(word(0, &mixed), Word::Untrusted);
        let row = process(process_with(0, &[(Metered, "", 1, 1)]));
        assert_eq!((row.reason.as_deref(), row.fix), (Some("no connection opened"), None));
    }
}
