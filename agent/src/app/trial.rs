//! `weir policy test`: a call that nobody makes, put together from what is said of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::admin::calls::DecisionRow;
use crate::admin::money::Usd;
use crate::admin::trial::{Trial, TrialCall, TrialQuery, TrialVerdict};
use crate::admin::{Failure, SCHEMA_VERSION};
use crate::clock::Now;
use crate::llm::maxima::Maxima;
use crate::llm::price::Query;
use crate::llm::providers::{Format, Provider};
use crate::llm::usage::Usage;
use crate::pipeline::Rules;
use crate::policy::reliability::chain;
use crate::policy::settings::Team;
use crate::policy::view::{BreakerState, BreakerView, PolicyView};
use crate::policy::{Bound, Call};
use crate::record::{Billing, Decision};
use crate::subject::{Parts, Process, Subject, Workload};

/// Input tokens of a call of which nothing is said.
const INPUT: u64 = 1_000;
/// Bytes of a body for each token: about four characters of English text.
const BYTES_PER_TOKEN: u64 = 4;
/// The user id that no user has (POSIX), for users whose id is not known.
const NO_UID: u32 = u32::MAX;

/// What would be said of a call. `users` is the text of passwd(5).
pub(super) fn run(
    rules: &Rules,
    teams: &[Team],
    users: &str,
    query: &TrialQuery,
    now: Now,
) -> Result<Trial, Failure> {
    let provider = provider(rules, query)?;
    let now = query.at.map_or(now, |at| shifted(now, at.into()));
    let (subject, team) = subject(rules, teams, users, query)?;
    let bound = bound(rules, provider, query, now.wall);
    let environment = query.environment.as_deref().unwrap_or(&rules.environment);
    let path = path(provider.format, &query.model);
    let call = Call {
        subject: &subject,
        agent_name: None,
        environment,
        provider: &provider.name,
        host: provider.hosts.first().unwrap_or(&provider.base.host),
        path: &path,
        model: Some(&query.model),
        body_bytes: bound.input.saturating_mul(BYTES_PER_TOKEN),
        bound,
        billing: Billing::Metered,
        prompt: None,
    };
    let mut decisions = rules.policies.engine.lock().test(&call, now);
    let (breakers, policies, chain) = {
        let reliability = rules.policies.reliability.lock();
        let chain = chain::find(&reliability.settings().chains, &query.model);
        let chain = chain.map(|chain| Arc::clone(&chain.policy));
        (reliability.breakers(now), reliability.policies(), chain)
    };
    decisions.extend(reliability(&breakers, &policies, chain.as_deref(), &call));
    let refused_by = refusal(&decisions);
    Ok(Trial {
        schema_version: SCHEMA_VERSION,
        acting: rules.policies.is_acting(),
        verdict: if refused_by.is_some() { TrialVerdict::Refuse } else { TrialVerdict::Pass },
        refused_by,
        call: TrialCall {
            workload: subject.workload.name.to_string(),
            user: user_of(&subject.process),
            team: team.as_deref().map(str::to_owned),
            environment: environment.to_owned(),
            provider: provider.name.to_string(),
            model: query.model.clone(),
            input_tokens: bound.input,
            max_output: bound.output,
            cost_usd: bound.cost.map(Usd),
            at: Timestamp::try_from(now.wall).unwrap_or_default(),
        },
        decisions: decisions.iter().map(unmade).collect(),
    })
}

/// Where a client of the provider would send it.
fn path(format: Format, model: &str) -> String {
    match format {
        Format::OpenAi => "/v1/chat/completions".to_owned(),
        Format::Anthropic => "/v1/messages".to_owned(),
        Format::Gemini => format!("/v1beta/models/{model}:generateContent"),
    }
}

/// The decision on a call that is not made has no place in its time.
fn unmade(decision: &Decision) -> DecisionRow {
    DecisionRow { at_ms: None, ..DecisionRow::from(decision) }
}

/// Both clocks, moved together: windows and calendars see the same time go by.
fn shifted(now: Now, wall: SystemTime) -> Now {
    let mono = match wall.duration_since(now.wall) {
        Ok(ahead) => now.mono.checked_add(ahead),
        Err(behind) => now.mono.checked_sub(behind.duration()),
    };
    Now { mono: mono.unwrap_or(now.mono), wall }
}

