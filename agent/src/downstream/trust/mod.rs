//! Whose TLS may be terminated: who trusts the local CA, and who has shown not to.
//!
//! A client that rejects our certificate costs its application one call, so it is asked once. From
//! then on its connections are passed through, without asking again: verdicts hold until the agent
//! or the program restarts. What an executable does says little where it is an interpreter (in one
//! Python, one library may trust the CA and another not), so there the verdict belongs to the
//! process instance; otherwise to the executable and its user.

pub mod installed;
pub mod ledger;
mod signal;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use crate::clock::Now;
use crate::subject::Subject;

pub use signal::{Reached, Signal, Strength, classify};

/// Clients remembered. Beyond it the longest known is forgotten, and asked again when it returns.
const CAPACITY: usize = 4096;

/// Two possible signals within this time make a verdict.
const SUSPICION: Duration = Duration::from_mins(1);

/// Clock ticks per second in [`crate::subject::Process::start_ticks`]: fixed by the kernel's ABI.
const TICKS: u64 = 100;

/// What to do with a client's connection to a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Terminate its TLS.
    Intercept,
    /// Pass it through: it has rejected our certificate.
    Untrusted {
        /// When it did.
        since: SystemTime,
        /// How it did.
        signal: Signal,
    },
    /// Pass it through: it is older than the installation of the CA, and may have read its trust
    /// store before.
    NeedsRestart,
    /// Pass it through: the CA is not installed on this host.
    NotInstalled,
}

/// What is known about trust on this host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// Take it that every client trusts the CA until it shows otherwise (`trust: {assume: true}`).
    pub assume: bool,
    /// When the CA was installed, on the boot-time clock (zero where before the boot); `None`
    /// where it is not.
    pub installed_at: Option<Duration>,
}

impl Settings {
    /// The settings for a CA installed at `installed_at` of the wall clock. `boot` is the boot-time
    /// clock's reading at `now`.
    pub fn new(assume: bool, installed_at: Option<SystemTime>, now: Now, boot: Duration) -> Self {
        let installed_at = installed_at.map(|at| {
            let ago = now.wall.duration_since(at).unwrap_or_default();
            boot.saturating_sub(ago)
        });
        Self { assume, installed_at }
    }
}

/// A client that has rejected our certificate, for `weir ps` and `weir explain`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distrust {
    /// The process that did.
    pub pid: u32,
    /// Its executable.
    pub exe: Arc<str>,
    /// Its user.
    pub uid: u32,
    /// Its workload.
    pub workload: Arc<str>,
    /// Whether the verdict is about this process alone, rather than its executable.
    pub instance_only: bool,
    /// When it did.
    pub since: SystemTime,
    /// How it did.
    pub signal: Signal,
}

/// The verdicts. Shared by all connections.
#[derive(Debug)]
pub struct Trust {
    settings: Mutex<Settings>,
    clients: Mutex<Clients>,
}

