//! The embedded price catalogue: the data file of the crate `genai-prices`, read exactly.
//!
//! The crate computes in binary floats and keeps all of its providers decoded (some 19 MiB), so
//! only its data is in the binary; the crate itself is what the tests compare every model with.
//! A provider's models are decoded when they are first asked for.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::calendar::Constraint;
use super::matching::{Rule, with_dashed_date};
use super::rate::Rate;

/// `data/prices.json` of genai-prices, unchanged (MIT, see `catalogue.LICENSE`).
const DATA: &str = include_str!("catalogue.json");
/// Where [`DATA`] comes from, and the newest date at which it says a price was verified.
pub(super) const VERSION: &str = "genai-prices 0.2.1 (2026-10-26)";

/// The catalogue, shared by every [`super::Prices`].
pub(super) static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::open);

/// Providers by their catalogue id.
pub(super) struct Catalogue {
    books: HashMap<&'static str, Book>,
}

/// One provider's models.
pub(super) struct Book {
    raw: &'static RawValue,
    models: OnceLock<Box<[Model]>>,
    /// Providers to look in for a model this one does not list.
    fallbacks: Vec<&'static str>,
}

/// A model: the names it goes by and what it costs when.
#[derive(Debug, Deserialize)]
pub(super) struct Model {
    pub(super) id: Box<str>,
    pub(super) name: Option<Box<str>>,
    pub(super) context_window: Option<u64>,
    #[serde(rename = "match")]
    rule: Rule,
    prices: Dated,
    #[serde(default)]
    price_variants: Box<[Variant]>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Dated {
    /// Several prices, of which the last one in force counts.
    Many(Box<[Period]>),
    One(Box<PriceSet>),
}

#[derive(Debug, Deserialize)]
struct Period {
    constraint: Option<Constraint>,
    prices: PriceSet,
}

/// Prices that replace the standard ones for one way of asking.
#[derive(Debug, Deserialize)]
pub(super) struct Variant {
    when: HashMap<Box<str>, Box<str>>,
    pub(super) prices: PriceSet,
    constraint: Option<Constraint>,
}

/// The prices we know how to apply, by the catalogue's keys, and the names of the others.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "HashMap<String, Price>")]
pub(super) struct PriceSet {
    pub(super) by_key: [Option<Price>; Key::COUNT],
    pub(super) others: Box<[Box<str>]>,
}

/// What is priced. The order is that of [`Key::NAMES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    Input,
    CacheRead,
    CacheWrite,
    CacheWrite1h,
    Output,
    Reasoning,
    AudioInput,
    AudioOutput,
    AudioCacheRead,
    Request,
    WebSearch,
}

impl Key {
    pub(super) const COUNT: usize = 11;
    const NAMES: [&'static str; Self::COUNT] = [
        "input_mtok",
        "cache_read_mtok",
        "cache_write_mtok",
        "cache_write_1h_mtok",
        "output_mtok",
        "output_reasoning_mtok",
        "input_audio_mtok",
        "output_audio_mtok",
        "cache_audio_read_mtok",
        "requests_kcount",
        "web_searches_kcount",
    ];
}

/// A price: flat, or by the size of the whole prompt.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "RawPrice")]
pub(super) struct Price {
    base: Rate,
    /// Ascending: above so many input tokens, every token of the call costs this.
    pub(super) tiers: Box<[(u64, Rate)]>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawPrice {
    Tiered { base: Rate, tiers: Vec<RawTier> },
    Flat(Rate),
}

#[derive(Deserialize)]
struct RawTier {
    start: u64,
    price: Rate,
}

impl From<RawPrice> for Price {
    fn from(raw: RawPrice) -> Self {
        match raw {
            RawPrice::Flat(base) => Self::flat(base),
            RawPrice::Tiered { base, tiers } => {
                let mut tiers: Box<[_]> =
                    tiers.into_iter().map(|tier| (tier.start, tier.price)).collect();
                tiers.sort_unstable_by_key(|(start, _)| *start);
                Self { base, tiers }
            }
        }
    }
}

impl Price {
    pub(super) fn flat(base: Rate) -> Self {
        Self { base, tiers: Box::default() }
    }

    /// A price with its tiers in ascending order.
    pub(super) fn tiered(base: Rate, tiers: Box<[(u64, Rate)]>) -> Self {
        Self { base, tiers }
    }

