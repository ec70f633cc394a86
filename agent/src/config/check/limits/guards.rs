//! Guardrails and loop protection.

use std::num::NonZeroU64;
use std::time::Duration;

use super::whom::Known;
use super::{Check, enforcement};
use crate::config::amount::Count;
use crate::config::problem::Trail;
use crate::config::raw::{RawAction, RawGuardAction, RawGuardrail, RawLoops};
use crate::policy::selector::Pattern;
use crate::policy::settings::{Guard, GuardAction, Loops, OnBreach, Per, Rule, Says};

impl Check<'_> {
    pub(super) fn guardrail(
        &mut self,
        key: &str,
        raw: &RawGuardrail,
        (trail, known): (&Trail, &Known),
    ) -> Option<Rule> {
        let mut patterns = |name: &str, list: &[String]| -> Vec<Pattern> {
            for (at, item) in self.items(&trail.key(name), list) {
                if item.is_empty() {
                    self.problem(&at, "is empty".to_owned());
                }
            }
            list.iter().map(|name| Pattern::new(name)).collect()
        };
        let guard = Guard {
            allow_models: patterns("allow_models", &raw.allow_models),
            deny_models: patterns("deny_models", &raw.deny_models),
            allow_hosts: patterns("allow_hosts", &raw.allow_hosts),
            deny_hosts: patterns("deny_hosts", &raw.deny_hosts),
            allow_paths: patterns("allow_paths", &raw.allow_paths),
            deny_paths: patterns("deny_paths", &raw.deny_paths),
            max_input_tokens: self.most(raw.max_input_tokens, &trail.key("max_input_tokens")),
            max_output_tokens: self.most(raw.max_output_tokens, &trail.key("max_output_tokens")),
            max_body_bytes: raw.max_body_size.map(|size| size.0),
            on_breach: match raw.on_breach {
                None | Some(RawGuardAction::Block) => GuardAction::Block,
                Some(RawGuardAction::Warn) => GuardAction::Warn,
                Some(RawGuardAction::Log) => GuardAction::Log,
            },
        };
        self.allowed_and_denied("models", (&guard.allow_models, &guard.deny_models), trail);
        self.allowed_and_denied("hosts", (&guard.allow_hosts, &guard.deny_hosts), trail);
        self.allowed_and_denied("paths", (&guard.allow_paths, &guard.deny_paths), trail);
        let says_nothing = guard == Guard { on_breach: guard.on_breach, ..Guard::default() };
        let (selector, per) = self.whom(key, (raw.matching.as_ref(), None), (trail, known));
        if says_nothing {
            let some = "deny_models, allow_hosts, max_output_tokens, …";
            self.problem(trail, format!("guards nothing: give one of {some}"));
            return None;
        }
        Some(Rule {
            name: format!("guardrails.{key}").into(),
            about: key.into(),
            enforcement: enforcement(raw.enforcement),
            selector,
            per,
            says: Says::Guard(guard),
        })
    }

    /// What is allowed and denied at once can never be asked for.
    fn allowed_and_denied(
        &mut self,
        what: &str,
        (allow, deny): (&[Pattern], &[Pattern]),
        trail: &Trail,
    ) {
        let at = trail.key(&format!("allow_{what}"));
        for (place, allowed) in allow.iter().enumerate() {
            if deny.iter().any(|denied| denied.covers(allowed)) {
                let said =
                    format!("`{allowed}` is denied by `deny_{what}`, so it is never allowed");
                self.problem(&at.item(place), said);
            }
        }
    }

    fn most(&mut self, most: Option<Count>, trail: &Trail) -> Option<u64> {
        if most == Some(Count(0)) {
            self.problem(trail, "must be at least 1".to_owned());
        }
        most.map(|most| most.0)
    }

    pub(super) fn loops(
        &mut self,
        raw: &RawLoops,
        (trail, known): (&Trail, &Known),
    ) -> Option<Rule> {
        let RawLoops {
            identical_prompts_per_minute: identical,
            errors_per_minute: errors,
            matching,
            enforcement: how_far,
            on_breach,
            throttle_up_to,
        } = raw;
        // An empty section asks for nothing.
        let is_written = self.kept.find(trail).is_some_and(|section| {
            matches!(&section.value, crate::config::tree::Value::Map(keys) if !keys.is_empty())
        });
        if !is_written {
            return None;
        }
        let action = on_breach.unwrap_or(RawAction::Throttle);
        let on_breach = self.on_breach((Some(action), None, *throttle_up_to), (trail, known));
        if matches!(on_breach, OnBreach::Downgrade(_) | OnBreach::Freeze) {
            let what = "must be one of throttle, alert, deny".to_owned();
            self.problem(&trail.key("on_breach"), what);
        }
        let loops = Loops {
            identical: NonZeroU64::new(identical.map_or(30, |count| count.0)),
            errors: NonZeroU64::new(errors.map_or(60, |count| count.0)),
            on_breach: match (on_breach, throttle_up_to) {
                (OnBreach::Throttle(_), None) => OnBreach::Throttle(Duration::from_secs(10)),
                (on_breach, _) => on_breach,
            },
        };
        if loops.identical.is_none() && loops.errors.is_none() {
            self.problem(trail, "protects from nothing: both rates are 0".to_owned());
        }
        let (selector, _) = self.whom("*", (matching.as_ref(), None), (trail, known));
        Some(Rule {
            name: "loop_protection".into(),
            about: "*".into(),
            enforcement: enforcement(*how_far),
            selector,
            per: Per::Workload,
            says: Says::Loops(loops),
        })
    }
}
