//! One call's way through failures, and the policies over all of them.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock::{Clock as _, System};
use crate::policy::view::BreakerState;

struct Scene {
    reliability: Reliability,
    now: Now,
    provider: Arc<str>,
    workload: Arc<str>,
    acting: bool,
}

fn hop(provider: &str, model: &str) -> Hop {
    Hop { provider: provider.into(), model: model.into() }
}

/// Retries without spread, and a chain for `gpt-4o`.
fn settings() -> Settings {
    let mut settings = Settings {
        chains: vec![Chain {
            policy: "failover.gpt-4o".into(),
            model: "gpt-4o".into(),
            hops: vec![hop("openai", "gpt-4o-mini"), hop("anthropic", "claude-opus-4-6")],
            allow_loss: Vec::new(),
            enforcement: Enforcement::Enforce,
        }],
        reachable: vec!["anthropic".into()],
        ..Settings::default()
    };
    settings.general.retry.jitter = false;
    settings
}

impl Scene {
    fn new(settings: Settings) -> Self {
        let now = System.now();
        Self {
            reliability: Reliability::new(settings, now),
            now,
            provider: "openai".into(),
            workload: "exe:curl".into(),
            acting: true,
        }
    }

    fn begin(&mut self, model: &str) -> Course {
        self.repeat(model, 0)
    }

    fn repeat(&mut self, model: &str, tries_before: u32) -> Course {
        let model = Arc::from(model);
        let sought = Sought {
            provider: &self.provider,
            model: Some(&model),
            workload: &self.workload,
            repeatable: true,
            movable: true,
            tries_before,
            acting: self.acting,
        };
        self.reliability.begin(&sought, self.now)
    }

    /// One try: asks, fails, and says what to do.
    fn fail(&mut self, course: &mut Course, class: Class, retry_after: Option<u64>) -> Next {
        let permit = match self.reliability.gate(course, self.now) {
            Gate::Pass { permit, .. } => permit,
            Gate::Reject(blocked) => panic!("{blocked:?}"),
        };
        course.tries();
        let retry_after = retry_after.map(Duration::from_secs);
        let failure = Failure { class, retry_after, what: "it failed", random: 0.0 };
        drop(self.reliability.report(course, permit, Some(&failure), self.now));
        self.reliability.after(course, &failure, self.now)
    }

    /// Fails until there is nothing left to try.
    fn steps(&mut self, model: &str, class: Class) -> Vec<String> {
        let mut course = self.begin(model);
        let mut steps = Vec::new();
        loop {
            let next = self.fail(&mut course, class, None);
            match next.step {
                Step::Retry(wait) => {
                    self.now.mono += wait;
                    steps.push(format!("{wait:?}"));
                }
                Step::Hop(hop) => steps.push(hop.model.to_string()),
                Step::GiveUp => return steps,
            }
        }
    }
}

#[test]
fn each_class_goes_the_way_the_table_says() {
    for (class, model, expected) in [
        (Class::Overloaded, "o3", &["500ms", "1s"][..]),
        (Class::Server, "gpt-4o", &["gpt-4o-mini", "claude-opus-4-6"]),
        (Class::Connect, "gpt-4o", &["gpt-4o-mini", "claude-opus-4-6"]),
        (Class::Timeout, "gpt-4o", &["500ms", "gpt-4o-mini"]),
        (Class::RateLimit, "gpt-4o", &["500ms", "1s"]),
        (Class::Auth, "gpt-4o", &[]),
        (Class::Invalid, "gpt-4o", &[]),
        (Class::Quota, "gpt-4o", &[]),
    ] {
        assert_eq!(Scene::new(settings()).steps(model, class), expected, "{class:?}");
    }
}

#[test]
fn rate_limits_fall_back_where_that_is_configured() {
    let fallback_on = vec![Class::RateLimit];
    let mut scene = Scene::new(Settings { fallback_on, ..settings() });
    assert_eq!(scene.steps("gpt-4o", Class::RateLimit), ["500ms", "gpt-4o-mini"]);
}

