//! Whether it hangs on the input alone that a call does not pass: then counting it may be worth the
//! time.

use super::fit::{breach, is_firm, least};
use super::{Begun, Said, Stage};
use crate::llm::usage::NanoUsd;
use crate::policy::call::{Bound, Call};
use crate::policy::guardrail;
use crate::policy::settings::{GuardAction, Says};
use crate::policy::text::Act;

/// No text has fewer tokens than one in so many of those guessed from its bytes, but for long runs
/// of one character.
const GUESS: u64 = 8;

impl Stage<'_, '_> {
    /// Whether the call is held back, or taken elsewhere, by rules that would all let it pass if its
    /// input were as small as it can be.
    pub(super) fn hinges_on_input(&self, begun: &Begun) -> bool {
        match begun {
            Begun::Denied(_) => self.guards_allow(&fewest(&self.call.bound)),
            Begun::Limits(said) => {
                let mut held = said.iter().filter(|said| said.acts && said.act.holds_back());
                let floor = fewest(&self.bound);
                held.clone().next().is_some() && held.all(|said| self.fits(said, &floor))
            }
        }
    }

    /// Undoes what was counted before the limits were asked.
    pub(super) fn take_back(self) {
        for (place, (act, acts), told) in self.noted {
            let Some(rule) = self.rules.get_mut(place) else { continue };
            rule.told = told;
            match (act, acts) {
                (Act::Pass, _) => rule.tally.passed -= 1,
                (_, true) => rule.tally.acted -= 1,
                (_, false) => rule.tally.shadowed -= 1,
            }
        }
    }

    fn guards_allow(&self, bound: &Bound) -> bool {
        let call = Call { bound: *bound, ..*self.call };
        let price_is_known = call.bound.cost.is_some();
        let blocks = |place: usize| {
            let Some(entry) = self.entries.get(place) else { return false };
            let Some(rule) = self.rules.get(entry.rule) else { return false };
            let Says::Guard(guard) = &rule.set.says else { return false };
            let acts = entry.acts && self.acting && guard.on_breach == GuardAction::Block;
            acts && self.about(place, |_| true) && guardrail::breach(guard, &call).is_some()
        };
        price_is_known && !(0..self.entries.len()).any(blocks)
    }

    fn fits(&self, said: &Said, bound: &Bound) -> bool {
        let counter = || {
            let entry = self.entries.get(said.entry)?;
            let rule = self.rules.get(entry.rule)?;
            let Says::Limit(limit) = &rule.set.says else { return None };
            Some((limit, rule.counters.peek(entry.slot?)?))
        };
        let Some((limit, counter)) = counter() else { return false };
        let need = if is_firm(&limit.on_breach) { least(bound) } else { *bound };
        breach(&counter.gauges, &need, self.t).is_none()
    }
}

/// The bound of a call with the fewest input tokens that its bytes can be.
fn fewest(bound: &Bound) -> Bound {
    let part = |cost: NanoUsd| NanoUsd(cost.0 / i64::try_from(GUESS).unwrap_or(1));
    let input_cost = bound.input_cost.map(part);
    let cost = bound
        .input_cost
        .zip(bound.cost)
        .map(|(input, cost)| NanoUsd(cost.0.saturating_sub(input.0).saturating_add(part(input).0)));
    Bound { input: bound.input / GUESS, input_cost, cost: cost.or(bound.cost), ..*bound }
}
