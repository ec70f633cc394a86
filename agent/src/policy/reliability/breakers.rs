//! All circuit breakers: one for each provider, and one for each model of it that has failed.
//!
//! A model's breaker counts everything that happens to it. Its provider's counts it too, but opens
//! only where the provider itself is in doubt: the connection fails, or several models do.
//! Otherwise one overloaded model would take those along that could stand in for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::breaker::{Breaker, Change, Gate, Pass, Report, Settings, State};
use super::verdict::{Class, Sign};
use crate::clock::Now;
use crate::policy::view::{BreakerState, BreakerView};

/// Models of one provider with a breaker of their own; names come from clients.
const MODELS: usize = 256;

/// All breakers.
#[derive(Debug, Default)]
pub struct Breakers {
    sites: HashMap<Arc<str>, Site>,
}

/// A provider and its models.
#[derive(Debug)]
struct Site {
    breaker: Breaker,
    models: HashMap<Arc<str>, Breaker>,
    /// The model that failed last.
    failed: Option<Arc<str>>,
    /// Until then several models count as failing.
    several: Option<Instant>,
}

/// Belongs to one try that was let through; its result is reported with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    provider: Pass,
    model: Option<Pass>,
}

impl Permit {
    /// Whether it is one of those by which an open breaker finds out.
    pub fn is_probe(self) -> bool {
        self.provider.is_probe() || self.model.is_some_and(Pass::is_probe)
    }
}

/// Why a try is not let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocked {
    /// The breaker: `openai`, `openai/gpt-4o`.
    pub breaker: Arc<str>,
    /// Why it is open.
    pub reason: String,
    /// How long until it can be tried again; `None` is until somebody resets it.
    pub retry_after: Option<Duration>,
}

/// What a try came to.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// The class of the failure; `None` where there was none.
    pub class: Option<Class>,
    /// How long the provider asked to be left alone.
    pub retry_after: Option<Duration>,
    /// What failed, in a few words.
    pub what: &'a str,
}

/// A breaker that opened or closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The breaker.
    pub breaker: Arc<str>,
    /// Which way.
    pub change: Change,
    /// Why it opened.
    pub reason: Option<String>,
}

impl Breakers {
    /// Whether a try may be made.
    pub fn ask(
        &mut self,
        (provider, model): (&Arc<str>, Option<&str>),
        settings: &Settings,
        now: Instant,
    ) -> Result<Permit, Blocked> {
        let site = self.site(provider, now);
        let of_provider = match site.breaker.ask(settings, now) {
            Gate::Pass(pass) => pass,
            Gate::Reject(until) => {
                return Err(blocked(Arc::clone(provider), &site.breaker, until, now));
            }
        };
        let mut permit = Permit { provider: of_provider, model: None };
        let Some(name) = model else { return Ok(permit) };
        if let Some(breaker) = site.models.get_mut(name) {
            match breaker.ask(settings, now) {
                Gate::Pass(pass) => permit.model = Some(pass),
                Gate::Reject(until) => {
                    site.breaker.release(of_provider);
                    return Err(blocked(joined(provider, name), breaker, until, now));
                }
            }
        }
        Ok(permit)
    }

    /// A permit for a try that is made although a breaker is open.
    pub fn watch(&mut self, (provider, model): (&Arc<str>, Option<&str>), now: Instant) -> Permit {
        let site = self.site(provider, now);
        let model = model.and_then(|name| site.models.get_mut(name));
        Permit { provider: site.breaker.watch(), model: model.map(Breaker::watch) }
    }

