//! Whose TLS may be terminated: who trusts the local CA, and who has shown not to.
//!
//! A client that rejects our certificate costs its application one call, so it is asked once. From
//! then on its connections are passed through, without asking again: verdicts hold, over restarts of
//! the agent too, until the executable, the variables that name certificates, or the CA change. What
//! an executable does says little where it is an interpreter (in one Python, one library may trust
//! the CA and another not), so there the verdict belongs to the process instance, and after a second
//! one to the script; never to the bare interpreter. Otherwise it belongs to the executable and its
//! user.

pub mod installed;
pub mod ledger;
pub mod cause;
mod memory;
mod signal;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use self::memory::{Clients, DRIFT, Key, State};
use crate::capture::identity::Traits;
use crate::clock::Now;
use crate::subject::Subject;

pub use cause::Cause;
pub use memory::{Ground, Saved};
pub use signal::{Reached, Signal, Strength, classify};

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

    /// Whether the CA was installed since. The two clocks drift, so a moment later is the same.
    fn is_newer_than(self, before: Self) -> bool {
        let earlier = |at: Duration| before.installed_at.is_none_or(|then| then + DRIFT < at);
        self.installed_at.is_some_and(earlier)
    }
}

/// A client, as a verdict sees it.
#[derive(Debug, Clone)]
pub struct Client<'a> {
    /// Who it is.
    pub subject: &'a Subject,
    /// What decides whom it trusts, where that could be seen.
    pub traits: Option<Arc<Traits>>,
}

impl Client<'_> {
    fn key(&self) -> Key {
        Key::of(self.subject, self.traits.as_ref())
    }

    fn script(&self) -> Option<Key> {
        Key::script(self.subject, self.traits.as_ref())
    }
}

/// A client that has rejected our certificate, for `weir ps` and `weir explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Why, and what helps, once that was found out.
    #[serde(default)]
    pub cause: Option<Cause>,
}

/// The verdicts. Shared by all connections.
#[derive(Debug)]
pub struct Trust {
    settings: Mutex<Settings>,
    clients: Mutex<Clients>,
    changed: Notify,
}

