//! Failover, retries, breakers and timeouts: from figures to rules.

use std::sync::Arc;
use std::time::Duration;

use super::Check;
use crate::config::problem::Trail;
use crate::config::raw::{
    Raw, RawBreaker, RawCredentials, RawEndpoint, RawHealthChecks, RawOverrides, RawPreset,
    RawRetry, RawStrategy, RawTimeouts,
};
use crate::config::value::Span;
use crate::llm::providers::Providers;
use crate::llm::translate::Feature;
use crate::policy::Enforcement;
use crate::policy::reliability::chain::{Link, Tier, flatten};
use crate::policy::reliability::retry::Growth;
use crate::policy::reliability::{
    Chain, Class, HealthChecks, Hop, Preset, Rules, Settings, Timeouts,
};

pub(super) fn settings(check: &mut Check<'_>, raw: &Raw) -> Settings {
    let root = Trail::default();
    let (written, trail) = (&raw.reliability, root.key("reliability"));
    let preset = written.preset.map_or_else(Preset::default, |preset| match preset {
        RawPreset::HighAvailability => Preset::HighAvailability,
        RawPreset::CostSensitive => Preset::CostSensitive,
        RawPreset::Development => Preset::Development,
        RawPreset::Strict => Preset::Strict,
    });
    let all = RawOverrides {
        retry: written.retry.clone(),
        breaker: written.breaker.clone(),
        timeouts: written.timeouts.clone(),
        health_checks: written.health_checks.clone(),
    };
    let general = check.rules(preset.rules(), &all, &trail);
    let names = Names::new(raw);
    let mut providers = Vec::new();
    for (name, own) in &written.providers {
        let at = trail.key("providers").key(name);
        if !names.known.iter().any(|known| **known == **name) {
            check.problem(&at, format!("there is no provider `{name}`"));
        }
        for (key, set) in [("retry", &own.retry.enforcement), ("breaker", &own.breaker.enforcement)]
        {
            if set.is_some() {
                let at = at.key(key).key("enforcement");
                check.problem(&at, format!("goes to `reliability.{key}.enforcement`, for all"));
            }
        }
        providers.push((Arc::from(name.as_str()), check.rules(general.clone(), own, &at)));
    }
    let retries = &trail.key("retry").key("enforcement");
    let breakers = &trail.key("breaker").key("enforcement");
    let tiers = check.tiers(raw, &names);
    Settings {
        retries: check.enforcement(written.retry.enforcement.as_deref(), retries),
        breakers: check.enforcement(written.breaker.enforcement.as_deref(), breakers),
        chains: check.chains(raw, &names, &tiers),
        tiers: tiers
            .iter()
            .filter_map(|tier| Some((Arc::clone(&tier.name), flatten(&tier.links, &tiers).ok()?)))
            .collect(),
        max_hops: raw.failover.max_retries,
        fallback_on: match &raw.failover.fallback_on {
            None => Class::FALL_BACK.to_vec(),
            Some(words) => check.classes(words, &root.key("failover").key("fallback_on")),
        },
        allow_loss: check
            .features(&raw.failover.allow_loss, &root.key("failover").key("allow_loss")),
        known: names.known,
        reachable: names.reachable,
        // Those are checked with the providers.
        endpoints: Vec::new(),
        general,
        providers,
    }
}

/// What is known of providers' names.
pub(super) struct Names {
    builtin: Providers,
    known: Vec<Arc<str>>,
    reachable: Vec<Arc<str>>,
}

impl Names {
    pub(super) fn new(raw: &Raw) -> Self {
        let builtin = Providers::builtin();
        let mut known: Vec<_> = builtin.iter().map(|known| Arc::clone(&known.name)).collect();
        for name in raw.providers.keys() {
            if !known.iter().any(|known| **known == **name) {
                known.push(Arc::from(name.as_str()));
            }
        }
        let ours = raw.providers.iter();
        let stands_alone = |endpoint: &RawEndpoint| {
            endpoint.api_key.is_some() || endpoint.credentials == Some(RawCredentials::None)
        };
        let ours = ours.filter(|(_, provider)| {
            let keyed = provider.api_key.is_some() || provider.free;
            keyed || provider.endpoints.iter().any(stands_alone)
        });
        let mut reachable: Vec<_> = ours.map(|(name, _)| Arc::from(name.as_str())).collect();
        // A local model asks for no key.
        let local =
            builtin.iter().filter(|known| known.free && !raw.providers.contains_key(&*known.name));
        reachable.extend(local.map(|known| Arc::clone(&known.name)));
        Self { builtin, known, reachable }
    }

    /// The provider whose model this is, by the way its name begins.
    fn family(&self, model: &str) -> Option<Arc<str>> {
        let found = self.builtin.of_model(model)?;
        Some(Arc::clone(&found.name))
    }

