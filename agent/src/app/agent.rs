//! What the admin server asks of the running agent.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use jiff::{Timestamp, Zoned};
use parking_lot::Mutex;
use tokio::sync::{broadcast, mpsc};

use super::analytics;
use super::bypass;
use super::control;
use super::freezer::Freezer;
use super::kernel::Kernel;
use super::log::Dial;
use super::modes::Modes;
use super::pause::Pause;
use super::prices;
use super::published::Teller;
use super::rows;
use super::service::{self, Doors, Leave};
use super::standing;
use super::sweep;
use super::takers::Takers;
use super::telemetry;
use super::toggles::Toggles;
use super::verdicts;
use crate::admin::accounts::{AccountRow, FrozenRow};
use crate::admin::alerts::EscalationRate;
use crate::admin::calls::{CallDetail, CallQuery, CallRow};
use crate::admin::prices::{PriceQuery, Prices, UnknownPriceRow};
use crate::admin::processes::{ProcessQuery, ProcessRow};
use crate::admin::spend::{Dimension, Spend, SpendQuery, SpendRow};
use crate::admin::status::{
    Capability, CaptureState, EscalationState, Listener, ModeState, NamespaceState, Overhead,
    State, Status, TrustState,
};
use crate::admin::upgrade::Upgraded;
use crate::admin::{self, Failure, SCHEMA_VERSION};
use crate::alerts::Alerts;
use crate::config::{Effective, Mode, Paths};
use crate::downstream::Front;
use crate::ledger::{self, Ledger};
use crate::metrics::Metrics;
use crate::policy::view::BreakerState;
use crate::record::CallId;
use crate::telemetry::Telemetry;

/// Workloads named in the status.
const TOP: usize = 5;

/// The running agent's parts, as far as somebody may ask about them.
pub(super) struct Running {
    pub(super) since: SystemTime,
    pub(super) front: Arc<Front>,
    pub(super) kernel: Option<Arc<Kernel>>,
    /// Why there is no kernel half, where there is none.
    pub(super) no_kernel: Option<String>,
    pub(super) modes: Modes,
    pub(super) toggles: Toggles,
    pub(super) paths: Paths,
    /// The configuration in effect. Held while another one is taken over.
    pub(super) config: Mutex<Effective>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) freezer: Arc<Freezer>,
    pub(super) takers: Arc<Takers>,
    pub(super) alerts: Arc<Alerts>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) listeners: Vec<(&'static str, SocketAddr)>,
    pub(super) socket: PathBuf,
    pub(super) root: PathBuf,
    /// What someone should know about how this process runs.
    pub(super) remark: Option<String>,
    /// The listeners that others serve next; `None` once they do.
    pub(super) doors: Mutex<Option<Doors>>,
    /// Asks for a successor, one at a time, and whoever hands over to it.
    pub(super) succession: Mutex<mpsc::Sender<Leave>>,
    pub(super) helper: crate::capture::Helper,
    pub(super) log: Arc<Dial>,
    pub(super) pause: Pause,
    pub(super) bypass: bypass::Kept,
    pub(super) teller: Teller,
    pub(super) remembered: analytics::Remembered,
}

impl Running {
    fn now(&self) -> Timestamp {
        Timestamp::try_from(self.front.runtime.clock.now().wall).unwrap_or_default()
    }

    /// The last local midnight.
    pub(super) fn midnight(&self) -> Timestamp {
        let now: Zoned = self.now().to_zoned(jiff::tz::TimeZone::system());
        now.start_of_day().map_or_else(|_| self.now(), |midnight| midnight.timestamp())
    }

    pub(super) fn capture_state(&self) -> CaptureState {
        match &self.kernel {
            None => CaptureState { on: false, reason: self.no_kernel.clone() },
            Some(kernel) if kernel.is_up() => CaptureState { on: true, reason: None },
            Some(kernel) => {
                let why = kernel.lost().or_else(|| self.pause.reason());
                CaptureState { on: false, reason: why.or_else(|| Some("weir down".to_owned())) }
            }
        }
    }

    fn namespace_state(&self) -> NamespaceState {
        let standing = self.kernel.as_ref().map(|kernel| kernel.namespaces()).unwrap_or_default();
        let reasons = standing.closed_to_us.into_iter();
        NamespaceState {
            armed: standing.open,
            left_out: reasons.map(|(reason, number)| (reason.to_owned(), number)).collect(),
        }
    }

    fn trust_state(&self) -> TrustState {
        let trust = &self.front.client.trust;
        let installed = trust.is_expected();
        let detail = match (installed, trust.is_assumed()) {
            (_, true) => "assumed",
            (true, false) => "system store",
            (false, false) => "not installed",
        };
        let root = self.root.exists().then(|| self.root.clone());
        TrustState { root, installed, detail: detail.to_owned() }
    }
}

