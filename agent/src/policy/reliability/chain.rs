//! Which models are asked when one fails, in order.

use std::sync::Arc;

use crate::llm::translate::Feature;
use crate::policy::Enforcement;

/// A model to ask instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Its provider.
    pub provider: Arc<str>,
    /// Its name there.
    pub model: Arc<str>,
}

/// What is asked instead of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The policy: `failover.gpt-4o`.
    pub policy: Arc<str>,
    /// The model it is for, as clients name it; `*` is any that has no chain of its own.
    pub model: Arc<str>,
    /// What to ask, in order; no model twice, none that is `model` itself.
    pub hops: Vec<Hop>,
    /// Features that may get lost on the way, beside those of all chains.
    pub allow_loss: Vec<Feature>,
    /// How far it goes.
    pub enforcement: Enforcement,
}

/// A link of a chain before tiers are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// A model.
    Model(Hop),
    /// All models of a tier, in its order.
    Tier(Arc<str>),
}

/// A named group of models, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// Its name.
    pub name: Arc<str>,
    /// Its models; a tier may contain others.
    pub links: Vec<Link>,
}

/// Why a chain can't be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// No tier of that name.
    #[error("there is no tier `{0}`")]
    UnknownTier(Arc<str>),
    /// A tier that contains itself.
    #[error("tier `{0}` contains itself")]
    Cycle(Arc<str>),
}

/// The models behind a chain's links, each once, in the order in which they are first named.
pub fn flatten(links: &[Link], tiers: &[Tier]) -> Result<Vec<Hop>, Broken> {
    let mut hops = Vec::new();
    walk(links, tiers, &mut Vec::new(), &mut hops)?;
    Ok(hops)
}

fn walk<'t>(
    links: &'t [Link],
    tiers: &'t [Tier],
    inside: &mut Vec<&'t str>,
    hops: &mut Vec<Hop>,
) -> Result<(), Broken> {
    for link in links {
        match link {
            Link::Model(hop) if hops.contains(hop) => {}
            Link::Model(hop) => hops.push(hop.clone()),
            Link::Tier(name) if inside.contains(&&**name) => {
                return Err(Broken::Cycle(Arc::clone(name)));
            }
            Link::Tier(name) => {
                let tier = tiers.iter().find(|tier| tier.name == *name);
                let tier = tier.ok_or_else(|| Broken::UnknownTier(Arc::clone(name)))?;
                inside.push(name);
                walk(&tier.links, tiers, inside, hops)?;
                inside.pop();
            }
        }
    }
    Ok(())
}

/// The chain for a model as the client names it.
pub fn find<'c>(chains: &'c [Chain], model: &str) -> Option<&'c Chain> {
    let named = |name: &str| chains.iter().find(|chain| &*chain.model == name);
    named(model).or_else(|| named("*"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hop(model: &str) -> Hop {
        Hop { provider: "openai".into(), model: model.into() }
    }

    fn model(name: &str) -> Link {
        Link::Model(hop(name))
    }

    fn tier(name: &str, links: Vec<Link>) -> Tier {
        Tier { name: name.into(), links }
    }

    #[test]
    fn tiers_are_put_in_place_and_no_model_is_asked_twice() {
        let tiers = [
            tier("premium", vec![model("a"), model("b")]),
            tier("standard", vec![model("b"), model("c"), Link::Tier("premium".into())]),
        ];
        let links = [model("x"), Link::Tier("standard".into()), model("a"), model("y")];
        let found = flatten(&links, &tiers).unwrap();
        assert_eq!(found, ["x", "b", "c", "a", "y"].map(hop));
    }

    #[test]
    fn what_leads_nowhere_or_in_circles_is_refused() {
        let tiers = [
            tier("a", vec![Link::Tier("b".into())]),
            tier("b", vec![model("m"), Link::Tier("a".into())]),
        ];
        let to = |name: &str| flatten(&[Link::Tier(name.into())], &tiers);
        assert_eq!(to("a"), Err(Broken::Cycle("a".into())));
        assert_eq!(to("nowhere"), Err(Broken::UnknownTier("nowhere".into())));
    }

    proptest! {
        #[test]
        fn any_tiers_end(
            tiers in prop::collection::vec(prop::collection::vec((prop::bool::ANY, 0_usize..5), 0..5), 5),
        ) {
            let tiers: Vec<_> = tiers
                .iter()
                .enumerate()
                .map(|(index, links)| {
                    let links = links.iter().map(|(is_tier, to)| match is_tier {
                        true => Link::Tier(to.to_string().into()),
                        false => model(&to.to_string()),
                    });
                    tier(&index.to_string(), links.collect())
                })
                .collect();
            if let Ok(hops) = flatten(&[Link::Tier("0".into())], &tiers) {
                for (index, hop) in hops.iter().enumerate() {
                    prop_assert!(!hops[..index].contains(hop));
                }
            }
        }
    }
}