fn provider<'a>(rules: &'a Rules, query: &TrialQuery) -> Result<&'a Arc<Provider>, Failure> {
    let providers = &rules.providers;
    let missing = |what: String, fix: String| Failure::NotFound { what, fix: Some(fix) };
    match &query.provider {
        Some(name) => providers.by_name(name).ok_or_else(|| {
            let known: Vec<&str> = providers.iter().map(|known| &*known.name).collect();
            let fix = format!("known are {}", known.join(", "));
            missing(format!("there is no provider `{name}`"), fix)
        }),
        None => providers.for_gateway("", Some(&query.model)).ok_or_else(|| {
            let what = format!("whose model `{}` is does not show in its name", query.model);
            missing(what, "name its provider: --provider NAME".to_owned())
        }),
    }
}

/// Who makes the call, and the team that is of.
fn subject(
    rules: &Rules,
    teams: &[Team],
    users: &str,
    query: &TrialQuery,
) -> Result<(Subject, Option<Arc<str>>), Failure> {
    let with = |user: &str| {
        let (uid, user) = user_entry(users, user);
        let (workload, exe) = workload(&query.workload);
        let process = Process {
            pid: 0,
            start_ticks: 0,
            command: Arc::clone(&exe),
            exe,
            uid,
            user,
            verified: true,
        };
        let subject = Subject { process, workload };
        let team = rules.policies.engine.lock().team_of(&subject);
        (subject, team)
    };
    let found = with(query.user.as_deref().unwrap_or("0"));
    let Some(wanted) = &query.team else { return Ok(found) };
    let is_wanted = |team: &Option<Arc<str>>| team.as_deref() == Some(wanted);
    if is_wanted(&found.1) {
        return Ok(found);
    }
    let Some(team) = teams.iter().find(|team| *team.name == **wanted) else {
        let known: Vec<&str> = teams.iter().map(|team| &*team.name).collect();
        let fix = if known.is_empty() {
            "the configuration has no `teams:`".to_owned()
        } else {
            format!("known are {}", known.join(", "))
        };
        let what = format!("there is no team `{wanted}`");
        return Err(Failure::NotFound { what, fix: Some(fix) });
    };
    // Any member does, where it is left open who calls.
    if let (None, Some(member)) = (&query.user, team.users.first()) {
        let found = with(member);
        if is_wanted(&found.1) {
            return Ok(found);
        }
    }
    let (subject, of) = found;
    let of = of.map_or_else(|| "no team".to_owned(), |of| format!("team `{of}`"));
    let (workload, user) = (&subject.workload.name, user_of(&subject.process));
    let what = format!("{workload} of user {user} belongs to {of}, not to `{wanted}`");
    Err(Failure::Refused { what, fix: Some("name a member by --workload or --user".to_owned()) })
}

fn user_of(process: &Process) -> String {
    process.user.as_deref().map_or_else(|| process.uid.to_string(), str::to_owned)
}

/// Id and name of a user given by either, from the text of passwd(5); users of a directory service
/// are known by the one that was given.
fn user_entry(passwd: &str, given: &str) -> (u32, Option<Arc<str>>) {
    let entries = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        Some((name, fields.nth(1)?.parse::<u32>().ok()?))
    });
    let id = given.parse::<u32>().ok();
    let is = |(name, uid): &(&str, u32)| *name == given || id == Some(*uid);
    match (entries.into_iter().find(is), id) {
        (Some((name, uid)), _) => (uid, Some(Arc::from(name))),
        (None, Some(uid)) => (uid, None),
        (None, None) => (NO_UID, Some(Arc::from(given))),
    }
}

/// A workload and its executable, from its whole name or one that rules may leave bare.
fn workload(name: &str) -> (Workload, Arc<str>) {
    let (kind, rest) = name.split_once(':').unwrap_or(("exe", name));
    let none = Parts::default();
    let service = if rest.contains('.') { rest.to_owned() } else { format!("{rest}.service") };
    // Below a user manager: `UID/NAME`.
    let (manager, own) = match rest.split_once('/') {
        Some((uid, own)) => (uid.parse().ok(), own),
        None => (None, rest),
    };
    let parts = match kind {
        "unit" => Parts { unit: Some(&service), ..none },
        "container" => Parts { container: Some(rest), ..none },
        "pod" => Parts { pod: Some(rest), ..none },
        "app" => Parts { app: Some(rest), ..none },
        "user-unit" => Parts { unit: Some(own), manager, ..none },
        "user-container" => Parts { container: Some(own), manager, ..none },
        "webhook" => return (Workload::webhook(rest), Arc::from("")),
        _ if name == "unattributed" => none,
        "exe" => {
            let (path, script) = rest.split_once(':').map_or((rest, None), |it| (it.0, Some(it.1)));
            let exe = path.rsplit('/').next().unwrap_or(path);
            return (Workload::derive(&Parts { exe, script, ..none }), Arc::from(path));
        }
        _ => Parts { exe: name, ..none },
    };
    (Workload::derive(&parts), Arc::from(""))
}

