//! An agent that is none: the admin server's answers are made up here, with hostile names in them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alerts;
mod analytics;
mod upkeep;
mod watch;
mod policies;
mod rows;
mod stage;

use std::sync::{Arc, Mutex};

use agent::admin::accounts::{AccountRow, FrozenRow};
use agent::admin::calls::{AttemptRow, CallDetail, CallQuery, CallRow, DecisionRow};
use agent::admin::money::Usd;
use agent::admin::prices::{PriceQuery, PriceRow, Prices, UnknownPriceRow};
use agent::admin::processes::{ProcessConnections, ProcessQuery, ProcessRow, Word};
use agent::admin::spend::{Spend, SpendQuery, SpendRow};
use agent::admin::status::{
    Capability, CaptureState, Listener, ModeState, NamespaceState, Overhead, State, Status,
    TrustState, Warning,
};
use agent::admin::upgrade::Upgraded;
use agent::admin::{Agent, Failure, SCHEMA_VERSION};
use agent::clock::System;
use agent::config::Mode;
use agent::events::Bus;
use agent::llm::usage::NanoUsd;
use agent::record::{CallId, Outcome, Treatment};
use tokio::sync::broadcast;

pub(crate) use self::alerts::ESCALATION;
use self::rows::{at, coverage, spent};
pub(crate) use self::rows::{call, id};
pub(crate) use self::stage::{Ran, Stage, assert_fits};

/// The user that is not root.
pub(crate) const NOBODY: u32 = 65534;

/// A name that would clear the screen, retitle the window and turn the text around.
pub(crate) const HOSTILE: &str = "exe:\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}K\u{202e}=cmd|'/c calc'";

pub(crate) struct Fake {
    policies: Mutex<policies::State>,
    state: Mutex<(ModeState, CaptureState, Vec<Warning>)>,
    calls: Vec<CallRow>,
    live: broadcast::Sender<Arc<CallRow>>,
    bus: Bus,
}

impl Fake {
    fn new() -> Self {
        let mode = ModeState { wanted: Mode::Meter, effective: Mode::Meter, reason: None };
        let capture = CaptureState { on: true, reason: None };
        let mut refused = call(2, 0, "exe:curl");
        refused.status = Some(429);
        refused.outcome = Some(Outcome::RateLimited);
        refused.cost_usd = None;
        let mut aborted = call(3, NOBODY, "unit:etl.service");
        aborted.outcome = Some(Outcome::ClientAbort);
        aborted.model_served = None;
        let mut first = call(1, 0, "exe:python3:agent.py");
        first.retry_of = Some(id(9));
        first.team = Some("research".to_owned());
        first.agent_name = Some("planner".to_owned());
        first.account = Some("ac1d".to_owned());
        Self {
            policies: Mutex::default(),
            state: Mutex::new((mode, capture, Vec::new())),
            calls: vec![first, refused, aborted, call(4, 0, HOSTILE)],
            live: broadcast::channel(16).0,
            bus: Bus::new(Arc::new(System)),
        }
    }

    pub(crate) fn warn(&self, what: &str, fix: &str) {
        let fix = Some(fix.to_owned());
        let warning = Warning { what: what.to_owned(), fix, degrades: true };
        self.state.lock().unwrap().2.push(warning);
    }

    pub(crate) fn end(&self, call: CallRow) {
        self.live.send(Arc::new(call)).unwrap();
    }

    pub(crate) fn followers(&self) -> usize {
        self.live.receiver_count()
    }
}

fn visible(uid: Option<u32>, owner: u32) -> bool {
    uid.is_none_or(|uid| uid == owner)
}

impl Agent for Fake {
    fn accounts(&self, _uid: Option<u32>) -> Vec<AccountRow> {
        Vec::new()
    }

    fn frozen(&self, _uid: Option<u32>) -> Vec<FrozenRow> {
        Vec::new()
    }

    fn thaw(&self, _workload: &str) -> Vec<FrozenRow> {
        Vec::new()
    }