    /// A model, `MODEL` or `PROVIDER/MODEL`, and whose it is.
    pub(super) fn model(&self, text: &str) -> Result<Hop, String> {
        match self.link(text)?.0 {
            Link::Model(hop) => Ok(hop),
            Link::Tier(_) => Err(format!("`{text}` is no model: write MODEL or PROVIDER/MODEL")),
        }
    }

    /// Whether calls of our own can be made to a provider.
    pub(super) fn has_key(&self, provider: &str) -> bool {
        self.reachable.iter().any(|known| **known == *provider)
    }

    /// A link, and whether it names its provider itself.
    fn link(&self, text: &str) -> Result<(Link, bool), String> {
        if let Some(tier) = text.strip_prefix("tier:") {
            return Ok((Link::Tier(Arc::from(tier)), false));
        }
        if let Some((provider, model)) = text.split_once('/')
            && let Some(provider) = self.known.iter().find(|known| ***known == *provider)
            && !model.is_empty()
        {
            let hop = Hop { provider: Arc::clone(provider), model: Arc::from(model) };
            return Ok((Link::Model(hop), true));
        }
        match self.family(text) {
            Some(provider) => Ok((Link::Model(Hop { provider, model: Arc::from(text) }), false)),
            None => Err(format!("cannot tell whose model `{text}` is: write PROVIDER/MODEL")),
        }
    }
}

