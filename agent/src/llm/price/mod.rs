//! What a call costs: exact integers from dated prices.
//!
//! An unknown price is [`Unpriced`], never zero. Only a provider marked `free` costs nothing.
//! Amounts are summed in units of 10⁻¹⁸ dollars and rounded once per call, half up.

mod bill;
mod calendar;
mod catalogue;
mod matching;
mod rate;
mod rates;
mod worst;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::RwLock;

use self::catalogue::{CATALOGUE, Key, Model, Variant};
pub use self::rate::{NotAPrice, Rate};
pub use self::rates::{Card, Listed, Override, Rates};
pub use self::worst::Worst;
use super::providers::Provider;
use super::usage::{NanoUsd, Usage};

/// Longer names are no models; looking them up would only cost time.
const MAX_NAME: usize = 200;
/// Names remembered per provider. Clients choose the names, so the memory starts over when full.
const MAX_KNOWN: usize = 1024;
/// `price_version` of a call priced by the configuration.
const LOCAL: &str = "local";
/// Tiers that mean the standard price. `auto` is how one asks, not what one gets; it stands here
/// because a provider that says nothing else answered at its standard tier.
const STANDARD_TIERS: [&str; 6] = ["", "default", "standard", "standard_only", "auto", "on_demand"];
/// Suffix the meter puts on the tier of an answer computed in the United States on request.
pub(super) const US_ONLY: &str = "+us";

/// The prices in use: the embedded catalogue under the configuration's own.
#[derive(Debug)]
pub struct Prices {
    version: Arc<str>,
    local: Arc<str>,
    overrides: Vec<rates::Compiled>,
    /// Names looked up before, by catalogue id; there are few of those.
    known: RwLock<Vec<(Box<str>, Names)>>,
}

type Names = HashMap<Box<str>, (&'static Model, bool)>;

/// One call to price.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// Who answered.
    pub provider: &'a Provider,
    /// The model's name, as the provider or the client wrote it.
    pub model: &'a str,
    /// When the call was made: prices change on given days and, at some providers, by the hour.
    pub at: SystemTime,
    /// The service tier that answered (`flex`, `priority`, …), `batch` for batch processing.
    pub tier: Option<&'a str>,
    /// Tokens by kind.
    pub usage: &'a Usage,
}

/// What a call costs and by which prices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Priced {
    /// The amount.
    pub cost: NanoUsd,
    /// Version of the catalogue, or `local` for the configuration's own prices.
    pub version: Arc<str>,
}

/// Why a call has no price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unpriced {
    /// No prices are known of this provider.
    #[error("no prices are known of this provider")]
    UnknownProvider,
    /// The provider's prices don't list the model.
    #[error("the price list does not name this model")]
    UnknownModel,
    /// The model's price at this service tier is not known.
    #[error("the price at this service tier is not known")]
    UnknownTier,
    /// The model has no price for a kind of token that was used.
    #[error("the price list lacks a kind of token that was used")]
    UnknownRate,
    /// The model is billed by something the token counts don't tell (seconds, pages, images).
    #[error("the model is not billed by the token alone")]
    NotByToken,
}

impl Unpriced {
    /// A stable word for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownProvider => "unknown_provider",
            Self::UnknownModel => "unknown_model",
            Self::UnknownTier => "unknown_tier",
            Self::UnknownRate => "unknown_rate",
            Self::NotByToken => "not_by_token",
        }
    }
}

impl Prices {
    /// The embedded catalogue.
    pub fn embedded() -> Self {
        Self {
            version: catalogue::VERSION.into(),
            local: LOCAL.into(),
            overrides: Vec::new(),
            known: RwLock::default(),
        }
    }

    /// Puts the configuration's own prices before the catalogue's; of two for the same model the
    /// later one counts.
    #[must_use]
    pub fn with_overrides(mut self, overrides: Vec<Override>) -> Self {
        self.overrides.extend(overrides.into_iter().rev().map(Into::into));
        self
    }

    /// Version and date of the catalogue.
    pub fn dated(&self) -> &str {
        &self.version
    }

    /// What the call costs.
    pub fn cost(&self, query: &Query<'_>) -> Result<Priced, Unpriced> {
        if query.provider.free {
            return Ok(Priced { cost: NanoUsd(0), version: Arc::clone(&self.local) });
        }
        if let Some(own) = self.overriding(&query.provider.name, query.model, query.at) {
            let cost = bill::Bill::new(&own.prices, None).total(query.usage)?;
            return Ok(Priced { cost: rate::round(cost), version: Arc::clone(&self.local) });
        }
        let (model, own) = self.find(query.provider, query.model)?;
        let (tier, us_only) = split_tier(query.tier);
        let standard = model.standard(query.at).ok_or(Unpriced::UnknownModel)?;
        if model.is_free(standard) {
            return Ok(Priced { cost: NanoUsd(0), version: Arc::clone(&self.version) });
        }
        let variant = variant(model, own, tier, query.at)?;
        let mut cost = bill::Bill::new(standard, variant).total(query.usage)?;
        if us_only || bill::is_regional(query.provider, &model.id) {
            cost = bill::with_regional_surcharge(cost);
        }
        Ok(Priced { cost: rate::round(cost), version: Arc::clone(&self.version) })
    }