    fn status(&self, uid: Option<u32>) -> Result<Status, Failure> {
        let (mode, capture, warnings) = self.state.lock().unwrap().clone();
        let all =
            [(0, spent(HOSTILE, 9, 4_750_000_000)), (NOBODY, spent("unit:etl.service", 2, 1))];
        let top = all.into_iter().filter(|(owner, _)| visible(uid, *owner));
        Ok(Status {
            schema_version: SCHEMA_VERSION,
            version: "0.1.0".to_owned(),
            pid: 99,
            since: at("2099-01-01T09:12:00Z"),
            state: State::of(&mode, &warnings),
            mode,
            capture,
            namespaces: NamespaceState { armed: 3, left_out: [("port_taken".into(), 1)].into() },
            coverage: coverage(),
            today: SpendRow { unpriced_calls: 2, ..spent("", 412, 18_420_000_000) },
            top: top.map(|(_, row)| row).collect(),
            capabilities: vec![
                Capability {
                    hook: "connect4".to_owned(),
                    ok: true,
                    missing: None,
                    consequence: None,
                },
                Capability {
                    hook: "sockops".to_owned(),
                    ok: false,
                    missing: Some("CAP_BPF".to_owned()),
                    consequence: Some("bytes are not counted".to_owned()),
                },
            ],
            listeners: vec![Listener {
                name: "proxy".to_owned(),
                address: "127.0.0.1:4180".to_owned(),
            }],
            trust: TrustState {
                root: None,
                installed: true,
                detail: "installed in the system store".to_owned(),
            },
            policies: self.policy_state(),
            budgets: Vec::new(),
            breakers: Vec::new(),
            warnings,
            escalations: alerts::state(uid),
            overhead: Some(Overhead { p50_us: 310, p99_us: 1100 }),
            price_version: Some("2026-11-01".to_owned()),
        })
    }

    fn ready(&self) -> Result<(), String> {
        let (mode, ..) = &*self.state.lock().unwrap();
        if mode.effective == Mode::Off { Err("off".to_owned()) } else { Ok(()) }
    }

    fn fault(&self, _: &'static str, _: &'static str) {}

    fn metrics(&self) -> String {
        "# TYPE llm_calls_total counter\nllm_calls_total 1\n".to_owned()
    }

    fn spend(&self, query: &SpendQuery) -> Result<Spend, Failure> {
        let rows = [
            (0, spent("exe:python3:agent.py", 412, 18_424_000_000)),
            (0, spent(HOSTILE, 9, 14_500_000)),
            (NOBODY, SpendRow { unpriced_calls: 2, ..spent("unit:etl.service", 2, 0) }),
        ];
        let rows = rows.into_iter().filter(|(owner, _)| visible(query.uid, *owner));
        let rows = rows.map(|(_, row)| SpendRow {
            period: query.bucket.map(|_| "2026-11-20".to_owned()),
            ..row
        });
        Ok(Spend {
            schema_version: SCHEMA_VERSION,
            since: query.since,
            until: query.until,
            rows: rows.collect(),
            total: SpendRow { unpriced_calls: 2, ..spent("", 423, 18_438_500_000) },
            coverage: coverage(),
        })
    }

    fn calls(&self, query: &CallQuery) -> Result<Vec<CallRow>, Failure> {
        Ok(self.calls.iter().filter(|call| query.matches(call)).cloned().collect())
    }

