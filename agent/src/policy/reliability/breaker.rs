//! A circuit breaker: after enough failures calls are rejected at once, until a few that are let
//! through show that it is over.
//!
//! Closed, it counts. Open, it rejects until its time has come. Half-open, it lets a few probes
//! through: as many good ones close it, one bad one opens it for longer. A probe that never
//! reports back is given up after a while, so that it can't keep the breaker half-open for ever.

use std::time::{Duration, Instant};

use super::verdict::Sign;

/// When a breaker opens and closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Failures in a row that open it.
    pub failures: u32,
    /// Share of failures in the window that opens it, in percent.
    pub failure_percent: u8,
    /// Calls in the window below which the share says nothing.
    pub minimum_calls: u64,
    /// The window.
    pub window: Duration,
    /// How long it stays open the first time.
    pub open: Duration,
    /// How long it stays open at most.
    pub max_open: Duration,
    /// Whether it stays open twice as long each time it opens again.
    pub adaptive: bool,
    /// Calls let through at a time when half-open, and good ones needed to close it.
    pub probes: u32,
    /// Whether a rate limit counts as a failure.
    pub trip_on_rate_limit: bool,
}

/// Parts of the window that are counted together.
const SLOTS: usize = 10;
/// How long a probe may take before it is given up for lost.
const LEASE: Duration = Duration::from_mins(1);
/// How long it must have been closed for its next opening to count as the first again.
const FORGIVEN: Duration = Duration::from_mins(15);

/// What a breaker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Lets calls through.
    Closed,
    /// Rejects them until then; `None` is until somebody resets it.
    Open(Option<Instant>),
    /// Lets a few through to see.
    HalfOpen,
}

/// What a breaker says to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Go on; hand the pass in with the result.
    Pass(Pass),
    /// No. May be asked again then, where that is known.
    Reject(Option<Instant>),
}

/// Belongs to one call that was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// Results from before the last change of state say nothing of this one.
    era: u64,
    /// The probe's number.
    probe: Option<u64>,
}

impl Pass {
    /// Whether the call is one of those by which an open breaker finds out.
    pub fn is_probe(self) -> bool {
        self.probe.is_some()
    }
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It opened.
    Opened,
    /// It closed.
    Closed,
}

/// One breaker.
#[derive(Debug)]
pub struct Breaker {
    born: Instant,
    state: State,
    since: Instant,
    era: u64,
    /// Why it is open, in one line.
    reason: Option<String>,
    by_hand: bool,
    /// Failures in a row.
    row: u32,
    window: [Slot; SLOTS],
    probes: Vec<Probe>,
    next_probe: u64,
    good_probes: u32,
    /// How often it opened without a long healthy time in between.
    repeats: u32,
    opened: u64,
    passed: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Which stretch of time since the breaker began, plus one; 0 is none.
    number: u64,
    calls: u64,
    failures: u64,
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    number: u64,
    expires: Instant,
}

/// One result, with what it takes to understand it.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// What the call came to.
    pub sign: Sign,
    /// Whether failures may open it now; they count in any case.
    pub may_open: bool,
    /// How long the provider asked to be left alone.
    pub retry_after: Option<Duration>,
    /// What failed, in a few words.
    pub what: &'a str,
}

