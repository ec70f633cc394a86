//! Before a further try of a call: the same questions about the model and the provider that are
//! really asked.
//!
//! What was reserved for the call stays, and is raised to what all of its tries can come to. Limits
//! that are about the new model only join with what this try can come to, and end when the call
//! moves on.

use std::sync::Arc;

use super::telling::count;
use super::{Said, Stage};
use crate::policy::call::{Barred, Denied, Further, Granted, Joined, Ticket, Tries};
use crate::policy::engine::settle;
use crate::policy::text::Act;
use crate::record::Decision;

impl Stage<'_, '_> {
    pub(in crate::policy::engine) fn further(
        mut self,
        ticket: &mut Ticket,
        tries: &Tries,
    ) -> Further {
        let verdict = self.grant(ticket, tries);
        Further { verdict, decisions: self.decisions, notices: self.notices }
    }

    fn grant(&mut self, ticket: &mut Ticket, tries: &Tries) -> Result<Granted, Barred> {
        let denied = if tries.moved { self.guardrails() } else { None };
        // Who lets it pass has said so of the call already.
        self.decisions.retain(|said| &*said.action != "pass");
        let denied = denied.or_else(|| self.price());
        self.of_target();
        if let Some(Denied { policy, message, .. }) = denied {
            return Err(Barred::Forbidden { policy, message });
        }
        let mut said = if tries.moved { self.limits(&ticket.rules()) } else { Vec::new() };
        nobody_waits(&mut said);
        if let Some((denied, _)) = self.first_refusal(&said) {
            return Err(self.bar(denied));
        }
        let worst = tries.and(&self.bound);
        settle::cover(self.rules, ticket, &worst, self.t).map_err(Barred::Uncovered)?;
        if tries.moved {
            let (call, minute) = (self.call, self.minute);
            let is_about =
                |set: &crate::policy::settings::Rule| set.selector.is_about(call, minute);
            let left = settle::leave(self.rules, ticket, tries.known(), (self.t, is_about));
            self.notices.extend(left);
        }
        if !said.is_empty() {
            let mut joined = self.ticket();
            self.decide_limits(&said, Some(&mut joined));
            ticket.joined.push(Joined { ticket: joined, before: tries.known() });
        }
        Ok(Granted { bound: worst, max_output: self.max_output })
    }

    /// A limit that refuses a try leaves it out.
    fn bar(&mut self, denied: Denied) -> Barred {
        let Denied { policy, message, .. } = denied;
        if let Some(rule) = self.rules.iter_mut().find(|rule| rule.set.name == policy) {
            count(rule, (Act::Refuse, true));
        }
        self.decisions.push(Decision {
            at: std::time::Duration::ZERO,
            rule: Arc::clone(&policy),
            action: Arc::from("skip"),
            detail: format!("{}: {message}", self.target()).into(),
        });
        Barred::Forbidden { policy, message }
    }

    /// Says of what is decided so far whom it is about. Nobody is refused: another model may be
    /// asked.
    fn of_target(&mut self) {
        let target = self.target();
        for said in &mut self.decisions {
            said.detail = format!("{target}: {}", said.detail).into();
            match &*said.action {
                "refuse" => said.action = Arc::from("skip"),
                "would-refuse" => said.action = Arc::from("would-skip"),
                _ => {}
            }
        }
    }

    fn target(&self) -> String {
        let model = self.call.model.unwrap_or_default();
        format!("{}/{}", self.call.provider, crate::subject::printable(model, 100))
    }
}

/// A call that is being made does not wait for another model: what a limit would make it wait for
/// is left out, and a budget of the calendar lets it go.
fn nobody_waits(said: &mut [Said]) {
    for said in said.iter_mut().filter(|said| said.acts && said.act == Act::Delay) {
        let sliding = said.breach.is_some_and(|breach| breach.sliding);
        said.act = if sliding { Act::Refuse } else { Act::Pass };
        said.delay = std::time::Duration::ZERO;
    }
}

impl Ticket {
    /// The rules that hold something for the call.
    fn rules(&self) -> Vec<u64> {
        let joined = self.joined.iter().flat_map(|joined| &joined.ticket.holds);
        self.holds.iter().chain(joined).map(|hold| hold.rule.1).collect()
    }
}