#[test]
fn the_number_of_other_models_is_bounded() {
    let mut scene = Scene::new(Settings { max_hops: 1, ..settings() });
    assert_eq!(scene.steps("gpt-4o", Class::Server), ["gpt-4o-mini", "500ms"]);
    let mut scene = Scene::new(Settings { max_hops: 0, ..settings() });
    assert_eq!(scene.steps("gpt-4o", Class::Server), ["500ms", "1s"]);
}

#[test]
fn p11_an_sdk_that_tries_again_does_not_multiply_our_own_retries() {
    let mut scene = Scene::new(settings());
    let mut course = scene.repeat("o3", 3);
    let next = scene.fail(&mut course, Class::Overloaded, None);
    assert_eq!(next.step, Step::GiveUp);
    assert_eq!(course.tried(), 4);
}

#[test]
fn p10_retry_after_is_kept_unless_it_is_beyond_the_calls_time() {
    let mut scene = Scene::new(settings());
    let mut course = scene.begin("o3");
    let next = scene.fail(&mut course, Class::RateLimit, Some(7));
    assert_eq!(next.step, Step::Retry(Duration::from_secs(7)));
    scene.now.mono += Duration::from_secs(7);
    let next = scene.fail(&mut course, Class::RateLimit, Some(54));
    assert_eq!(next.step, Step::GiveUp);
    assert_eq!((&*next.notes[0].policy, next.notes[0].action), ("retry", "skip"));
}

#[test]
fn p11_the_hosts_budget_ends_retries_not_failover() {
    let mut scene = Scene::new(settings());
    let mut tried = 0;
    for _ in 0..100 {
        // Each at its own provider, so that no breaker is in the way.
        let name = format!("p{tried}-{}", scene.reliability.calls);
        scene.provider = Arc::from(name);
        let mut course = scene.begin("o3");
        let next = scene.fail(&mut course, Class::Overloaded, None);
        tried += u32::from(next.step != Step::GiveUp);
    }
    assert_eq!(tried, 20, "ten, and a tenth of a hundred");
    let mut course = scene.begin("gpt-4o");
    let next = scene.fail(&mut course, Class::Overloaded, None);
    assert!(matches!(next.step, Step::Hop(_)));
}

#[test]
fn what_only_meters_says_what_it_would_do() {
    let mut scene = Scene { acting: false, ..Scene::new(settings()) };
    let mut course = scene.begin("gpt-4o");
    assert!(!course.has_more());
    let next = scene.fail(&mut course, Class::Overloaded, None);
    assert_eq!((&next.step, next.escalate), (&Step::GiveUp, false));
    let actions: Vec<_> = next.notes.iter().map(|note| note.action).collect();
    assert_eq!(actions, ["would-failover", "would-retry"]);
}

#[test]
fn policies_are_switched_by_name() {
    let mut scene = Scene::new(settings());
    assert!(scene.reliability.set("failover.gpt-4o", Some(Enforcement::Shadow)));
    assert!(scene.reliability.set("retry", Some(Enforcement::Off)));
    assert!(scene.steps("gpt-4o", Class::Server).is_empty());
    assert!(scene.reliability.set("failover.gpt-4o", None));
    assert_eq!(scene.steps("gpt-4o", Class::Server), ["gpt-4o-mini", "claude-opus-4-6"]);
    for unknown in ["failover.o3", "breaker.nobody", "breaker.", "retries", "x.y"] {
        assert!(!scene.reliability.set(unknown, None), "{unknown}");
    }
    let views = scene.reliability.policies();
    let retry = views.iter().find(|view| &*view.name == "retry").unwrap();
    assert_eq!((retry.enforcement, retry.configured), (Enforcement::Off, Enforcement::Enforce));
    let chain = views.iter().find(|view| &*view.name == "failover.gpt-4o").unwrap();
    assert_eq!((chain.acted, chain.shadowed), (2, 1));
}