pub(super) fn unavailable(error: &ledger::LedgerError) -> Failure {
    Failure::Unavailable(error.to_string())
}

impl admin::Agent for Running {
    fn status(&self, uid: Option<u32>) -> Result<Status, Failure> {
        let since = Some(self.midnight());
        let today = SpendQuery { since, uid, ..SpendQuery::default() };
        let spend = self.spend(&today)?;
        let by = vec![Dimension::Workload];
        let mut top = self.spend(&SpendQuery { by, ..today })?.rows;
        top.truncate(TOP);
        let capabilities = self.kernel.as_ref().map(|kernel| kernel.capabilities());
        let capabilities = capabilities.unwrap_or_default().rows.into_iter();
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let intercept = self.kernel.as_ref().map(|kernel| kernel.listeners()).unwrap_or_default();
        let listeners = intercept.into_iter().map(|address| ("intercept", address.to_string()));
        let others = self.listeners.iter().map(|(name, address)| (*name, address.to_string()));
        let socket = [("socket", self.socket.display().to_string())];
        let mode = self.mode();
        let (budgets, breakers) = (self.near_budgets(uid), self.open_breakers());
        let mut warnings = self.warnings(uid);
        warnings.extend(control::warnings(&budgets, &breakers));
        warnings.extend(self.watch_warnings(uid));
        let escalations = self.alerts.health(uid);
        Ok(Status {
            schema_version: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            since: Timestamp::try_from(self.since).unwrap_or_default(),
            state: State::of(&mode, &warnings),
            mode,
            capture: self.capture_state(),
            namespaces: self.namespace_state(),
            coverage: spend.coverage,
            today: spend.total,
            top,
            capabilities: capabilities
                .map(|row| Capability {
                    hook: row.hook.to_owned(),
                    ok: row.ok,
                    missing: some(&row.missing),
                    consequence: some(row.consequence),
                })
                .collect(),
            listeners: listeners
                .chain(others)
                .chain(socket)
                .map(|(name, address)| Listener { name: name.to_owned(), address })
                .collect(),
            trust: self.trust_state(),
            policies: self.policy_state(),
            budgets,
            breakers,
            warnings,
            escalations: EscalationState {
                open: escalations.open,
                // Everyone's calls are nobody's business but an administrator's.
                rate: uid.is_none().then(|| EscalationRate {
                    calls: escalations.calls,
                    escalated: escalations.escalated,
                    rate: escalations.rate(),
                }),
            },
            overhead: self.metrics.overhead_quantiles().map(|(p50, p99)| Overhead {
                p50_us: u64::try_from(p50.as_micros()).unwrap_or(u64::MAX),
                p99_us: u64::try_from(p99.as_micros()).unwrap_or(u64::MAX),
            }),
            price_version: Some(self.front.rules.load().prices.dated().to_owned()),
        })
    }

    fn ready(&self) -> Result<(), String> {
        if self.front.runtime.drain.is_signalled() { Err("stopping".to_owned()) } else { Ok(()) }
    }

    fn fault(&self, listener: &'static str, fault: &'static str) {
        self.metrics.fault(listener, fault);
    }

    fn metrics(&self) -> String {
        self.metrics.condition(&self.condition());
        self.metrics.host(self.front.runtime.clock.mono(), || self.places());
        self.metrics.ledger(&self.ledger.health());
        self.metrics.alerts(&self.alerts.health(None));
        if let Some(webhooks) = self.front.webhooks.get() {
            self.metrics.webhooks(&webhooks.health());
        }
        telemetry::count(&self.telemetry, &self.metrics);
        self.metrics.watched(&self.takers.watched().gauges());
        let now = self.front.runtime.clock.now();
        self.metrics.policies(&standing::standing(&self.front.rules.load().policies, now));
        let refused = self.front.upstream.pool.tls().refused();
        let refused = refused.iter().map(|(host, problem, n)| (&**host, problem.as_str(), *n));
        self.metrics.certificates(refused);
        if let Some(kernel) = &self.kernel {
            self.metrics.capture(&kernel.counters());
            let namespaces = kernel.namespaces();
            self.metrics.namespaces(namespaces.open, namespaces.left_out);
        }
        let breakers = self.front.rules.load().policies.reliability.lock().breakers(now);
        self.metrics.breakers(breakers.iter().map(|breaker| {
            let state = match breaker.state {
                BreakerState::Closed => 0,
                BreakerState::Open => 1,
                BreakerState::HalfOpen => 2,
            };
            (&*breaker.name, state, breaker.failure_percent)
        }));
        self.metrics.render()
    }