    /// The rate for a prompt of this many tokens.
    pub(super) fn for_prompt(&self, tokens: u64) -> Rate {
        let tier = self.tiers.iter().rev().find(|(start, _)| tokens > *start);
        tier.map_or(self.base, |(_, rate)| *rate)
    }
}

impl From<HashMap<String, Price>> for PriceSet {
    fn from(mut prices: HashMap<String, Price>) -> Self {
        let by_key = Key::NAMES.map(|name| prices.remove(name));
        let mut others: Box<[Box<str>]> = prices.into_keys().map(Box::from).collect();
        others.sort_unstable();
        Self { by_key, others }
    }
}

#[derive(Deserialize)]
struct RawProvider {
    id: &'static str,
    #[serde(borrow)]
    models: &'static RawValue,
    #[serde(default)]
    fallback_model_providers: Vec<&'static str>,
}

impl Catalogue {
    #[expect(clippy::expect_used, reason = "the data is embedded; a test reads all of it")]
    fn open() -> Self {
        let providers: Vec<RawProvider> =
            serde_json::from_str(DATA).expect("the embedded catalogue is a list of providers");
        let book = |provider: RawProvider| {
            let fallbacks = provider.fallback_model_providers;
            (provider.id, Book { raw: provider.models, models: OnceLock::new(), fallbacks })
        };
        Self { books: providers.into_iter().map(book).collect() }
    }

    /// Whether there are prices of this provider.
    pub(super) fn knows(&self, provider: &str) -> bool {
        self.books.contains_key(provider)
    }

    /// Every model of every provider, by provider id, then in the catalogue's order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &Model)> {
        let mut ids: Vec<_> = self.books.keys().copied().collect();
        ids.sort_unstable();
        ids.into_iter().flat_map(|id| {
            self.books.get(id).into_iter().flat_map(Book::models).map(move |model| (id, model))
        })
    }

    /// The model `name` (in lower case) means at `provider`, and whether it is the provider's own
    /// entry rather than one borrowed from another provider.
    pub(super) fn find(&self, provider: &str, name: &str) -> Option<(&Model, bool)> {
        let book = self.books.get(provider)?;
        let direct = |name: &str| {
            book.find(name).map(|model| (model, true)).or_else(|| {
                let mut others = book.fallbacks.iter().filter_map(|id| self.books.get(id));
                others.find_map(|other| other.find(name)).map(|model| (model, false))
            })
        };
        direct(name).or_else(|| direct(&with_dashed_date(name)?))
    }
}

impl Book {
    #[expect(clippy::expect_used, reason = "the data is embedded; a test reads all of it")]
    fn models(&self) -> &[Model] {
        self.models.get_or_init(|| {
            serde_json::from_str(self.raw.get()).expect("the embedded models are well formed")
        })
    }

    /// By the rules; some rules expect a longer form of the name than the list's own id.
    fn find(&self, name: &str) -> Option<&Model> {
        let models = self.models();
        let by_rule = models.iter().find(|model| model.rule.matches(name));
        by_rule.or_else(|| models.iter().find(|model| model.id.eq_ignore_ascii_case(name)))
    }
}

impl Model {
    /// The standard prices in force at `at`.
    pub(super) fn standard(&self, at: SystemTime) -> Option<&PriceSet> {
        match &self.prices {
            Dated::One(prices) => Some(prices),
            Dated::Many(periods) => periods
                .iter()
                .rev()
                .find(|period| Constraint::in_force(period.constraint.as_ref(), at))
                .map(|period| &period.prices),
        }
    }

    /// Whether it is free by its name, which then has no prices.
    pub(super) fn is_free(&self, prices: &PriceSet) -> bool {
        self.id.ends_with(":free") && prices.by_key.iter().all(Option::is_none)
    }

    /// The variant for a service tier (`flex`, `priority`, …; `batch` is a way of processing) that
    /// is in force at `at`.
    pub(super) fn variant(&self, tier: &str, at: SystemTime) -> Option<&Variant> {
        self.price_variants.iter().find(|variant| {
            variant.tier() == Some(tier) && Constraint::in_force(variant.constraint.as_ref(), at)
        })
    }

    /// The service tiers with prices of their own at `at`.
    pub(super) fn tiers(&self, at: SystemTime) -> impl Iterator<Item = &str> {
        self.price_variants
            .iter()
            .filter(move |variant| Constraint::in_force(variant.constraint.as_ref(), at))
            .filter(|variant| variant.prices.by_key.iter().any(Option::is_some))
            .filter_map(Variant::tier)
    }
}

impl Variant {
    /// The tier it is for; `None` where it depends on something else (a search type, a route).
    fn tier(&self) -> Option<&str> {
        let (key, value) = self.when.iter().next().filter(|_| self.when.len() == 1)?;
        matches!(&**key, "service_tier" | "processing").then_some(&**value)
    }
}