    /// As [`Self::cost`], for an answer whose model is known: `served` counts where it has a
    /// price, `query.model` where only that has one.
    pub fn cost_served(&self, query: &Query<'_>, served: Option<&str>) -> Result<Priced, Unpriced> {
        match served.map(|model| self.cost(&Query { model, ..*query })) {
            None | Some(Err(Unpriced::UnknownModel)) => self.cost(query),
            Some(priced) => priced,
        }
    }

    /// What `searches` web searches by the provider's own tool cost, on top of the tokens.
    pub fn web_search_cost(&self, query: &Query<'_>, searches: u64) -> Result<NanoUsd, Unpriced> {
        if searches == 0 || query.provider.free {
            return Ok(NanoUsd(0));
        }
        let (model, _) = self.find(query.provider, query.model)?;
        let prices = model.standard(query.at).ok_or(Unpriced::UnknownModel)?;
        let price = prices.by_key[Key::WebSearch as usize].as_ref();
        let rate = price.ok_or(Unpriced::UnknownRate)?.for_prompt(0);
        Ok(rate::round(bill::per_thousand(rate, searches)))
    }

    /// The prices of one model, for showing; `provider` is its id in the catalogue, or the name of
    /// a provider the configuration gives prices for. Surcharges of places are not in them.
    pub fn rates(&self, provider: &str, model: &str, at: SystemTime) -> Option<Rates> {
        if let Some(own) = self.overriding(provider, model, at) {
            return Some(Rates::of_override(own, &self.local));
        }
        let (found, _) = CATALOGUE.find(provider, &fold(model)?)?;
        Rates::of_model(found, at, &self.version)
    }

    /// Every model with a price: the configuration's own, then the catalogue's.
    pub fn models(&self) -> impl Iterator<Item = Listed<'_>> {
        let own = self.overrides.iter().rev().map(rates::Compiled::listed);
        own.chain(CATALOGUE.iter().map(|(provider, model)| Listed {
            provider,
            model: &model.id,
            name: model.name.as_deref(),
        }))
    }

    /// Tokens a model can take in, where the catalogue knows.
    pub fn context_window(&self, provider: &Provider, model: &str) -> Option<u64> {
        self.find(provider, model).ok()?.0.context_window
    }

    fn overriding(&self, provider: &str, model: &str, at: SystemTime) -> Option<&rates::Compiled> {
        self.overrides.iter().find(|own| own.covers(provider, model, at))
    }

    fn find(&self, provider: &Provider, asked: &str) -> Result<(&'static Model, bool), Unpriced> {
        let provider = provider.prices.as_deref().ok_or(Unpriced::UnknownProvider)?;
        if let Some(found) = known(&self.known.read(), provider, asked) {
            return Ok(found);
        }
        if !CATALOGUE.knows(provider) {
            return Err(Unpriced::UnknownProvider);
        }
        let name = fold(asked).ok_or(Unpriced::UnknownModel)?;
        let found = CATALOGUE.find(provider, &name).ok_or(Unpriced::UnknownModel)?;
        let mut known = self.known.write();
        let at = known.iter().position(|(id, _)| **id == *provider).unwrap_or_else(|| {
            known.push((provider.into(), Names::new()));
            known.len() - 1
        });
        let names = &mut known[at].1;
        if names.len() >= MAX_KNOWN {
            names.clear();
        }
        names.insert(asked.into(), found);
        Ok(found)
    }
}

fn known(
    known: &[(Box<str>, Names)],
    provider: &str,
    model: &str,
) -> Option<(&'static Model, bool)> {
    let (_, names) = known.iter().find(|(id, _)| **id == *provider)?;
    names.get(model).copied()
}

/// A name in lower case; `None` where it is too long to be one.
fn fold(name: &str) -> Option<Cow<'_, str>> {
    if name.len() > MAX_NAME {
        return None;
    }
    let plain = name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
    Some(if plain { name.into() } else { name.to_lowercase().into() })
}

fn split_tier(tier: Option<&str>) -> (&str, bool) {
    let tier = tier.unwrap_or_default();
    tier.strip_suffix(US_ONLY).map_or((tier, false), |tier| (tier, true))
}

/// The prices that replace the standard ones. A tier without prices is unknown: it may be dearer
/// (`priority`) or bound to a contract (`scale`), so the standard price would be a guess.
fn variant<'a>(
    model: &'a Model,
    own: bool,
    tier: &str,
    at: SystemTime,
) -> Result<Option<&'a Variant>, Unpriced> {
    if STANDARD_TIERS.contains(&tier) {
        return Ok(None);
    }
    // Tiers are the provider's: they don't come with a model borrowed from another's list.
    let variant = own.then(|| model.variant(tier, at)).flatten();
    variant.map(Some).ok_or(Unpriced::UnknownTier)
}