#[test]
fn an_open_breaker_rejects_or_only_says_so() {
    let mut scene = Scene::new(settings());
    assert!(scene.reliability.trip("openai/o3", scene.now));
    assert!(!scene.reliability.trip("nobody", scene.now));
    let course = scene.begin("o3");
    let Gate::Reject(blocked) = scene.reliability.gate(&course, scene.now) else {
        panic!("let through")
    };
    assert_eq!((&*blocked.breaker, blocked.retry_after), ("openai/o3", None));
    assert!(scene.reliability.set("breaker.openai/o3", Some(Enforcement::Shadow)));
    let Gate::Pass { would: Some(_), .. } = scene.reliability.gate(&course, scene.now) else {
        panic!("a shadow acts")
    };
    assert!(scene.reliability.reset("openai/o3", scene.now));
    let views = scene.reliability.breakers(scene.now);
    assert!(views.iter().all(|view| view.state == BreakerState::Closed));
}

#[test]
fn a_breaker_that_opens_is_told_once() {
    let mut scene = Scene::new(settings());
    let mut notices = Vec::new();
    for _ in 0..8 {
        let course = scene.begin("o3");
        let Gate::Pass { permit, .. } = scene.reliability.gate(&course, scene.now) else { break };
        let failure =
            Failure { class: Class::Server, retry_after: None, what: "status 500", random: 0.0 };
        notices.extend(scene.reliability.report(&course, permit, Some(&failure), scene.now));
    }
    let [notice] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!((notice.topic, &*notice.policy), (Topic::BreakerOpened, "breaker.openai/o3"));
    assert!(notice.message.contains("status 500"), "{}", notice.message);
}

#[test]
fn escalations_follow_the_class() {
    for (class, expected) in [
        (Class::RateLimit, [false, false, false]),
        (Class::Overloaded, [false, false, true]),
        (Class::Auth, [true, true, true]),
    ] {
        let mut scene = Scene::new(settings());
        let mut course = scene.begin("o3");
        let told = [(); 3].map(|()| scene.fail(&mut course, class, None).escalate);
        assert_eq!(told, expected, "{class:?}");
    }
}

proptest! {
    /// Whatever fails, and however: a call never comes to more tries than are allowed.
    #[test]
    fn p11_tries_are_bounded_over_retries_and_hops(
        classes in prop::collection::vec(0_usize..Class::ALL.len(), 20),
        attempts in 1_u32..6, max_hops in 0_u32..4, before in 0_u32..4,
    ) {
        let mut settings = Settings { max_hops, fallback_on: Class::ALL.to_vec(), ..settings() };
        settings.general.retry.attempts = attempts;
        let mut scene = Scene::new(settings);
        let mut course = scene.repeat("gpt-4o", before);
        let mut hops = 0;
        for class in classes {
            match scene.fail(&mut course, Class::ALL[class], None).step {
                Step::Hop(_) => hops += 1,
                Step::Retry(_) => {}
                Step::GiveUp => break,
            }
        }
        prop_assert!(course.tried() - before <= attempts.saturating_sub(before).max(1));
        prop_assert!(hops <= max_hops);
    }
}

/// What a budget took to a cheaper model is not taken back to the dear one when that fails.
#[test]
fn a_diverted_call_follows_the_chain_of_its_new_model_and_never_goes_back() {
    let mut settings = settings();
    settings.chains.push(Chain {
        policy: "failover.gpt-4o-mini".into(),
        model: "gpt-4o-mini".into(),
        hops: vec![hop("openai", "gpt-4o"), hop("anthropic", "claude-haiku-4-5")],
        allow_loss: Vec::new(),
        enforcement: Enforcement::Enforce,
    });
    settings.max_hops = 1;
    let mut scene = Scene::new(settings);
    let asked = scene.begin("gpt-4o");
    let mut course = scene.reliability.divert(&asked, &hop("openai", "gpt-4o-mini"));
    assert!(course.is_elsewhere(), "its request is not the client's");
    let next = scene.fail(&mut course, Class::Overloaded, None);
    assert_eq!(next.step, Step::Hop(hop("anthropic", "claude-haiku-4-5")), "one hop is left");
    assert_eq!(next.notes[0].policy, "failover.gpt-4o-mini".into());
}
