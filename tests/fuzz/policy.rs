//! Limits and breakers under any order of events, with any figures.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use agent::clock::{Clock as _, Now, System};
use agent::llm::usage::NanoUsd;
use agent::policy::reliability::breaker::{self, Breaker, Gate, Pass, Report};
use agent::policy::reliability::verdict::Sign;
use agent::policy::selector::Selector;
use agent::policy::settings::{Cap, Limit, OnBreach, Over, Per, Quantity, Rule, Says};
use agent::policy::{Actual, Bound, Call, Enforcement, Engine, Settings, Ticket, Verdict};
use agent::record::Billing;
use agent::subject::{Parts, Process, Subject, Workload};
use fastrand::Rng;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// Calls come, cost no more than their bound, and end in any order: no stretch of time holds more
/// than its limit. Sometimes providers claim absurd figures: then only nothing may break.
pub(crate) fn limits(random: &mut Rng) {
    let (requests, dollars) = (random.u64(1..20), random.u64(1..1_000));
    let caps = [
        cap("requests_per_minute", Quantity::Requests, Over::Sliding(MINUTE), requests),
        cap("usd_per_hour", Quantity::Usd, Over::Sliding(HOUR), dollars),
        cap("tokens_per_day", Quantity::Tokens, Over::Day, random.u64(1..1_000_000)),
    ];
    let mut now = System.now();
    let kinds = random.usize(1..=caps.len());
    let mut engine = Engine::new(settings(&caps[..kinds]), now);
    let is_absurd = random.u8(..) < 64;
    let subject = subject();
    let mut made: Vec<(Instant, u64)> = Vec::new();
    let mut open: Vec<(Ticket, usize, u64)> = Vec::new();
    for _ in 0..random.usize(1..200) {
        let pause = Duration::from_millis(random.u64(0..90_000));
        now = Now { mono: now.mono + pause, wall: now.wall + pause };
        if random.bool() && !open.is_empty() {
            let (ticket, at, bound) = open.swap_remove(random.usize(..open.len()));
            let cost = if is_absurd { random.u64(..) } else { random.u64(0..=bound) };
            made[at].1 = cost;
            let actual = Actual {
                sent: true,
                tokens: if is_absurd { random.u64(..) } else { 100 },
                cost: Some(money(cost)),
                failed: random.bool(),
            };
            engine.settle(ticket, &actual, now);
            continue;
        }
        let bound = if is_absurd { random.u64(..) } else { random.u64(0..=dollars) };
        let call = call(&subject, bound);
        if let Verdict::Pass { ticket, .. } = engine.admit(&call, true, now).verdict {
            made.push((now.mono, bound));
            open.push((ticket, made.len() - 1, bound));
        }
    }
    for (ticket, _, _) in open {
        engine.settle(ticket, &Actual::default(), now);
    }
    if is_absurd {
        return;
    }
    let within = |from: Instant, length: Duration| {
        made.iter().filter(move |(at, _)| *at >= from && *at < from + length)
    };
    for &(from, _) in &made {
        let count = within(from, MINUTE).count() as u64;
        assert!(count <= requests, "{count} of {requests} requests in a minute");
        let spent: u64 = within(from, HOUR).map(|(_, cost)| cost).sum();
        assert!(kinds < 2 || spent <= dollars, "{spent} of {dollars} nano-dollars in an hour");
    }
}

fn cap(unit: &'static str, of: Quantity, over: Over, limit: u64) -> Cap {
    Cap { unit, of, over, limit: NonZeroU64::new(limit).unwrap_or(NonZeroU64::MIN) }
}

/// One rule about everything.
fn settings(caps: &[Cap]) -> Settings {
    let limit =
        Limit { caps: caps.to_vec(), on_breach: OnBreach::Deny, cut_streams: false, watch: None };
    let rule = Rule {
        name: "rate_limits.*".into(),
        about: "*".into(),
        enforcement: Enforcement::Enforce,
        selector: Selector::default(),
        per: Per::All,
        says: Says::Limit(limit),
    };
    Settings { rules: vec![rule], ..Settings::default() }
}

fn subject() -> Subject {
    let process = Process {
        pid: 1,
        start_ticks: 1,
        exe: "/usr/bin/x".into(),
        command: "x".into(),
        uid: 1,
        user: None,
        verified: true,
    };
    let workload = Workload::derive(&Parts { exe: "x", ..Parts::default() });
    Subject { process, workload }
}

/// A call of a hundred tokens at most, at such a price.
fn call(subject: &Subject, cost: u64) -> Call<'_> {
    Call {
        subject,
        agent_name: None,
        environment: "prod",
        provider: "openai",
        host: "api.openai.com",
        path: "/v1/chat/completions",
        model: Some("gpt-4o"),
        body_bytes: 100,
        bound: Bound {
            input: 50,
            output: 50,
            output_asked: true,
            input_cost: Some(NanoUsd(0)),
            cost: Some(money(cost)),
            unread: false,
        },
        billing: Billing::Metered,
        prompt: None,
    }
}

fn money(nanos: u64) -> NanoUsd {
    NanoUsd(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// However results come in, a breaker that nobody holds open lets calls through again.
pub(crate) fn any_breaker(random: &mut Rng) {
    let settings = breaker::Settings {
        failures: random.u32(1..10),
        failure_percent: random.u8(1..=100),
        minimum_calls: random.u64(1..50),
        window: Duration::from_millis(random.u64(1..60_000)),
        open: Duration::from_millis(random.u64(1..60_000)),
        max_open: Duration::from_millis(random.u64(60_000..900_000)),
        adaptive: random.bool(),
        probes: random.u32(1..5),
        trip_on_rate_limit: random.bool(),
    };
    let mut now = System.now().mono;
    let mut breaker = Breaker::new(now);
    let mut passes: Vec<Pass> = Vec::new();
    for _ in 0..random.usize(1..300) {
        now += Duration::from_millis(random.u64(0..20_000));
        match random.u8(..16) {
            0 => drop(breaker.reset(now)),
            1 => passes.clear(),
            2..8 => {
                if let Gate::Pass(pass) = breaker.ask(&settings, now) {
                    passes.push(pass);
                }
            }
            _ if passes.is_empty() => {}
            _ => {
                let pass = passes.swap_remove(random.usize(..passes.len()));
                let sign = [Sign::Alive, Sign::Failing, Sign::Neither][random.usize(..3)];
                let report = Report {
                    sign,
                    may_open: random.bool(),
                    retry_after: random.bool().then(|| Duration::from_secs(random.u64(0..600))),
                    what: "x",
                };
                breaker.report(&settings, pass, &report, now);
            }
        }
    }
    // Longer than any opening, any wish of a provider's, and any probe that was lost.
    now += Duration::from_hours(1);
    assert!(matches!(breaker.ask(&settings, now), Gate::Pass(_)), "it is wedged: {breaker:?}");
}