    fn call(&self, id: CallId) -> Result<Option<CallDetail>, Failure> {
        let attempt = |call: &CallRow, after: &str, status| AttemptRow {
            started_at: call.started_at + after.parse::<jiff::Span>().unwrap(),
            provider: call.provider.clone(),
            model: call.model.clone(),
            status,
            outcome: call.outcome.unwrap(),
            upstream_ms: call.upstream_ms,
            cost_usd: call.cost_usd,
        };
        let decision = |at, rule: &str, action: &str, detail: &str| DecisionRow {
            at_ms: Some(at),
            rule: rule.to_owned(),
            action: action.to_owned(),
            detail: detail.to_owned(),
        };
        Ok(self.calls.iter().find(|call| call.call_id == id).map(|call| CallDetail {
            schema_version: SCHEMA_VERSION,
            call: call.clone(),
            url: format!("http://{}:8080{}", call.host, call.path),
            attempts: vec![
                attempt(call, "PT0.0009S", Some(503)),
                attempt(call, "PT1.2S", call.status),
            ],
            decisions: vec![
                decision(0.012, "route", "provider openai", "host api.openai.com"),
                decision(0.13, "rate_limits.curl", "pass", "requests_per_minute 2 → 3 of 5"),
                decision(0.134, "budgets.*", "would-refuse", "$9.99 of $10.00"),
                decision(1100.0, "retry", "retry", "503 once, in 100ms"),
            ],
        }))
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<CallRow>> {
        self.live.subscribe()
    }

    fn processes(&self, query: &ProcessQuery) -> Result<Vec<ProcessRow>, Failure> {
        let process = |pid, uid, workload: &str, coverage| ProcessRow {
            pid,
            workload: workload.to_owned(),
            exe: "/usr/bin/x".to_owned(),
            command: "x --flag".to_owned(),
            uid,
            user: if uid == 0 { "root".to_owned() } else { "nobody".to_owned() },
            last_seen: at("2020-01-02T09:42:03Z"),
            connections: [("anthropic", 1230), ("openai", 4)]
                .map(|(provider, count)| ProcessConnections {
                    provider: provider.to_owned(),
                    treatment: Treatment::Metered,
                    reason: String::new(),
                    count,
                    failed: 0,
                    bytes_up: 42_000,
                    bytes_down: 4_200_000,
                })
                .to_vec(),
            unpriced_calls: 0,
            calls: 412,
            cost_usd: Usd(NanoUsd(18_420_000_000)),
            coverage,
            reason: None,
            cause: None,
            fix: None,
        };
        let mut restart = process(988, 0, HOSTILE, Word::NeedsRestart);
        restart.calls = 0;
        restart.reason = Some("it started before the CA was installed".to_owned());
        restart.fix = Some("restart it".to_owned());
        let all = [
            process(4711, 0, "exe:python3:agent.py", Word::Metered),
            restart,
            process(12, NOBODY, "unit:etl.service", Word::Observed),
        ];
        Ok(all
            .into_iter()
            .filter(|row| visible(query.uid, row.uid))
            .filter(|row| query.pid.is_none_or(|pid| pid == row.pid))
            .collect())
    }

    fn prices(&self, query: &PriceQuery) -> Result<Prices, Failure> {
        let row = PriceRow {
            provider: "openai".to_owned(),
            model: "gpt-5".to_owned(),
            source: "catalogue".to_owned(),
            input_usd: Some(Usd(NanoUsd(1_250_000_000))),
            cache_read_usd: Some(Usd(NanoUsd(125_000_000))),
            output_usd: Some(Usd(NanoUsd(10_000_000_000))),
            ..PriceRow::default()
        };
        let fits = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        let fits = fits(&query.model, &row.model) && fits(&query.provider, &row.provider);
        let rows = if fits { vec![row] } else { Vec::new() };
        Ok(Prices { schema_version: SCHEMA_VERSION, version: Some("2026-11-01".to_owned()), rows })
    }

    fn unknown_prices(&self, _: Option<u32>) -> Result<Vec<UnknownPriceRow>, Failure> {
        Ok(vec![UnknownPriceRow {
            provider: "openai".to_owned(),
            model: Some("gpt-\u{1b}[31m9".to_owned()),
            calls: 2,
            unknown_usage: 1,
        }])
    }

    fn mode(&self) -> ModeState {
        self.state.lock().unwrap().0.clone()
    }

    fn set_mode(&self, mode: Mode) -> Result<ModeState, Failure> {
        let state = &mut self.state.lock().unwrap().0;
        *state = match mode {
            Mode::Enforce => {
                return Err(Failure::Refused {
                    what: "there are no policies to enforce".to_owned(),
                    fix: Some("weir mode meter".to_owned()),
                });
            }
            Mode::Meter => ModeState {
                wanted: mode,
                effective: Mode::Observe,
                reason: Some("the CA is not installed".to_owned()),
            },
            mode => ModeState { wanted: mode, effective: mode, reason: None },
        };
        Ok(state.clone())
    }

    fn upgrade(&self) -> Result<Upgraded, Failure> {
        Err(Failure::Unavailable("the successor cannot start: listen.proxy: in use".to_owned()))
    }

    fn set_capture(&self, on: bool) -> Result<CaptureState, Failure> {
        let state = &mut self.state.lock().unwrap().1;
        state.on = on;
        Ok(state.clone())
    }
}
