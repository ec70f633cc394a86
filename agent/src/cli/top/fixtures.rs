//! Answers as an agent gives them, for tests.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::data::{News, Part, Snapshot};
use super::state::App;
use super::tab::Tab;
use crate::admin::calls::CallDetail;
use crate::admin::status::Status;
use crate::cli::Ctx;
use crate::clock::{Clock, Now, System};
use crate::config::Paths;

/// When everything here happens.
pub(super) const NOW: &str = "2026-11-22T14:03:22Z";

pub(super) fn ctx() -> Ctx {
    let paths = Paths {
        config: "/etc/weir/weir.yaml".into(),
        config_named: false,
        state: "/var/lib/weir".into(),
        run: "/run/weir".into(),
        run_named: false,
    };
    Ctx { paths, colour: false, width: 80, now: NOW.parse().unwrap(), zone: TimeZone::UTC }
}

/// [`NOW`] and so much more, on both clocks.
pub(super) fn after(begin: Now, more: Duration) -> Now {
    let now: Timestamp = NOW.parse().unwrap();
    Now { mono: begin.mono + more, wall: SystemTime::from(now) + more }
}

/// A reading of the clocks that tests count from.
pub(super) fn begin() -> Now {
    after(System.now(), Duration::ZERO)
}

fn parsed<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// Puts the keys of an object into another.
fn merge(object: &mut Value, more: &Value) {
    for (key, value) in more.as_object().into_iter().flatten() {
        object[key] = value.clone();
    }
}

pub(super) fn status(more: &Value) -> Status {
    let mut status = json!({
        "schema_version": 1,
        "version": "0.1.0",
        "pid": 812,
        "since": "2026-11-22T08:00:22Z",
        "state": "healthy",
        "mode": {"wanted": "meter", "effective": "meter", "reason": null},
        "capture": {"on": true, "reason": null},
        "coverage": {"metered": 31, "total": 33,
            "reasons": [{"treatment": "opaque", "reason": "untrusted", "count": 2}]},
        "today": {"calls": 1234, "requests": 1240, "errors": 3, "input_tokens": 300_000,
            "output_tokens": 10_000, "cost_usd": "18.4216", "unpriced_calls": 2},
        "top": [],
        "capabilities": [{"hook": "connect4", "ok": true, "missing": null, "consequence": null}],
        "listeners": [{"name": "proxy", "address": "127.0.0.1:4180"}],
        "trust": {"root": null, "installed": true, "detail": "system store"},
        "policies": {"acting": false, "total": 3, "shadow": 1, "canary": 0, "off": 0,
            "overridden": []},
        "budgets": [],
        "breakers": [],
        "warnings": [{"what": "2 connections were not read: untrusted",
            "fix": "weir doctor", "degrades": false}],
        "escalations": {"open": 0, "rate": null},
        "overhead": {"p50_us": 310, "p99_us": 2400},
        "price_version": "2026-11-20",
    });
    merge(&mut status, more);
    parsed(status)
}

fn process(pid: u32, workload: &str, user: &str, more: &Value) -> Value {
    let mut process = json!({
        "pid": pid, "workload": workload, "exe": "/usr/bin/python3.11",
        "command": "python3 agent.py --all", "uid": 1000, "user": user,
        "last_seen": "2026-11-22T14:03:02Z",
        "connections": [{"provider": "openai", "treatment": "metered", "reason": "", "count": 4,
            "failed": 0, "bytes_up": 42_000, "bytes_down": 1_300_000}],
        "calls": 12, "cost_usd": "0.4216", "unpriced_calls": 0, "coverage": "metered",
        "reason": null, "fix": null,
    });
    merge(&mut process, more);
    process
}

pub(super) fn processes() -> Part {
    let untrusted = json!({
        "exe": "/opt/tool/bin/tool", "command": "tool \u{1b}[31mred", "calls": 0,
        "cost_usd": "0.00", "coverage": "untrusted", "reason": "untrusted",
        "cause": "it brings roots of its own", "fix": "weir run -- tool",
        "connections": [{"provider": "anthropic", "treatment": "opaque", "reason": "untrusted",
            "count": 2, "failed": 0, "bytes_up": 900, "bytes_down": 3000}],
    });
    Part::Processes(parsed(json!([
        process(4711, "unit:batch-agent.service", "batch", &json!({})),
        process(
            4712,
            "unit:batch-agent.service",
            "batch",
            &json!({"cost_usd": "1.50", "calls": 40})
        ),
        process(
            902,
            "exe:curl",
            "alice",
            &json!({
                "exe": "/usr/bin/curl", "command": "curl https://api.openai.com/v1/models",
                "calls": 1, "cost_usd": "0.0003",
            })
        ),
        process(950, "exe:tool", "alice", &untrusted),
    ])))
}

pub(super) fn models() -> Part {
    Part::Models(parsed(json!([
        {"provider": "openai", "model": "gpt-4o-mini", "calls": 1000, "requests": 1000, "errors": 3,
            "input_tokens": 200_000, "cache_read_tokens": 50_000, "output_tokens": 8_000,
            "reasoning_tokens": 500, "cost_usd": "3.4216"},
        {"provider": "anthropic", "model": "claude-sonnet-4-5", "calls": 232,
            "requests": 232, "input_tokens": 100_000, "output_tokens": 2_000, "cost_usd": "15.00"},
        {"provider": "openai", "model": "house-model", "calls": 2, "requests": 2,
            "input_tokens": 10, "output_tokens": 10, "cost_usd": "0.00", "unpriced_calls": 2},
    ])))
}