    /// Takes the result of a try.
    pub fn report(
        &mut self,
        (provider, model): (&Arc<str>, Option<&Arc<str>>),
        permit: Permit,
        told: &Told<'_>,
        (settings, now): (&Settings, Instant),
    ) -> Vec<Changed> {
        let sign = told.class.map_or(Sign::Alive, |class| class.sign(settings.trip_on_rate_limit));
        let site = self.site(provider, now);
        let mut changes = Vec::new();
        let failing = sign == Sign::Failing;
        let transport = told.class.is_some_and(Class::is_of_transport);
        let may_open = failing && (site.doubts(model, settings, now) || transport);
        let report = Report { sign, may_open, retry_after: told.retry_after, what: told.what };
        if let Some(change) = site.breaker.report(settings, permit.provider, &report, now) {
            let reason = site.breaker.reason().map(str::to_owned);
            changes.push(Changed { breaker: Arc::clone(provider), change, reason });
        }
        let Some(name) = model else { return changes };
        if failing && !site.models.contains_key(name) {
            site.add(name, settings, now);
        }
        if let Some(breaker) = site.models.get_mut(name) {
            // One that was only just made has let this try through all the same.
            let pass = permit.model.unwrap_or_else(|| breaker.watch());
            let report = Report { may_open: true, ..report };
            if let Some(change) = breaker.report(settings, pass, &report, now) {
                let reason = breaker.reason().map(str::to_owned);
                changes.push(Changed { breaker: joined(provider, name), change, reason });
            }
        }
        changes
    }

    /// A permit that was not used.
    pub fn release(&mut self, (provider, model): (&str, Option<&str>), permit: Permit) {
        let Some(site) = self.sites.get_mut(provider) else { return };
        site.breaker.release(permit.provider);
        if let (Some(breaker), Some(pass)) =
            (model.and_then(|name| site.models.get_mut(name)), permit.model)
        {
            breaker.release(pass);
        }
    }

    /// A health check found a provider well.
    pub fn hint_well(&mut self, provider: &str, now: Instant) {
        if let Some(site) = self.sites.get_mut(provider) {
            site.breaker.hint_well(now);
        }
    }

    /// Opens a breaker by hand.
    pub fn trip(
        &mut self,
        provider: &Arc<str>,
        model: Option<&str>,
        now: Instant,
    ) -> Option<Changed> {
        let site = self.site(provider, now);
        let (breaker, name) = match model {
            None => (&mut site.breaker, Arc::clone(provider)),
            Some(model) => {
                let breaker = site.models.entry(Arc::from(model));
                (breaker.or_insert_with(|| Breaker::new(now)), joined(provider, model))
            }
        };
        let change = breaker.trip(now)?;
        Some(Changed { breaker: name, change, reason: breaker.reason().map(str::to_owned) })
    }

    /// Goes on as another agent's breaker that was open.
    pub fn adopt(
        &mut self,
        (provider, model): (&Arc<str>, Option<&str>),
        (until, reason): (Option<Instant>, Option<String>),
        now: Instant,
    ) {
        let site = self.site(provider, now);
        let breaker = match model {
            None => &mut site.breaker,
            Some(model) => site.models.entry(Arc::from(model)).or_insert_with(|| Breaker::new(now)),
        };
        breaker.adopt(until, reason, now);
    }

    /// Closes a breaker by hand; `None` where there is none, or nothing changed.
    pub fn reset(&mut self, provider: &str, model: Option<&str>, now: Instant) -> Reset {
        let Some(site) = self.sites.get_mut(provider) else { return Reset::Unknown };
        let (breaker, name) = match model {
            None => (&mut site.breaker, Arc::from(provider)),
            Some(model) => match site.models.get_mut(model) {
                Some(breaker) => (breaker, joined(provider, model)),
                None => return Reset::Unknown,
            },
        };
        match breaker.reset(now) {
            Some(change) => Reset::Done(Some(Changed { breaker: name, change, reason: None })),
            None => Reset::Done(None),
        }
    }