    fn spend(&self, query: &SpendQuery) -> Result<Spend, Failure> {
        let reader = self.ledger.reader();
        let asked = rows::spend_query(query);
        let found = reader.spend(&asked).map_err(|error| unavailable(&error))?;
        let total = ledger::SpendQuery { by: Vec::new(), bucket: None, ..asked };
        let total = reader.spend(&total).map_err(|error| unavailable(&error))?;
        let coverage = reader
            .coverage(query.since.map(SystemTime::from), query.uid)
            .map_err(|error| unavailable(&error))?;
        let total = total.into_iter().next().map(|row| rows::spend(row, query));
        Ok(Spend {
            schema_version: SCHEMA_VERSION,
            since: query.since,
            until: query.until,
            rows: found.into_iter().map(|row| rows::spend(row, query)).collect(),
            total: total.unwrap_or_else(SpendRow::default),
            coverage: rows::coverage(&coverage),
        })
    }

    fn calls(&self, query: &CallQuery) -> Result<Vec<CallRow>, Failure> {
        let found = self.ledger.reader().calls(&rows::call_query(query));
        Ok(found.map_err(|error| unavailable(&error))?.into_iter().map(rows::call).collect())
    }

    fn call(&self, id: CallId) -> Result<Option<CallDetail>, Failure> {
        let found = self.ledger.reader().call(id).map_err(|error| unavailable(&error))?;
        let rules = self.front.rules.load();
        Ok(found.map(|found| rows::detail(found, &rules.providers)))
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<CallRow>> {
        self.takers.follow()
    }

    fn processes(&self, query: &ProcessQuery) -> Result<Vec<ProcessRow>, Failure> {
        let since = query.since.map(SystemTime::from);
        let found = self.ledger.reader().processes(since, query.uid);
        let mut found = found.map_err(|error| unavailable(&error))?;
        found.retain(|row| query.pid.is_none_or(|pid| pid == row.pid));
        let row = |found: ledger::ProcessRow| {
            let start_ticks = found.start_ticks;
            let mut row = rows::process(found);
            verdicts::explain(&self.front, &mut row, start_ticks);
            row
        };
        Ok(found.into_iter().map(row).collect())
    }

    fn prices(&self, query: &PriceQuery) -> Result<Prices, Failure> {
        Ok(prices::listed(&self.front.rules.load(), query, self.front.runtime.clock.now().wall))
    }

    fn unknown_prices(&self, uid: Option<u32>) -> Result<Vec<UnknownPriceRow>, Failure> {
        let found = self.ledger.reader().unpriced(None, uid);
        let found = found.map_err(|error| unavailable(&error))?;
        Ok(found.into_iter().map(rows::unpriced).collect())
    }

    fn accounts(&self, uid: Option<u32>) -> Vec<AccountRow> {
        let accounts = self.front.rules.load().policies.accounts.all();
        let own = |uid: Option<u32>, of: u32| uid.is_none_or(|uid| uid == of);
        let accounts = accounts.into_iter().filter(|it| own(uid, it.subject.process.uid));
        let mut rows: Vec<_> = accounts.flat_map(|it| rows::account(&it)).collect();
        rows.sort_by(|one, other| {
            let key =
                |row: &AccountRow| (row.provider.clone(), row.account.clone(), row.kind.clone());
            key(one).cmp(&key(other))
        });
        rows
    }

    fn frozen(&self, uid: Option<u32>) -> Vec<FrozenRow> {
        let frozen = self.freezer.frozen().into_iter();
        let own = frozen.filter(|it| uid.is_none_or(|uid| uid == it.uid));
        own.map(rows::frozen).collect()
    }

    fn thaw(&self, workload: &str) -> Vec<FrozenRow> {
        self.freezer.thaw(workload).into_iter().map(rows::frozen).collect()
    }

    fn mode(&self) -> ModeState {
        let effective = self.modes.effective();
        let overridden = self.modes.overrides_file().then(|| "set by weir mode".to_owned());
        ModeState {
            wanted: self.modes.wanted(),
            effective: effective.mode,
            reason: effective.reason.or(overridden),
        }
    }

    fn set_mode(&self, mode: Mode) -> Result<ModeState, Failure> {
        // Who has just installed trust need not wait for the next look.
        sweep::look_for_trust(self, &self.paths);
        let set = self.modes.set(mode);
        set.map_err(|error| Failure::Unavailable(format!("the mode cannot be kept: {error}")))?;
        self.teller.look();
        Ok(self.mode())
    }

    fn upgrade(&self) -> Result<Upgraded, Failure> {
        service::upgrade(self)
    }

    fn set_capture(&self, on: bool) -> Result<CaptureState, Failure> {
        let Some(kernel) = &self.kernel else {
            let what = self.no_kernel.clone().unwrap_or_else(|| "nothing to switch".to_owned());
            return Err(Failure::Refused { what, fix: Some("run the daemon as root".to_owned()) });
        };
        self.pause.end();
        if on {
            kernel.up().map_err(|error| Failure::Unavailable(error.to_string()))?;
        } else {
            kernel.down();
        }
        self.teller.look();
        Ok(self.capture_state())
    }
}