impl Trust {
    /// No verdicts yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings: Mutex::new(settings), clients: Mutex::default() }
    }

    /// Takes note of an installation or removal of the CA.
    pub fn set(&self, settings: Settings) {
        *self.settings.lock() = settings;
    }

    /// Whether clients trust us for all that is known: the CA is installed, or taken to be.
    pub fn is_expected(&self) -> bool {
        let settings = self.settings.lock();
        settings.assume || settings.installed_at.is_some()
    }

    /// Whether that is only taken to be so (`trust: {assume: true}`).
    pub fn is_assumed(&self) -> bool {
        self.settings.lock().assume
    }

    /// What to do with a connection of `subject`. `vouched` is asked only where the answer depends
    /// on it: whether the process was started with the CA in its environment (`weir run`).
    pub fn verdict(&self, subject: &Subject, vouched: impl FnOnce() -> bool) -> Verdict {
        if let Some(State::Rejected(distrust)) = self.clients.lock().states.get(&Key::of(subject)) {
            return Verdict::Untrusted { since: distrust.since, signal: distrust.signal };
        }
        let settings = *self.settings.lock();
        if settings.assume {
            return Verdict::Intercept;
        }
        let lacking = match settings.installed_at {
            None => Verdict::NotInstalled,
            Some(installed) if started(subject) < installed => Verdict::NeedsRestart,
            Some(_) => return Verdict::Intercept,
        };
        if vouched() { Verdict::Intercept } else { lacking }
    }

    /// Takes note that `subject` sent application data under our certificate.
    pub fn accepted(&self, subject: &Subject) {
        let mut clients = self.clients.lock();
        let key = Key::of(subject);
        if !matches!(clients.states.get(&key), Some(State::Accepted | State::Rejected(_))) {
            clients.set(key, State::Accepted);
        }
    }

    /// Takes note of a sign that `subject` rejects our certificate. True where this made the
    /// verdict.
    pub fn rejected(&self, subject: &Subject, signal: Signal, now: Now) -> bool {
        let key = Key::of(subject);
        let mut clients = self.clients.lock();
        let known = clients.states.get(&key);
        let state = match (known, signal.strength()) {
            // From one who has accepted us before, a connection given up is only that.
            (Some(State::Rejected(_)), _)
            | (Some(State::Accepted), Strength::Likely | Strength::Possible) => return false,
            (Some(State::Suspect(first)), Strength::Possible)
                if now.mono.saturating_duration_since(first.mono) > SUSPICION =>
            {
                State::Suspect(now)
            }
            (None, Strength::Possible) => State::Suspect(now),
            _ => State::Rejected(Distrust {
                pid: subject.process.pid,
                exe: Arc::clone(&subject.process.exe),
                uid: subject.process.uid,
                workload: Arc::clone(&subject.workload.name),
                instance_only: matches!(key, Key::Instance { .. }),
                since: now.wall,
                signal,
            }),
        };
        let made = matches!(state, State::Rejected(_));
        clients.set(key, state);
        made
    }

    /// Everyone who has rejected our certificate, the earliest first.
    pub fn snapshot(&self) -> Vec<Distrust> {
        let clients = self.clients.lock();
        let rejected = clients.states.values().filter_map(|state| match state {
            State::Rejected(distrust) => Some(distrust.clone()),
            _ => None,
        });
        let mut rejected: Vec<_> = rejected.collect();
        rejected.sort_by_key(|distrust| distrust.since);
        rejected
    }

    /// How many verdicts were forgotten for lack of room.
    pub fn forgotten(&self) -> u64 {
        self.clients.lock().forgotten
    }
}

/// Whom a verdict is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Instance { pid: u32, start_ticks: u64 },
    Program { exe: Arc<str>, uid: u32 },
}

impl Key {
    fn of(subject: &Subject) -> Self {
        let process = &subject.process;
        if process.exe.is_empty() || is_interpreter(&process.exe) {
            Self::Instance { pid: process.pid, start_ticks: process.start_ticks }
        } else {
            Self::Program { exe: Arc::clone(&process.exe), uid: process.uid }
        }
    }
}

#[derive(Debug)]
enum State {
    Accepted,
    /// One possible sign of rejection, then.
    Suspect(Now),
    Rejected(Distrust),
}

#[derive(Debug, Default)]
struct Clients {
    states: HashMap<Key, State>,
    /// Keys of `states`, the longest known first.
    order: VecDeque<Key>,
    forgotten: u64,
}

impl Clients {
    fn set(&mut self, key: Key, state: State) {
        if self.states.insert(key.clone(), state).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
            && let Some(State::Rejected(_)) = self.states.remove(&oldest)
        {
            self.forgotten += 1;
        }
    }
}

/// When the process started, on the boot-time clock. Unknown counts as just now: such a process was
/// gone when it was looked at, so it was short-lived.
fn started(subject: &Subject) -> Duration {
    match subject.process.start_ticks {
        0 => Duration::MAX,
        ticks => Duration::from_millis(ticks.saturating_mul(1000 / TICKS)),
    }
}