fn bound(rules: &Rules, provider: &Provider, query: &TrialQuery, at: SystemTime) -> Bound {
    let input = query.input_tokens.unwrap_or(INPUT);
    // As for a call that is made: what it leaves open is bounded by the model.
    let most = Maxima::of(&rules.prices, provider, &query.model).output;
    let output = query.max_output.map_or(most, |asked| asked.min(most));
    let usage = Usage { input, output, ..Usage::default() };
    let priced = Query { provider, model: &query.model, at, tier: None, usage: &usage };
    let worst = rules.prices.worst(&priced).ok();
    Bound {
        input,
        output,
        output_asked: query.max_output.is_some(),
        unread: false,
        input_cost: worst.map(|worst| worst.input),
        cost: worst.map(|worst| worst.total),
    }
}

/// What an open breaker does to the call, and what there is instead: `chain` is the policy of the
/// models that are asked when this one is not.
fn reliability(
    breakers: &[BreakerView],
    policies: &[PolicyView],
    chain: Option<&str>,
    call: &Call<'_>,
) -> Vec<Decision> {
    let workload = &call.subject.workload.name;
    let reach = |name: &str| {
        policies.iter().find(|policy| &*policy.name == name).map(|policy| policy.enforcement)
    };
    let of_model = call.model.map(|model| format!("{}/{model}", call.provider));
    let is_open = |breaker: &&BreakerView| {
        breaker.state == BreakerState::Open
            && (&*breaker.name == call.provider || of_model.as_deref() == Some(&*breaker.name))
    };
    let mut decisions = Vec::new();
    let mut rejected = None;
    for breaker in breakers.iter().filter(is_open) {
        let rule = format!("breaker.{}", breaker.name);
        let acts = reach(&rule).is_some_and(|reach| reach.acts_on(&rule, workload));
        let reason = breaker.reason.as_deref().unwrap_or("no reason is known");
        decisions.push(said(&rule, acts, "skip", format!("open: {reason}")));
        if acts {
            rejected = Some(rule);
        }
    }
    let Some(rejected) = rejected else { return decisions };
    let chain = chain.and_then(|name| policies.iter().find(|policy| &*policy.name == name));
    match chain {
        Some(chain) if chain.enforcement.acts_on(&chain.name, workload) => {
            decisions.push(said(&chain.name, true, "failover", chain.summary.clone()));
        }
        chain => {
            if let Some(chain) = chain {
                decisions.push(said(&chain.name, false, "failover", chain.summary.clone()));
            }
            let detail = "the only provider of the call is not asked".to_owned();
            decisions.push(said(&rejected, true, "refuse", detail));
        }
    }
    decisions
}

fn said(rule: &str, acts: bool, action: &str, detail: String) -> Decision {
    let action = if acts { action.to_owned() } else { format!("would-{action}") };
    let detail = detail.into();
    Decision { at: Duration::ZERO, rule: rule.into(), action: action.into(), detail }
}