    /// How each stands, by name.
    pub fn views(&self, settings: impl Fn(&str) -> Settings, now: Now) -> Vec<BreakerView> {
        let mut views = Vec::new();
        for (provider, site) in &self.sites {
            let settings = settings(provider);
            views.push(view(Arc::clone(provider), &site.breaker, &settings, now));
            let models = site.models.iter();
            views
                .extend(models.map(|(model, breaker)| {
                    view(joined(provider, model), breaker, &settings, now)
                }));
        }
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    /// The provider and the model of each breaker.
    pub fn names(&self) -> Vec<(&str, Option<&str>)> {
        let mut names: Vec<_> = self
            .sites
            .iter()
            .flat_map(|(provider, site)| {
                let models = site.models.keys().map(|model| (&**provider, Some(&**model)));
                std::iter::once((&**provider, None)).chain(models)
            })
            .collect();
        names.sort_unstable();
        names
    }

    /// Calls a breaker let through.
    pub fn passed(&self, provider: &str, model: Option<&str>) -> u64 {
        let Some(site) = self.sites.get(provider) else { return 0 };
        match model {
            None => site.breaker.passed(),
            Some(model) => site.models.get(model).map_or(0, Breaker::passed),
        }
    }

    fn site(&mut self, provider: &Arc<str>, now: Instant) -> &mut Site {
        // Names of providers are the configuration's: there are few.
        self.sites.entry(Arc::clone(provider)).or_insert_with(|| Site {
            breaker: Breaker::new(now),
            models: HashMap::new(),
            failed: None,
            several: None,
        })
    }
}

/// What became of a reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reset {
    /// There is no breaker of this name.
    Unknown,
    /// It is closed, and was open before where there is a change.
    Done(Option<Changed>),
}

impl Site {
    /// Whether more than one model has failed of late; called for every failure.
    fn doubts(&mut self, model: Option<&Arc<str>>, settings: &Settings, now: Instant) -> bool {
        let other = model.is_none() || self.failed.as_ref().is_some_and(|last| Some(last) != model);
        if other {
            self.several = Some(now + settings.window);
        }
        self.failed = model.cloned();
        self.several.is_some_and(|until| until > now)
    }

    fn add(&mut self, model: &Arc<str>, settings: &Settings, now: Instant) {
        if self.models.len() >= MODELS {
            self.models.retain(|_, breaker| !breaker.is_idle(settings, now));
        }
        if self.models.len() < MODELS {
            self.models.insert(Arc::clone(model), Breaker::new(now));
        }
    }
}

/// A breaker's name for a model.
pub fn joined(provider: &str, model: &str) -> Arc<str> {
    Arc::from(format!("{provider}/{model}"))
}

fn blocked(name: Arc<str>, breaker: &Breaker, until: Option<Instant>, now: Instant) -> Blocked {
    Blocked {
        breaker: name,
        reason: breaker.reason().unwrap_or("its probes are still out").to_owned(),
        retry_after: until.map(|until| until.saturating_duration_since(now)),
    }
}