/// Whether different programs run under this executable.
fn is_interpreter(exe: &str) -> bool {
    const STEMS: [&str; 14] = [
        "python", "pypy", "node", "bun", "deno", "java", "ruby", "perl", "php", "dotnet",
        "electron", "lua", "beam", "julia",
    ];
    let name = exe.rsplit('/').next().unwrap_or(exe);
    STEMS.iter().any(|stem| name.starts_with(stem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, System};
    use crate::subject::{Process, Workload};

    fn subject(exe: &str, pid: u32, started: Duration) -> Subject {
        Subject {
            process: Process {
                pid,
                start_ticks: u64::try_from(started.as_millis()).unwrap() / 10,
                exe: exe.into(),
                command: exe.into(),
                uid: 1000,
                user: None,
                verified: true,
            },
            workload: Workload {
                name: format!("exe:{exe}").into(),
                unit: None,
                container: None,
                pod: None,
                app: None,
            },
        }
    }

    const INSTALLED: Duration = Duration::from_secs(100);
    const LATER: Duration = Duration::from_secs(200);
    const UNKNOWN_CA: Signal = Signal::Alert(48);

    fn trust() -> Trust {
        Trust::new(Settings { assume: false, installed_at: Some(INSTALLED) })
    }

    fn verdict(trust: &Trust, subject: &Subject) -> Verdict {
        trust.verdict(subject, || false)
    }

    fn after(now: Now, seconds: u64) -> Now {
        let by = Duration::from_secs(seconds);
        Now { mono: now.mono + by, wall: now.wall + by }
    }

    #[test]
    fn one_strike_ends_interception_and_is_shown() {
        let (trust, now) = (trust(), System.now());
        let curl = subject("/usr/bin/curl", 7, LATER);
        assert_eq!(verdict(&trust, &curl), Verdict::Intercept);
        assert!(trust.rejected(&curl, UNKNOWN_CA, now));
        assert!(!trust.rejected(&curl, Signal::Fin, after(now, 1)));
        let untrusted = Verdict::Untrusted { since: now.wall, signal: UNKNOWN_CA };
        assert_eq!(verdict(&trust, &curl), untrusted);
        // Another run of the same program, but not another user's.
        let again = subject("/usr/bin/curl", 8, LATER);
        assert_eq!(verdict(&trust, &again), untrusted);
        let mut other = again;
        other.process.uid = 1001;
        assert_eq!(verdict(&trust, &other), Verdict::Intercept);
        let shown = trust.snapshot();
        assert_eq!((shown.len(), shown[0].pid, shown[0].instance_only), (1, 7, false));
    }

    #[test]
    fn an_interpreters_verdict_is_the_instances() {
        let (trust, now) = (trust(), System.now());
        let python = subject("/usr/bin/python3.13", 7, LATER);
        trust.rejected(&python, Signal::Fin, now);
        assert!(matches!(verdict(&trust, &python), Verdict::Untrusted { .. }));
        assert_eq!(verdict(&trust, &subject("/usr/bin/python3.13", 8, LATER)), Verdict::Intercept);
        let reused = subject("/usr/bin/python3.13", 7, LATER * 2);
        assert_eq!(verdict(&trust, &reused), Verdict::Intercept, "the pid is another's now");
    }

    #[test]
    fn a_closed_connection_from_one_who_trusts_us_means_nothing() {
        let (trust, now) = (trust(), System.now());
        let node = subject("/usr/bin/node", 7, LATER);
        trust.accepted(&node);
        for signal in [Signal::Fin, Signal::Rst, Signal::Unused, Signal::Unused] {
            assert!(!trust.rejected(&node, signal, now));
        }
        assert_eq!(verdict(&trust, &node), Verdict::Intercept);
        assert!(trust.rejected(&node, UNKNOWN_CA, now), "an alert still counts");
    }

    #[test]
    fn connections_left_unused_count_only_in_pairs() {
        let (trust, now) = (trust(), System.now());
        let wget = subject("/usr/bin/wget", 7, LATER);
        assert!(!trust.rejected(&wget, Signal::Unused, now));
        assert!(!trust.rejected(&wget, Signal::Unused, after(now, 61)));
        assert!(trust.rejected(&wget, Signal::Unused, after(now, 100)));
    }

    #[test]
    fn older_processes_and_hosts_without_the_ca_are_left_alone_unless_vouched_for() {
        let trust = trust();
        let old = subject("/usr/bin/app", 7, Duration::from_secs(99));
        assert_eq!(verdict(&trust, &old), Verdict::NeedsRestart);
        assert_eq!(trust.verdict(&old, || true), Verdict::Intercept);
        let gone = subject("", 9, Duration::ZERO);
        assert_eq!(verdict(&trust, &gone), Verdict::Intercept);

        trust.set(Settings::default());
        let young = subject("/usr/bin/app", 8, LATER);
        assert_eq!(verdict(&trust, &young), Verdict::NotInstalled);
        assert_eq!(trust.verdict(&young, || true), Verdict::Intercept);

        trust.set(Settings { assume: true, installed_at: None });
        assert_eq!(verdict(&trust, &old), Verdict::Intercept);
    }

    #[test]
    fn installation_is_placed_on_the_boot_clock() {
        let now = System.now();
        let at = |ago| now.wall.checked_sub(Duration::from_secs(ago));
        let settings = |ago| Settings::new(false, at(ago), now, Duration::from_secs(1000));
        assert_eq!(settings(300).installed_at, Some(Duration::from_secs(700)));
        assert_eq!(settings(5000).installed_at, Some(Duration::ZERO), "before the boot");
        assert_eq!(Settings::new(true, None, now, LATER).installed_at, None);
    }

    #[test]
    fn memory_is_bounded_and_says_what_it_dropped() {
        let (trust, now) = (trust(), System.now());
        for pid in 0..u32::try_from(CAPACITY).unwrap() + 5 {
            trust.rejected(&subject("/usr/bin/node", pid, LATER), UNKNOWN_CA, now);
        }
        assert_eq!((trust.snapshot().len(), trust.forgotten()), (CAPACITY, 5));
    }
}