impl Check<'_> {
    fn enforcement(&mut self, word: Option<&str>, trail: &Trail) -> Enforcement {
        word.map_or(Enforcement::Enforce, |word| {
            word.parse().unwrap_or_else(|unknown: crate::policy::enforcement::Unknown| {
                self.problem(trail, unknown.to_string());
                Enforcement::Enforce
            })
        })
    }

    fn classes(&mut self, words: &[String], trail: &Trail) -> Vec<Class> {
        let mut classes = Vec::new();
        for (at, word) in self.items(trail, words).collect::<Vec<_>>() {
            if let Some(class) = Class::of_name(word) {
                classes.push(class);
            } else {
                let all = Class::ALL.map(Class::as_str).join(", ");
                self.problem(&at, format!("`{word}` is not one of {all}"));
            }
        }
        classes
    }

    fn features(&mut self, words: &[String], trail: &Trail) -> Vec<Feature> {
        let mut features = Vec::new();
        for (at, word) in self.items(trail, words).collect::<Vec<_>>() {
            if let Some(feature) = Feature::of_name(word) {
                features.push(feature);
            } else {
                let all = Feature::ALL.map(Feature::as_str).join(", ");
                self.problem(&at, format!("`{word}` is not one of {all}"));
            }
        }
        features
    }

    fn tiers(&mut self, raw: &Raw, names: &Names) -> Vec<Tier> {
        let trail = Trail::default().key("tiers");
        let mut tiers = Vec::new();
        for (name, models) in &raw.tiers {
            let mut links = Vec::new();
            for (at, text) in self.items(&trail.key(name), models).collect::<Vec<_>>() {
                match names.link(text) {
                    Ok((link, _)) => links.push(link),
                    Err(what) => self.problem(&at, what),
                }
            }
            tiers.push(Tier { name: Arc::from(name.as_str()), links });
        }
        for tier in &tiers {
            if let Err(broken) = flatten(&[Link::Tier(Arc::clone(&tier.name))], &tiers) {
                self.problem(&trail.key(&tier.name), broken.to_string());
            }
        }
        tiers
    }

    fn chains(&mut self, raw: &Raw, names: &Names, tiers: &[Tier]) -> Vec<Chain> {
        let trail = Trail::default().key("failover").key("chains");
        let all = &Trail::default().key("failover").key("enforcement");
        let all = self.enforcement(raw.failover.enforcement.as_deref(), all);
        let mut chains = Vec::new();
        for (model, chain) in &raw.failover.chains {
            let at = trail.key(model);
            let own = names.family(model);
            // A chain with settings has its models one step further down.
            let list = at.key("models");
            let list = if self.kept.find(&list).is_some() { list } else { at.clone() };
            let mut links = Vec::new();
            for (at, text) in self.items(&list, &chain.models).collect::<Vec<_>>() {
                match names.link(text) {
                    Ok((Link::Model(hop), true)) if !names.is_reachable(&hop, own.as_ref()) => {
                        let provider = &hop.provider;
                        self.problem(
                            &at,
                            format!("needs a key of its own: providers.{provider}.api_key"),
                        );
                    }
                    Ok((Link::Model(hop), _)) if hop.is(model, own.as_ref()) => {
                        self.problem(&at, "is the model that has failed".to_owned());
                    }
                    Ok((link, _)) => match flatten(std::slice::from_ref(&link), tiers) {
                        Ok(_) => links.push(link),
                        Err(broken) => self.problem(&at, broken.to_string()),
                    },
                    Err(what) => self.problem(&at, what),
                }
            }
            let mut hops = flatten(&links, tiers).unwrap_or_default();
            hops.retain(|hop| !hop.is(model, own.as_ref()));
            if chain.models.is_empty() {
                self.problem(&at, "needs at least one model".to_owned());
            }
            chains.push(Chain {
                policy: Arc::from(format!("failover.{model}")),
                model: Arc::from(model.as_str()),
                hops,
                allow_loss: self.features(&chain.allow_loss, &at.key("allow_loss")),
                enforcement: match chain.enforcement.as_deref() {
                    None => all,
                    word => self.enforcement(word, &at.key("enforcement")),
                },
            });
        }
        chains
    }

    fn rules(&mut self, from: Rules, own: &RawOverrides, trail: &Trail) -> Rules {
        let mut rules = from;
        self.retry(&mut rules, &own.retry, &trail.key("retry"));
        self.breaker(&mut rules, &own.breaker, &trail.key("breaker"));
        self.timeouts(&mut rules.timeouts, &own.timeouts, &trail.key("timeouts"));
        let RawHealthChecks { enabled, interval } = &own.health_checks;
        if *enabled == Some(false) {
            rules.health_checks = None;
        } else if *enabled == Some(true) || interval.is_some() {
            let usual = HealthChecks { interval: Duration::from_secs(30) };
            rules.health_checks.get_or_insert(usual);
        }
        if let Some(checks) = &mut rules.health_checks {
            self.span(&mut checks.interval, *interval, &trail.key("health_checks").key("interval"));
        }
        rules
    }

    fn retry(&mut self, rules: &mut Rules, raw: &RawRetry, trail: &Trail) {
        let retry = &mut rules.retry;
        self.figure(&mut retry.attempts, raw.attempts, (1, 10), &trail.key("attempts"));
        self.figure(
            &mut retry.budget_percent,
            raw.budget_percent,
            (0, 100),
            &trail.key("budget_percent"),
        );
        self.span(&mut retry.base, raw.base, &trail.key("base"));
        self.span(&mut retry.max, raw.max, &trail.key("max"));
        self.span(&mut retry.total_timeout, raw.total_timeout, &trail.key("total_timeout"));
        retry.jitter = raw.jitter.unwrap_or(retry.jitter);
        if let Some(strategy) = raw.strategy {
            retry.strategy = match strategy {
                RawStrategy::Exponential => Growth::Exponential,
                RawStrategy::Linear => Growth::Linear,
                RawStrategy::Fixed => Growth::Fixed,
            };
        }
    }

    fn breaker(&mut self, rules: &mut Rules, raw: &RawBreaker, trail: &Trail) {
        let breaker = &mut rules.breaker;
        self.figure(&mut breaker.failures, raw.failures, (1, 10_000), &trail.key("failures"));
        let percent = &trail.key("failure_percent");
        self.figure(&mut breaker.failure_percent, raw.failure_percent, (1, 100), percent);
        let calls = &trail.key("minimum_calls");
        self.figure(&mut breaker.minimum_calls, raw.minimum_calls, (1, 1_000_000), calls);
        self.figure(&mut breaker.probes, raw.probes, (1, 100), &trail.key("probes"));
        self.span(&mut breaker.window, raw.window, &trail.key("window"));
        self.span(&mut breaker.open, raw.open, &trail.key("open"));
        self.span(&mut breaker.max_open, raw.max_open, &trail.key("max_open"));
        breaker.adaptive = raw.adaptive.unwrap_or(breaker.adaptive);
        breaker.trip_on_rate_limit = raw.trip_on_rate_limit.unwrap_or(breaker.trip_on_rate_limit);
    }

    fn timeouts(&mut self, timeouts: &mut Timeouts, raw: &RawTimeouts, trail: &Trail) {
        for (key, timeout, written) in [
            ("connect", &mut timeouts.connect, raw.connect),
            ("first_byte", &mut timeouts.first_byte, raw.first_byte),
            ("idle", &mut timeouts.idle, raw.idle),
            ("total", &mut timeouts.total, raw.total),
        ] {
            if let Some(span) = written {
                *timeout = Some(self.positive(span, &trail.key(key)));
            }
        }
    }

    fn span(&mut self, to: &mut Duration, written: Option<Span>, trail: &Trail) {
        if let Some(span) = written {
            *to = self.positive(span, trail);
        }
    }

    fn figure<T: PartialOrd + Copy + std::fmt::Display>(
        &mut self,
        to: &mut T,
        written: Option<T>,
        (least, most): (T, T),
        trail: &Trail,
    ) {
        let Some(figure) = written else { return };
        if figure < least || figure > most {
            self.problem(trail, format!("must be from {least} to {most}"));
        }
        *to = figure;
    }
}

impl Names {
    /// Whether a call for a model of `own` can be taken to this one.
    fn is_reachable(&self, hop: &Hop, own: Option<&Arc<str>>) -> bool {
        Some(&hop.provider) == own || self.reachable.contains(&hop.provider)
    }
}

impl Hop {
    /// Whether this is the model itself.
    fn is(&self, model: &str, provider: Option<&Arc<str>>) -> bool {
        *self.model == *model && provider.is_none_or(|provider| *provider == self.provider)
    }
}
