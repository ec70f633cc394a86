//! How reliability is to be had, as the configuration gives it: values that cannot be wrong.

use std::sync::Arc;
use std::time::Duration;

use super::balance::Member;
use super::chain::Chain;
use super::presets::Preset;
use super::verdict::Class;
use super::{breaker, retry};
use crate::llm::providers::Providers;
use crate::llm::translate::Feature;
use crate::policy::Enforcement;

/// How reliability is to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// For every provider without its own.
    pub general: Rules,
    /// For single providers, by name.
    pub providers: Vec<(Arc<str>, Rules)>,
    /// How far retries go.
    pub retries: Enforcement,
    /// How far breakers go.
    pub breakers: Enforcement,
    /// What is asked instead, by model.
    pub chains: Vec<Chain>,
    /// Models of each tier, resolved, best first.
    pub tiers: Vec<(Arc<str>, Vec<super::chain::Hop>)>,
    /// Other models asked for one call at most.
    pub max_hops: u32,
    /// Failures after which another model is asked.
    pub fallback_on: Vec<Class>,
    /// Features that may get lost where another provider is asked.
    pub allow_loss: Vec<Feature>,
    /// Names of all providers: each has a breaker.
    pub known: Vec<Arc<str>>,
    /// Providers whose calls we can make without the client's credential.
    pub reachable: Vec<Arc<str>>,
    /// The endpoints of providers that have several, by name.
    pub endpoints: Vec<(Arc<str>, Vec<Member>)>,
}

/// What holds for one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Trying again.
    pub retry: retry::Settings,
    /// Not trying at all for a while.
    pub breaker: breaker::Settings,
    /// Giving up waiting.
    pub timeouts: Timeouts,
    /// Asking how it is.
    pub health_checks: Option<HealthChecks>,
}

/// How long is waited for a provider; `None` is as long as the client does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Option<Duration>,
    /// From then to the response's first byte.
    pub first_byte: Option<Duration>,
    /// Between two pieces of the response.
    pub idle: Option<Duration>,
    /// For one try as a whole.
    pub total: Option<Duration>,
}

/// Asking a provider how it is, at no cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthChecks {
    /// How often.
    pub interval: Duration,
}

impl Default for Settings {
    /// Retries and breakers, no chains; every provider there is from the start.
    fn default() -> Self {
        Self {
            general: Preset::default().rules(),
            providers: Vec::new(),
            retries: Enforcement::Enforce,
            breakers: Enforcement::Enforce,
            chains: Vec::new(),
            tiers: Vec::new(),
            max_hops: 2,
            fallback_on: Class::FALL_BACK.to_vec(),
            allow_loss: Vec::new(),
            known: Providers::builtin().iter().map(|provider| Arc::clone(&provider.name)).collect(),
            reachable: Vec::new(),
            endpoints: Vec::new(),
        }
    }
}

impl Settings {
    /// What holds for a provider.
    pub fn rules(&self, provider: &str) -> &Rules {
        let own = self.providers.iter().find(|(name, _)| **name == *provider);
        own.map_or(&self.general, |(_, rules)| rules)
    }

    /// The first model of a tier, for policies that move a call to a cheaper one.
    pub fn tier(&self, name: &str) -> Option<&[super::chain::Hop]> {
        self.tiers.iter().find(|(known, _)| **known == *name).map(|(_, hops)| &hops[..])
    }
}