/// The policy that refuses the call.
fn refusal(decisions: &[Decision]) -> Option<String> {
    let refuses = |decision: &&Decision| matches!(&*decision.action, "refuse" | "freeze");
    decisions.iter().find(refuses).map(|decision| decision.rule.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, System};
    use crate::policy::Enforcement;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n";

    #[test]
    fn users_are_known_by_name_and_id() {
        let entry = |given| {
            let (uid, name) = user_entry(PASSWD, given);
            (uid, name.as_deref().map(str::to_owned))
        };
        assert_eq!(entry("alice"), (1000, Some("alice".to_owned())));
        assert_eq!(entry("1000"), (1000, Some("alice".to_owned())));
        assert_eq!(entry("4711"), (4711, None));
        assert_eq!(entry("ldap.user"), (NO_UID, Some("ldap.user".to_owned())));
    }

    #[test]
    fn workloads_are_named_as_rules_name_them() {
        for (given, name, exe) in [
            ("batch-agent", "exe:batch-agent", "batch-agent"),
            ("exe:/opt/a/curl", "exe:curl", "/opt/a/curl"),
            ("exe:python3:agent.py", "exe:python3:agent.py", "python3"),
            ("unit:batch-agent", "unit:batch-agent.service", ""),
            ("unit:nightly.timer", "unit:nightly.timer", ""),
            ("user-unit:1000/notes", "user-unit:1000/notes", ""),
            ("container:web", "container:web", ""),
            ("pod:prod/web-0", "pod:prod/web-0", ""),
            ("app:claude", "app:claude", ""),
            ("webhook:triage", "webhook:triage", ""),
            ("unattributed", "unattributed", ""),
            ("agent:7", "exe:agent:7", ""),
        ] {
            let (workload, path) = workload(given);
            assert_eq!((&*workload.name, &*path), (name, exe), "{given}");
        }
    }

    #[test]
    fn both_clocks_move_together() {
        let now = System.now();
        let hour = Duration::from_hours(1);
        let later = shifted(now, now.wall + hour);
        assert_eq!((later.mono - now.mono, later.wall), (hour, now.wall + hour));
        let earlier = shifted(now, now.wall - Duration::from_secs(1));
        assert_eq!(now.mono - earlier.mono, Duration::from_secs(1));
    }

    fn breaker(name: &str, state: BreakerState) -> BreakerView {
        BreakerView {
            name: name.into(),
            state,
            reason: Some("5 failures in a row".to_owned()),
            since: None,
            until: None,
            by_hand: false,
            failures: 5,
            failure_percent: 0,
            calls: 0,
            opened: 1,
        }
    }

    fn policy(name: &str, enforcement: Enforcement) -> PolicyView {
        PolicyView {
            name: name.into(),
            enforcement,
            configured: enforcement,
            about: String::new(),
            summary: "then gpt-4o-mini".to_owned(),
            passed: 0,
            acted: 0,
            shadowed: 0,
        }
    }

    #[test]
    fn an_open_breaker_refuses_where_nothing_stands_behind_it() {
        use BreakerState::{Closed, HalfOpen, Open};
        use Enforcement::{Enforce, Off, Shadow};

        let (workload, exe) = workload("curl");
        let process = Process {
            pid: 0,
            start_ticks: 0,
            command: Arc::clone(&exe),
            exe,
            uid: 0,
            user: None,
            verified: true,
        };
        let subject = Subject { process, workload };
        let call = Call {
            subject: &subject,
            agent_name: None,
            environment: "prod",
            provider: "openai",
            host: "api.openai.com",
            path: "/v1/chat/completions",
            model: Some("gpt-4o"),
            body_bytes: 0,
            bound: Bound::default(),
            billing: Billing::Metered,
            prompt: None,
        };
        let told = |breakers: &[BreakerView], policies: &[PolicyView]| {
            let chain = policies.iter().find(|it| it.name.starts_with("failover."));
            let chain = chain.map(|it| &*it.name);
            let decisions = reliability(breakers, policies, chain, &call);
            let words: Vec<_> =
                decisions.iter().map(|it| format!("{} {}", it.rule, it.action)).collect();
            (words.join(", "), refusal(&decisions).is_some())
        };
        let enforced = || policy("breaker.openai", Enforce);
        let openai = |state| [breaker("openai", state)];
        assert_eq!(told(&openai(Closed), &[enforced()]), (String::new(), false));
        assert_eq!(told(&openai(HalfOpen), &[enforced()]), (String::new(), false));
        let refused = "breaker.openai skip, breaker.openai refuse".to_owned();
        assert_eq!(told(&openai(Open), &[enforced()]), (refused, true));
        let would = "breaker.openai would-skip".to_owned();
        assert_eq!(told(&openai(Open), &[policy("breaker.openai", Shadow)]), (would, false));
        let chained = |reach| [enforced(), policy("failover.*", reach)];
        let next = "breaker.openai skip, failover.* failover".to_owned();
        assert_eq!(told(&openai(Open), &chained(Enforce)), (next, false));
        assert!(told(&openai(Open), &chained(Off)).1);
        let model = |model: &str| {
            let name = format!("openai/{model}");
            let acts = [policy(&format!("breaker.{name}"), Enforce)];
            told(&[breaker(&name, Open)], &acts).1
        };
        assert!(model("gpt-4o") && !model("gpt-5"));
    }
}