fn view(name: Arc<str>, breaker: &Breaker, settings: &Settings, now: Now) -> BreakerView {
    let (calls, failures) = breaker.counted(settings, now.mono);
    let state = breaker.state(now.mono);
    let since = now.wall.checked_sub(now.mono.saturating_duration_since(breaker.since()));
    BreakerView {
        name,
        state: match state {
            State::Closed => BreakerState::Closed,
            State::Open(_) => BreakerState::Open,
            State::HalfOpen => BreakerState::HalfOpen,
        },
        reason: breaker.reason().map(str::to_owned),
        since,
        until: match state {
            State::Open(Some(until)) => Some(now.wall + until.saturating_duration_since(now.mono)),
            _ => None,
        },
        by_hand: breaker.is_by_hand(),
        failures: breaker.failures(),
        failure_percent: match failures.checked_mul(100).and_then(|all| all.checked_div(calls)) {
            Some(percent) => u8::try_from(percent).unwrap_or(100),
            None => 0,
        },
        calls,
        opened: breaker.opened(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, System};
    use crate::policy::reliability::presets::Preset;

    struct Scene {
        breakers: Breakers,
        settings: Settings,
        now: Now,
        provider: Arc<str>,
    }

    impl Scene {
        fn new() -> Self {
            Self {
                breakers: Breakers::default(),
                settings: Preset::Standard.rules().breaker,
                now: System.now(),
                provider: Arc::from("openai"),
            }
        }

        fn call(&mut self, model: &str, class: Option<Class>) -> Vec<Changed> {
            let name: Arc<str> = Arc::from(model);
            let asked =
                self.breakers.ask((&self.provider, Some(model)), &self.settings, self.now.mono);
            let permit = asked.expect("let through");
            let told = Told { class, retry_after: None, what: "503" };
            let at = (&self.settings, self.now.mono);
            self.breakers.report((&self.provider, Some(&name)), permit, &told, at)
        }

        fn blocked_by(&mut self, model: &str) -> Option<String> {
            let asked =
                self.breakers.ask((&self.provider, Some(model)), &self.settings, self.now.mono);
            asked.err().map(|blocked| blocked.breaker.to_string())
        }

        fn names(changes: &[Changed]) -> Vec<&str> {
            changes.iter().map(|changed| &*changed.breaker).collect()
        }
    }

    #[test]
    fn a_model_that_fails_does_not_take_the_others_along() {
        let mut scene = Scene::new();
        for _ in 0..4 {
            assert!(scene.call("gpt-4o", Some(Class::Overloaded)).is_empty());
        }
        let changes = scene.call("gpt-4o", Some(Class::Overloaded));
        assert_eq!(Scene::names(&changes), ["openai/gpt-4o"]);
        assert_eq!(scene.blocked_by("gpt-4o").as_deref(), Some("openai/gpt-4o"));
        assert_eq!(scene.blocked_by("gpt-4o-mini"), None);
    }

    #[test]
    fn a_provider_whose_connections_fail_is_left_alone_as_a_whole() {
        let mut scene = Scene::new();
        let changes: Vec<_> =
            (0..5).flat_map(|_| scene.call("gpt-4o", Some(Class::Connect))).collect();
        assert_eq!(Scene::names(&changes), ["openai", "openai/gpt-4o"]);
        assert_eq!(scene.blocked_by("gpt-4o-mini").as_deref(), Some("openai"));
    }

    #[test]
    fn a_provider_all_of_whose_models_fail_is_left_alone_too() {
        let mut scene = Scene::new();
        let changes: Vec<_> =
            (0..5).flat_map(|n| scene.call(["a", "b"][n % 2], Some(Class::Server))).collect();
        assert_eq!(Scene::names(&changes), ["openai"]);
    }

    #[test]
    fn p10_rejections_say_which_breaker_why_and_until_when() {
        let mut scene = Scene::new();
        for _ in 0..5 {
            scene.call("gpt-4o", Some(Class::Overloaded));
        }
        let at = (&scene.provider, Some("gpt-4o"));
        let blocked = scene.breakers.ask(at, &scene.settings, scene.now.mono).unwrap_err();
        assert_eq!(blocked.retry_after, Some(Duration::from_mins(1)));
        assert!(blocked.reason.contains("503"), "{}", blocked.reason);
        let views = scene.breakers.views(|_| Preset::Standard.rules().breaker, scene.now);
        let states: Vec<_> = views.iter().map(|view| (&*view.name, view.state)).collect();
        assert_eq!(
            states,
            [("openai", BreakerState::Closed), ("openai/gpt-4o", BreakerState::Open)]
        );
        assert_eq!(views[1].until, Some(scene.now.wall + Duration::from_mins(1)));
    }

    #[test]
    fn names_made_up_by_clients_do_not_pile_up() {
        let mut scene = Scene::new();
        for number in 0..1000 {
            scene.call(&format!("made-up-{number}"), Some(Class::Invalid));
            scene.now.mono += Duration::from_secs(1);
        }
        let views = |scene: &Scene| {
            scene.breakers.views(|_| Preset::Standard.rules().breaker, scene.now).len()
        };
        assert_eq!(views(&scene), 1, "no such model is no failure");
        for number in 0..1000 {
            let permit = scene.breakers.watch((&scene.provider, None), scene.now.mono);
            let told = Told { class: Some(Class::Server), retry_after: None, what: "500" };
            let name = Arc::from(format!("made-up-{number}"));
            let at = (&scene.settings, scene.now.mono);
            scene.breakers.report((&scene.provider, Some(&name)), permit, &told, at);
        }
        assert!(views(&scene) <= MODELS + 1);
    }
}