impl Trust {
    /// No verdicts yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings: Mutex::new(settings), clients: Mutex::default(), changed: Notify::new() }
    }

    /// Takes over what of an earlier agent's verdicts still holds.
    pub fn restore(&self, saved: Saved, ground: &Ground) {
        *self.clients.lock() = Clients::restore(saved, ground);
    }

    /// The verdicts, to be kept.
    pub fn save(&self, ground: Ground) -> Saved {
        self.clients.lock().save(ground)
    }

    /// Until something has changed that should be kept.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes note of an installation or removal of the CA. What clients did before it was installed
    /// says nothing about what they do now: they are asked again.
    pub fn set(&self, settings: Settings) {
        let before = std::mem::replace(&mut *self.settings.lock(), settings);
        if settings.is_newer_than(before) {
            *self.clients.lock() = Clients::default();
            self.changed.notify_one();
        }
    }

    /// Whether clients trust us for all that is known: the CA is installed, or taken to be.
    pub fn is_expected(&self) -> bool {
        let settings = self.settings.lock();
        settings.assume || settings.installed_at.is_some()
    }

    /// Whether the host's store has the CA.
    pub fn is_installed(&self) -> bool {
        self.settings.lock().installed_at.is_some()
    }

    /// Whether that is only taken to be so (`trust: {assume: true}`).
    pub fn is_assumed(&self) -> bool {
        self.settings.lock().assume
    }

    /// What to do with a connection of a client. `vouched` is asked only where the answer depends on
    /// it: whether the process was started with the CA in its environment (`weir run`).
    pub fn verdict(&self, client: &Client<'_>, vouched: impl FnOnce() -> bool) -> Verdict {
        {
            let clients = self.clients.lock();
            let rejected = |key: &Key| match clients.states.get(key) {
                Some(State::Rejected(distrust)) => Some((distrust.since, distrust.signal)),
                _ => None,
            };
            let own = client.key();
            // An instance that has accepted us is not its script's other runs.
            let known = match clients.states.get(&own) {
                Some(State::Accepted) => None,
                _ => rejected(&own).or_else(|| rejected(&client.script()?)),
            };
            if let Some((since, signal)) = known {
                return Verdict::Untrusted { since, signal };
            }
        }
        let settings = *self.settings.lock();
        if settings.assume {
            return Verdict::Intercept;
        }
        let lacking = match settings.installed_at {
            None => Verdict::NotInstalled,
            Some(installed) if started(client.subject) < installed => Verdict::NeedsRestart,
            Some(_) => return Verdict::Intercept,
        };
        if vouched() { Verdict::Intercept } else { lacking }
    }

    /// Takes note that a client sent application data under our certificate.
    pub fn accepted(&self, client: &Client<'_>) {
        let mut clients = self.clients.lock();
        for key in [Some(client.key()), client.script()].into_iter().flatten() {
            if !matches!(clients.states.get(&key), Some(State::Accepted | State::Rejected(_))) {
                clients.set(key, State::Accepted);
                self.changed.notify_one();
            }
        }
    }

    /// Takes note of a sign that a client rejects our certificate. True where this made the
    /// verdict.
    pub fn rejected(&self, client: &Client<'_>, signal: Signal, now: Now) -> bool {
        let mut clients = self.clients.lock();
        let key = client.key();
        let next = judge(clients.states.get(&key), signal, now);
        let Some(next) = next else { return false };
        let made = matches!(next, Step::Reject);
        let distrust = |instance_only| Distrust {
            pid: client.subject.process.pid,
            exe: Arc::clone(&client.subject.process.exe),
            uid: client.subject.process.uid,
            workload: Arc::clone(&client.subject.workload.name),
            instance_only,
            since: now.wall,
            signal,
            cause: None,
        };
        let instance_only = matches!(key, Key::Instance { .. });
        let state =
            if made { State::Rejected(distrust(instance_only)) } else { State::Suspect(now) };
        clients.set(key, state);
        // A script run again and again must not lose a call each time: its second instance that
        // rejects us speaks for those to come.
        if made && let Some(script) = client.script() {
            match clients.states.get(&script) {
                Some(State::Accepted | State::Rejected(_)) => {}
                Some(State::Suspect(_)) => clients.set(script, State::Rejected(distrust(false))),
                None => clients.set(script, State::Suspect(now)),
            }
        }
        if made {
            self.changed.notify_one();
        }
        made
    }

    /// Takes note of why a client rejects us.
    pub fn explained(&self, client: &Client<'_>, cause: &Cause) {
        let mut clients = self.clients.lock();
        for key in [Some(client.key()), client.script()].into_iter().flatten() {
            if let Some(State::Rejected(distrust)) = clients.states.get_mut(&key) {
                distrust.cause = Some(cause.clone());
                self.changed.notify_one();
            }
        }
    }

    /// Why a process is passed through, where it, its script or its program has rejected us: the
    /// latest of what is known. `process` is its pid and start.
    pub fn cause(
        &self,
        process: (u32, u64),
        (exe, uid, workload): (&str, u32, &str),
    ) -> Option<Distrust> {
        let clients = self.clients.lock();
        let about = clients.states.iter().filter_map(|(key, state)| match state {
            State::Rejected(found) if key.covers(&process, exe, uid, workload) => Some(found),
            _ => None,
        });
        about.max_by_key(|found| found.since).cloned()
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

/// What a sign of rejection leads to.
enum Step {
    Suspect,
    Reject,
}

/// What a sign leads to, with what is known; `None` where it changes nothing.
fn judge(known: Option<&State>, signal: Signal, now: Now) -> Option<Step> {
    match (known, signal.strength()) {
        // From one who has accepted us before, a connection given up is only that.
        (Some(State::Rejected(_)), _)
        | (Some(State::Accepted), Strength::Likely | Strength::Possible) => None,
        (Some(State::Suspect(first)), Strength::Possible)
            if now.mono.saturating_duration_since(first.mono) > SUSPICION =>
        {
            Some(Step::Suspect)
        }
        (None, Strength::Possible) => Some(Step::Suspect),
        _ => Some(Step::Reject),
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

#[cfg(test)]
mod tests {
    use super::memory::CAPACITY;
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

    fn client(subject: &Subject) -> Client<'_> {
        Client { subject, traits: None }
    }

    fn verdict(trust: &Trust, subject: &Subject) -> Verdict {
        trust.verdict(&client(subject), || false)
    }

    fn seen(image: u64, file: &str) -> Arc<Traits> {
        let variables = vec![("SSL_CERT_FILE".to_owned(), file.to_owned())];
        Arc::new(Traits { image: [image; 5], root: [1, 2], variables })
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
        assert!(trust.rejected(&client(&curl), UNKNOWN_CA, now));
        assert!(!trust.rejected(&client(&curl), Signal::Fin, after(now, 1)));
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
    fn a_new_installation_makes_up_for_what_was_rejected_before() {
        let (trust, now) = (trust(), System.now());
        let curl = subject("/usr/bin/curl", 7, LATER);
        let untrusted = || matches!(verdict(&trust, &curl), Verdict::Untrusted { .. });
        let set = |at| trust.set(Settings { assume: false, installed_at: at });
        trust.rejected(&client(&curl), UNKNOWN_CA, now);
        // Looked at again, with clocks that drift apart; then removed.
        set(Some(INSTALLED + Duration::from_millis(3)));
        assert!(untrusted());
        set(None);
        assert!(untrusted());
        set(Some(INSTALLED + Duration::from_secs(50)));
        assert_eq!(verdict(&trust, &curl), Verdict::Intercept);
        trust.rejected(&client(&curl), UNKNOWN_CA, now);
        set(Some(INSTALLED + Duration::from_secs(55)));
        assert_eq!(verdict(&trust, &curl), Verdict::Intercept, "installed anew");
    }

    #[test]
    fn an_interpreters_verdict_is_the_instances() {
        let (trust, now) = (trust(), System.now());
        let python = subject("/usr/bin/python3.13", 7, LATER);
        trust.rejected(&client(&python), Signal::Fin, now);
        assert!(matches!(verdict(&trust, &python), Verdict::Untrusted { .. }));
        assert_eq!(verdict(&trust, &subject("/usr/bin/python3.13", 8, LATER)), Verdict::Intercept);
        let reused = subject("/usr/bin/python3.13", 7, LATER * 2);
        assert_eq!(verdict(&trust, &reused), Verdict::Intercept, "the pid is another's now");
    }

    #[test]
    fn a_closed_connection_from_one_who_trusts_us_means_nothing() {
        let (trust, now) = (trust(), System.now());
        let node = subject("/usr/bin/node", 7, LATER);
        trust.accepted(&client(&node));
        let floods = [Signal::Unused; 20];
        for signal in [Signal::Fin, Signal::Rst, Signal::Garbled].into_iter().chain(floods) {
            assert!(!trust.rejected(&client(&node), signal, now));
        }
        assert_eq!(verdict(&trust, &node), Verdict::Intercept);
        assert!(trust.rejected(&client(&node), UNKNOWN_CA, now), "an alert still counts");
        // From one of whom nothing is known, what is no TLS is enough: it goes where it was going.
        let other = subject("/usr/bin/other", 8, LATER);
        assert!(trust.rejected(&client(&other), Signal::Garbled, now));
    }

    #[test]
    fn connections_left_unused_count_only_in_pairs() {
        let (trust, now) = (trust(), System.now());
        let wget = subject("/usr/bin/wget", 7, LATER);
        assert!(!trust.rejected(&client(&wget), Signal::Unused, now));
        assert!(!trust.rejected(&client(&wget), Signal::Unused, after(now, 61)));
        assert!(trust.rejected(&client(&wget), Signal::Unused, after(now, 100)));
    }

    #[test]
    fn older_processes_and_hosts_without_the_ca_are_left_alone_unless_vouched_for() {
        let trust = trust();
        let old = subject("/usr/bin/app", 7, Duration::from_secs(99));
        assert_eq!(verdict(&trust, &old), Verdict::NeedsRestart);
        assert_eq!(trust.verdict(&client(&old), || true), Verdict::Intercept);
        let gone = subject("", 9, Duration::ZERO);
        assert_eq!(verdict(&trust, &gone), Verdict::Intercept);

        trust.set(Settings::default());
        let young = subject("/usr/bin/app", 8, LATER);
        assert_eq!(verdict(&trust, &young), Verdict::NotInstalled);
        assert_eq!(trust.verdict(&client(&young), || true), Verdict::Intercept);

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
            trust.rejected(&client(&subject("/usr/bin/node", pid, LATER)), UNKNOWN_CA, now);
        }
        assert_eq!((trust.snapshot().len(), trust.forgotten()), (CAPACITY, 5));
    }

    #[test]
    fn another_executable_or_environment_is_asked_anew() {
        let (trust, now) = (trust(), System.now());
        let curl = subject("/usr/bin/curl", 7, LATER);
        let with = |traits| Client { subject: &curl, traits: Some(traits) };
        assert!(trust.rejected(&with(seen(1, "/a")), UNKNOWN_CA, now));
        let asked = |traits| trust.verdict(&with(traits), || false) == Verdict::Intercept;
        assert!(!asked(seen(1, "/a")));
        assert!(asked(seen(2, "/a")), "upgraded");
        assert!(asked(seen(1, "/b")), "given another bundle");
        // Side by side, neither wipes out what is known of the other.
        trust.accepted(&with(seen(1, "/b")));
        assert!(!asked(seen(1, "/a")));
    }

    fn script(name: &str, pid: u32) -> Subject {
        let mut subject = subject("/usr/bin/python3.13", pid, LATER);
        subject.workload.name = name.into();
        subject
    }

    #[test]
    fn a_script_that_rejects_us_twice_is_not_asked_at_every_run() {
        let (trust, now) = (trust(), System.now());
        let name = "exe:python3:agent.py";
        let is_asked = |subject: &Subject| verdict(&trust, subject) == Verdict::Intercept;
        for pid in [7, 8] {
            assert!(is_asked(&script(name, pid)), "{pid}");
            trust.rejected(&client(&script(name, pid)), UNKNOWN_CA, now);
        }
        assert!(!is_asked(&script(name, 9)));
        assert!(is_asked(&script("exe:python3:other.py", 9)));
        // What only an interpreter is known of stands for nothing else.
        for pid in [17, 18] {
            trust.rejected(&client(&script("exe:python3", pid)), UNKNOWN_CA, now);
        }
        assert!(is_asked(&script("exe:python3", 19)));
        // A run that accepts us keeps the script from being written off.
        let mixed = "unit:batch.service";
        trust.accepted(&client(&script(mixed, 20)));
        for pid in [21, 22] {
            trust.rejected(&client(&script(mixed, pid)), UNKNOWN_CA, now);
        }
        assert!(is_asked(&script(mixed, 23)));
    }

    fn ground(boot: &str, root: &str, installed: Option<u64>) -> Ground {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        Ground { boot: boot.to_owned(), root: root.to_owned(), installed_at: installed.map(at) }
    }

    #[test]
    fn verdicts_outlive_the_agent_as_long_as_they_say_something() {
        let (before, now) = (trust(), System.now());
        let (curl, node) = (subject("/usr/bin/curl", 7, LATER), subject("/usr/bin/node", 8, LATER));
        let with = |subject| Client { subject, traits: Some(seen(1, "/a")) };
        before.rejected(&with(&curl), UNKNOWN_CA, now);
        before.rejected(&with(&node), Signal::Fin, now);
        let cause = Cause { what: "so".to_owned(), fix: "do".to_owned() };
        before.explained(&with(&node), &cause);
        let text = serde_json::to_string(&before.save(ground("b", "r", Some(50)))).unwrap();

        let left = |ground: &Ground| {
            let after = trust();
            after.restore(serde_json::from_str(&text).unwrap(), ground);
            let is = |subject| after.verdict(&with(subject), || false) != Verdict::Intercept;
            (is(&curl), is(&node), after)
        };
        let (program, instance, after) = left(&ground("b", "r", Some(50)));
        assert!(program && instance);
        let told = after.cause((8, node.process.start_ticks), ("/usr/bin/node", 1000, "x"));
        assert_eq!(told.unwrap().cause, Some(cause));
        let (program, instance, _) = left(&ground("another boot", "r", Some(50)));
        assert!(program && !instance, "pids are others' now");
        for other in [ground("b", "another", Some(50)), ground("b", "r", Some(90))] {
            let (program, instance, _) = left(&other);
            assert!(!program && !instance, "{other:?}");
        }
        let (program, ..) = left(&ground("b", "r", None));
        assert!(program, "uninstalled since: nothing that would change their minds");
    }
}