impl Breaker {
    /// A closed one. All instants it is told later are at or after `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            born: now,
            state: State::Closed,
            since: now,
            era: 0,
            reason: None,
            by_hand: false,
            row: 0,
            window: [Slot::default(); SLOTS],
            probes: Vec::new(),
            next_probe: 0,
            good_probes: 0,
            repeats: 0,
            opened: 0,
            passed: 0,
        }
    }

    /// Whether a call may be made.
    pub fn ask(&mut self, settings: &Settings, now: Instant) -> Gate {
        self.look(now);
        let gate = match self.state {
            State::Closed => Gate::Pass(Pass { era: self.era, probe: None }),
            State::Open(until) => Gate::Reject(until),
            State::HalfOpen => {
                self.probes.retain(|probe| probe.expires > now);
                let all = self.probes.len() >= settings.probes.max(1) as usize;
                match self.probes.iter().map(|probe| probe.expires).min().filter(|_| all) {
                    Some(first) => Gate::Reject(Some(first)),
                    None => Gate::Pass(self.probe(now)),
                }
            }
        };
        self.passed += u64::from(matches!(gate, Gate::Pass(_)));
        gate
    }

    /// A pass for a call that is made although the breaker said no: it is only watched.
    pub fn watch(&mut self) -> Pass {
        self.passed += 1;
        Pass { era: self.era, probe: None }
    }

    /// The pass was not used.
    pub fn release(&mut self, pass: Pass) {
        self.passed = self.passed.saturating_sub(1);
        self.probes.retain(|probe| Some(probe.number) != pass.probe);
    }

    /// Takes a call's result.
    pub fn report(
        &mut self,
        settings: &Settings,
        pass: Pass,
        report: &Report<'_>,
        now: Instant,
    ) -> Option<Change> {
        self.look(now);
        if pass.era != self.era {
            // What was in flight when it opened fails late; it must neither shorten nor repeat
            // the opening, but a longer wait that the provider asks for holds.
            if let (State::Open(Some(until)), Some(wait)) = (self.state, report.retry_after) {
                self.state = State::Open(Some(until.max(now + wait.min(settings.max_open))));
            }
            return None;
        }
        let was_probe = self.probes.len();
        self.probes.retain(|probe| Some(probe.number) != pass.probe);
        let was_probe = pass.probe.is_some() && self.probes.len() < was_probe;
        match self.state {
            State::Closed => self.count(settings, report, now),
            State::HalfOpen => match report.sign {
                Sign::Failing => Some(self.open(settings, report, now)),
                Sign::Alive if was_probe => {
                    self.good_probes += 1;
                    (self.good_probes >= settings.probes.max(1)).then(|| self.close(now))
                }
                Sign::Alive | Sign::Neither => None,
            },
            State::Open(_) => None,
        }
    }

    /// Opens it until it is reset.
    pub fn trip(&mut self, now: Instant) -> Option<Change> {
        let was_open = matches!(self.state, State::Open(_));
        self.enter(State::Open(None), now);
        self.by_hand = true;
        self.reason = Some("opened by hand".to_owned());
        self.opened += u64::from(!was_open);
        (!was_open).then_some(Change::Opened)
    }

    /// Goes on as another agent's, which was open: until then, or until somebody resets it.
    pub fn adopt(&mut self, until: Option<Instant>, reason: Option<String>, now: Instant) {
        self.enter(State::Open(until), now);
        self.by_hand = until.is_none();
        self.reason = reason;
    }

    /// Closes it and forgets what was counted.
    pub fn reset(&mut self, now: Instant) -> Option<Change> {
        let was_closed = self.state == State::Closed;
        self.close(now);
        self.repeats = 0;
        (!was_closed).then_some(Change::Closed)
    }

    /// A health check found the provider well: an open breaker lets probes through at once.
    pub fn hint_well(&mut self, now: Instant) {
        if matches!(self.state, State::Open(Some(_))) {
            self.enter(State::HalfOpen, now);
        }
    }

    /// What it does now.
    pub fn state(&self, now: Instant) -> State {
        match self.state {
            State::Open(Some(until)) if until <= now => State::HalfOpen,
            state => state,
        }
    }

    /// Since when.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Why it is open.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Whether somebody opened it.
    pub fn is_by_hand(&self) -> bool {
        self.by_hand
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.row
    }

    /// Calls and failures in the window.
    pub fn counted(&self, settings: &Settings, now: Instant) -> (u64, u64) {
        let newest = self.slot_number(settings, now);
        let live = self.window.iter().filter(|slot| slot.number + SLOTS as u64 > newest);
        live.fold((0, 0), |(calls, failures), slot| (calls + slot.calls, failures + slot.failures))
    }

    /// Times it opened.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// Calls it let through.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// Whether it is closed and knows of nothing.
    pub fn is_idle(&self, settings: &Settings, now: Instant) -> bool {
        self.state == State::Closed && self.row == 0 && self.counted(settings, now).0 == 0
    }

    /// What time alone changes.
    fn look(&mut self, now: Instant) {
        if let State::Open(Some(until)) = self.state
            && until <= now
        {
            self.enter(State::HalfOpen, now);
        }
    }

    fn probe(&mut self, now: Instant) -> Pass {
        let number = self.next_probe;
        self.next_probe += 1;
        self.probes.push(Probe { number, expires: now + LEASE });
        Pass { era: self.era, probe: Some(number) }
    }

    fn count(&mut self, settings: &Settings, report: &Report<'_>, now: Instant) -> Option<Change> {
        let failing = match report.sign {
            Sign::Neither => return None,
            Sign::Alive => false,
            Sign::Failing => true,
        };
        self.row = if failing { self.row.saturating_add(1) } else { 0 };
        let number = self.slot_number(settings, now);
        let slot = &mut self.window[usize::try_from(number % SLOTS as u64).unwrap_or(0)];
        if slot.number != number {
            *slot = Slot { number, ..Slot::default() };
        }
        slot.calls += 1;
        slot.failures += u64::from(failing);
        if !failing || !report.may_open {
            return None;
        }
        let (calls, failures) = self.counted(settings, now);
        let too_many = calls >= settings.minimum_calls
            && failures * 100 >= calls * u64::from(settings.failure_percent);
        if self.row < settings.failures && !too_many {
            return None;
        }
        Some(self.open(settings, report, now))
    }

    fn open(&mut self, settings: &Settings, report: &Report<'_>, now: Instant) -> Change {
        let row = self.row.max(1);
        let (calls, failures) = self.counted(settings, now);
        let healthy = now.saturating_duration_since(self.since);
        if self.state == State::Closed && healthy >= FORGIVEN {
            self.repeats = 0;
        }
        let times = if settings.adaptive { 1_u32 << self.repeats.min(16) } else { 1 };
        let mut wait = settings.open.saturating_mul(times).min(settings.max_open);
        if let Some(asked) = report.retry_after {
            wait = wait.max(asked.min(settings.max_open));
        }
        self.reason = Some(if self.state == State::HalfOpen {
            format!("a probe failed: {}", report.what)
        } else if row >= settings.failures {
            format!("{row} failures in a row, the last one: {}", report.what)
        } else {
            format!("{failures} of {calls} calls failed, the last one: {}", report.what)
        });
        self.repeats = self.repeats.saturating_add(1);
        self.opened += 1;
        self.enter(State::Open(Some(now + wait)), now);
        Change::Opened
    }

    fn close(&mut self, now: Instant) -> Change {
        self.enter(State::Closed, now);
        self.reason = None;
        self.row = 0;
        self.window = [Slot::default(); SLOTS];
        Change::Closed
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
        self.era += 1;
        self.by_hand = false;
        self.probes.clear();
        self.good_probes = 0;
    }

    /// Which part of a window `now` is in; the first is 1.
    fn slot_number(&self, settings: &Settings, now: Instant) -> u64 {
        let slot =
            (settings.window / u32::try_from(SLOTS).unwrap_or(1)).max(Duration::from_millis(1));
        let age = now.saturating_duration_since(self.born).as_millis() / slot.as_millis();
        u64::try_from(age).unwrap_or(u64::MAX - SLOTS as u64) + 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::{Clock as _, System};

    fn settings() -> Settings {
        Settings {
            failures: 5,
            failure_percent: 50,
            minimum_calls: 20,
            window: Duration::from_secs(30),
            open: Duration::from_mins(1),
            max_open: Duration::from_mins(15),
            adaptive: true,
            probes: 3,
            trip_on_rate_limit: false,
        }
    }

    /// A breaker and its time.
    struct Scene {
        breaker: Breaker,
        settings: Settings,
        now: Instant,
    }

    impl Scene {
        fn new() -> Self {
            let now = System.now().mono;
            Self { breaker: Breaker::new(now), settings: settings(), now }
        }

        fn wait(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        fn ask(&mut self) -> Gate {
            self.breaker.ask(&self.settings, self.now)
        }

        fn pass(&mut self) -> Pass {
            match self.ask() {
                Gate::Pass(pass) => pass,
                Gate::Reject(until) => panic!("rejected until {until:?}"),
            }
        }

        fn tell(&mut self, pass: Pass, sign: Sign, retry_after: Option<u64>) -> Option<Change> {
            let retry_after = retry_after.map(Duration::from_secs);
            let report = Report { sign, may_open: true, retry_after, what: "503" };
            self.breaker.report(&self.settings, pass, &report, self.now)
        }

        fn call(&mut self, sign: Sign) -> Option<Change> {
            let pass = self.pass();
            self.tell(pass, sign, None)
        }

        fn open(&mut self) {
            for _ in 0..4 {
                assert_eq!(self.call(Sign::Failing), None);
            }
            assert_eq!(self.call(Sign::Failing), Some(Change::Opened));
        }

        /// Seconds until a call may be tried again.
        fn rejected_for(&mut self) -> u64 {
            match self.ask() {
                Gate::Reject(Some(until)) => (until - self.now).as_secs(),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn failures_in_a_row_open_it_probes_close_it() {
        let mut scene = Scene::new();
        scene.open();
        assert_eq!(scene.rejected_for(), 60);
        assert!(scene.breaker.reason().unwrap().contains("5 failures in a row"));
        scene.wait(60);
        let probes = [scene.pass(), scene.pass(), scene.pass()];
        assert!(probes.iter().all(|probe| probe.is_probe()));
        assert!(matches!(scene.ask(), Gate::Reject(Some(_))), "three probes at a time");
        let told = probes.map(|probe| scene.tell(probe, Sign::Alive, None));
        assert_eq!(told, [None, None, Some(Change::Closed)]);
        assert_eq!(scene.breaker.state(scene.now), State::Closed);
        assert_eq!(scene.breaker.failures(), 0);
    }

    #[test]
    fn a_good_call_ends_the_row() {
        let mut scene = Scene::new();
        for _ in 0..4 {
            for _ in 0..4 {
                assert_eq!(scene.call(Sign::Failing), None);
            }
            scene.wait(31);
            assert_eq!(scene.call(Sign::Alive), None);
        }
    }

    #[test]
    fn half_of_twenty_calls_in_the_window_open_it() {
        let mut scene = Scene::new();
        for _ in 0..9 {
            assert_eq!(scene.call(Sign::Alive), None);
            assert_eq!(scene.call(Sign::Failing), None);
        }
        assert_eq!(scene.call(Sign::Alive), None);
        assert_eq!(scene.call(Sign::Failing), Some(Change::Opened));
        assert!(scene.breaker.reason().unwrap().contains("10 of 20"));
        let mut slow = Scene::new();
        for _ in 0..40 {
            assert_eq!(slow.call(Sign::Alive), None);
            assert_eq!(slow.call(Sign::Failing), None, "19 calls or less are in any 30 s");
            slow.wait(4);
        }
    }

    #[test]
    fn p10_a_rate_limit_says_nothing() {
        let mut scene = Scene::new();
        for _ in 0..100 {
            assert_eq!(scene.call(Sign::Neither), None);
        }
        assert_eq!(scene.breaker.counted(&scene.settings, scene.now), (0, 0));
    }

    #[test]
    fn it_stays_open_longer_each_time_up_to_a_quarter_of_an_hour() {
        let mut scene = Scene::new();
        scene.open();
        let mut waits = vec![scene.rejected_for()];
        for _ in 0..6 {
            let seconds = *waits.last().unwrap();
            scene.wait(seconds);
            assert_eq!(scene.call(Sign::Failing), Some(Change::Opened));
            waits.push(scene.rejected_for());
        }
        assert_eq!(waits, [60, 120, 240, 480, 900, 900, 900]);
    }

    #[test]
    fn p10_a_lost_probe_cannot_wedge_it() {
        let mut scene = Scene::new();
        scene.open();
        scene.wait(60);
        let lost = [scene.pass(), scene.pass(), scene.pass()];
        assert_eq!(scene.rejected_for(), 60);
        scene.wait(60);
        for _ in 0..3 {
            let probe = scene.pass();
            scene.tell(probe, Sign::Alive, None);
        }
        assert_eq!(scene.breaker.state(scene.now), State::Closed);
        assert_eq!(scene.tell(lost[0], Sign::Failing, None), None, "too late to say anything");
        assert_eq!(scene.breaker.failures(), 0);
    }

    #[test]
    fn p10_of_two_deadlines_the_later_one_holds() {
        let mut scene = Scene::new();
        let late = [scene.pass(), scene.pass(), scene.pass()];
        scene.open();
        assert_eq!(scene.tell(late[0], Sign::Failing, None), None);
        assert_eq!(scene.rejected_for(), 60);
        assert_eq!(scene.tell(late[1], Sign::Failing, Some(300)), None);
        assert_eq!(scene.rejected_for(), 300);
        assert_eq!(scene.tell(late[2], Sign::Failing, Some(90)), None);
        assert_eq!(scene.rejected_for(), 300, "a shorter one does not shorten it");
    }

    #[test]
    fn by_hand_it_opens_until_it_is_reset() {
        let mut scene = Scene::new();
        assert_eq!(scene.breaker.trip(scene.now), Some(Change::Opened));
        scene.wait(100_000);
        scene.breaker.hint_well(scene.now);
        assert_eq!(scene.ask(), Gate::Reject(None));
        assert!(scene.breaker.is_by_hand());
        assert_eq!(scene.breaker.reset(scene.now), Some(Change::Closed));
        assert!(matches!(scene.ask(), Gate::Pass(_)));
        scene.open();
        assert_eq!(scene.rejected_for(), 60, "a reset forgets earlier openings");
    }

    #[test]
    fn a_health_check_lets_it_find_out_early() {
        let mut scene = Scene::new();
        scene.open();
        scene.breaker.hint_well(scene.now);
        for _ in 0..3 {
            scene.call(Sign::Alive);
        }
        assert_eq!(scene.breaker.state(scene.now), State::Closed);
    }

    proptest! {
        /// Whatever happens, it rejects only before a time it names, and lets calls through then.
        #[test]
        fn it_always_opens_up_again(
            steps in prop::collection::vec((0_u64..120, 0_u8..4, 0_u64..2000), 1..300),
        ) {
            let mut scene = Scene::new();
            let mut held = Vec::new();
            for (seconds, what, asked) in steps {
                scene.wait(seconds);
                match (scene.ask(), what) {
                    (Gate::Reject(until), _) => {
                        let until = until.unwrap();
                        prop_assert!(until > scene.now);
                        prop_assert!(until - scene.now <= scene.settings.max_open);
                    }
                    (Gate::Pass(pass), 0) => drop(scene.tell(pass, Sign::Alive, None)),
                    (Gate::Pass(pass), 1) => drop(scene.tell(pass, Sign::Failing, Some(asked))),
                    // Reported later, or never.
                    (Gate::Pass(pass), _) => held.push(pass),
                }
                if asked % 3 == 0 && let Some(pass) = held.pop() {
                    scene.tell(pass, Sign::Failing, None);
                }
            }
            scene.wait(scene.settings.max_open.as_secs());
            prop_assert!(matches!(scene.ask(), Gate::Pass(_)));
        }
    }
}