/// The id ends in the number.
pub(super) fn call(number: u32, more: &Value) -> Value {
    let mut call = json!({
        "call_id": format!("01KAN0000000000000000{number:05}"),
        "started_at": format!("2026-11-22T14:03:{number:02}Z"),
        "kind": "call", "via": "intercept", "workload": "exe:curl", "app": null, "unit": null,
        "container": null, "pid": 902, "exe": "/usr/bin/curl", "command": "curl", "uid": 1000,
        "user": "alice", "agent_name": null, "environment": "default", "provider": "openai",
    });
    let rest = json!({
        "host": "api.openai.com", "operation": "chat", "method": "POST",
        "path": "/v1/chat/completions", "model": "gpt-4o-mini",
        "model_served": "gpt-4o-mini-2024-07-18", "stream": false, "status": 200, "outcome": "ok",
        "error": null, "input_tokens": 1200, "output_tokens": 300, "usage_source": "reported",
        "cost_usd": "0.0003", "billing": "metered", "price_version": "2026-11-20", "attempts": 1,
        "retry_of": null, "ttft_ms": null, "latency_ms": 830.4, "upstream_ms": 829.0,
        "bytes_in": 800, "bytes_out": 2400, "flags": [],
    });
    merge(&mut call, &rest);
    merge(&mut call, more);
    call
}

pub(super) fn calls() -> Part {
    Part::Calls(parsed(json!([
        call(1, &json!({})),
        call(
            2,
            &json!({"status": 429, "outcome": "rate_limited", "cost_usd": "0.00",
            "output_tokens": 0, "error": "Rate limit exceeded"})
        ),
        call(
            3,
            &json!({"status": null, "outcome": null, "cost_usd": null, "latency_ms": null,
            "model_served": null})
        ),
    ])))
}

pub(super) fn detail(number: u32) -> Box<CallDetail> {
    parsed(json!({
        "schema_version": 1, "call": call(number, &json!({})),
        "url": "https://api.openai.com/v1/chat/completions", "attempts": [],
        "decisions": [{"at_ms": 0.2, "rule": "price", "action": "counted", "detail": "0.0003"}],
    }))
}

fn budget(policy: &str, subject: &str, spent: &str, used: f64, standing: &str) -> Value {
    json!({
        "policy": policy, "subject": subject, "uid": null, "period": "day", "spent_usd": spent,
        "reserved_usd": "0.00", "limit_usd": "10.00", "remaining_usd": "1.60",
        "used_percent": used, "standing": standing, "began_at": "2026-11-22T00:00:00Z",
        "resets_at": "2026-11-23T00:00:00Z", "exhausted_at": "2026-11-22T16:10:00Z",
        "alert_at_percent": [80], "action": "deny", "enforcement": "enforce",
    })
}

pub(super) fn budgets() -> Part {
    let rows = parsed(json!([
        budget("budgets.nightly", "user:alice", "1.20", 12.0, "ok"),
        budget("budgets.code-reviewer", "code-reviewer", "8.40", 84.0, "near"),
        budget("budgets.batch", "batch", "10.40", 104.0, "over"),
    ]));
    Part::Budgets { rows, only_uid: None }
}

pub(super) fn breakers() -> Part {
    Part::Breakers(parsed(json!([
        {"name": "openai", "state": "open", "reason": "5 failures in a row",
            "since": "2026-11-22T14:03:02Z", "until": "2026-11-22T14:03:32Z", "by_hand": false,
            "failures": 5, "failure_percent": 50, "calls": 10, "opened": 1},
        {"name": "anthropic", "state": "closed", "reason": null, "since": null, "until": null,
            "by_hand": false, "failures": 0, "failure_percent": 0, "calls": 232, "opened": 0},
    ])))
}

/// What an agent says that has seen nothing.
pub(super) fn empty(tab: Tab) -> Part {
    match tab {
        Tab::Processes => Part::Processes(Vec::new()),
        Tab::Models => Part::Models(Vec::new()),
        Tab::Calls => Part::Calls(Vec::new()),
        Tab::Budgets => Part::Budgets { rows: Vec::new(), only_uid: None },
        Tab::Breakers => Part::Breakers(Vec::new()),
        Tab::Health => Part::Health,
    }
}

pub(super) fn full(tab: Tab) -> Part {
    match tab {
        Tab::Processes => processes(),
        Tab::Models => models(),
        Tab::Calls => calls(),
        Tab::Budgets => budgets(),
        Tab::Breakers => breakers(),
        Tab::Health => Part::Health,
    }
}

pub(super) fn snapshot(part: Part, at: Now) -> News {
    News::Snapshot(Box::new(Snapshot { at, status: status(&json!({})), part }))
}

/// A screen of this size on which everything was heard once; ten seconds earlier there were ten
/// calls less.
pub(super) fn app(size: (u16, u16)) -> App {
    let mut app = App::new(ctx(), Duration::from_secs(2));
    let begin = begin();
    app.tick(begin, size);
    let earlier = json!({"today": {"calls": 1224, "input_tokens": 298_000, "output_tokens": 9_900,
        "cost_usd": "18.3216"}});
    let first = Snapshot { at: begin, status: status(&earlier), part: Part::Health };
    app.news(News::Snapshot(Box::new(first)));
    for tab in Tab::ALL {
        app.news(snapshot(full(tab), after(begin, Duration::from_secs(10))));
    }
    app
}
