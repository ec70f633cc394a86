//! Who fails more, takes longer or spends more than they should: windows of the last calls, error
//! budgets, latency limits, spikes.
//!
//! Everything here is told the time and does nothing but count: it takes each call when it is over
//! and returns what people may want to be told of. It holds a bounded number of workloads, of which
//! the idlest makes room for a new one; a call of one that is known costs no allocation.

pub mod settings;
mod seen;
mod choice;
mod table;
mod window;
mod budget;
mod spike;
mod history;
mod series;
mod told;
mod view;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use self::budget::Level;
pub use self::history::{History, Hourly};
pub use self::seen::Seen;
pub use self::settings::Settings;
pub use self::spike::Spike;
pub use self::view::{ModelView, SpikeView, TaskView};
pub use self::window::Percentiles;

use self::choice::{Choice, Choices};
use self::series::{Model, Owner, Task};
use self::settings::Spikes;
use self::spike::{Pace, Turn};
use self::table::Table;
use crate::llm::usage::NanoUsd;
use crate::record::Notice;

/// Tasks of workloads that are told apart.
const TASKS: usize = 512;
/// Models of workloads that are told apart.
const MODELS: usize = 1_024;
/// Workloads whose spending is told apart.
const SPENDING: usize = 512;
/// Who makes no call for so long is forgotten, and with them what they were in.
pub const MEMORY: Duration = Duration::from_hours(24);

/// A workload and its task.
type Key = (Arc<str>, Arc<str>);
/// A workload, its model, and the policy of the rule that is about the call: where several rules
/// share a model, each has the calls that it is about.
type ModelKey = (Arc<str>, Arc<str>, Option<Arc<str>>);

/// Everyone who is watched.
#[derive(Debug)]
pub struct Watch {
    settings: Arc<Settings>,
    choices: Choices,
    tasks: Table<Key, Task>,
    models: Table<ModelKey, Model>,
    spending: Table<Arc<str>, Spending>,
    usual: HashMap<Arc<str>, NanoUsd>,
    /// The model of calls that name none.
    unnamed: Arc<str>,
}

/// How fast a workload spends.
#[derive(Debug)]
struct Spending {
    owner: Owner,
    pace: Pace,
    /// Whether a rule wants to know.
    is_asked: bool,
}

impl Spending {
    fn turn(&mut self, spikes: Option<&Spikes>, now: SystemTime) -> Option<Turn> {
        self.pace.turn(spikes.filter(|_| self.is_asked), now)
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            settings: Arc::default(),
            choices: Choices::default(),
            tasks: Table::new(TASKS),
            models: Table::new(MODELS),
            spending: Table::new(SPENDING),
            usual: HashMap::new(),
            unnamed: Arc::from("none"),
        }
    }
}

impl Watch {
    /// Takes a call that is over, and returns what people may want to be told of.
    pub fn call(&mut self, seen: &Seen<'_>) -> Vec<Notice> {
        let settings = Arc::clone(&self.settings);
        let choice = self.choices.of(seen, &settings);
        let mut news = Vec::new();
        news.extend(self.task(seen, choice, &settings));
        if seen.is_timed() {
            news.extend(self.model(seen, choice, &settings));
        }
        if let Some(cost) = seen.cost.filter(|cost| cost.0 > 0) {
            news.extend(self.spend(seen, cost, choice, &settings));
        }
        news
    }

    fn task(&mut self, seen: &Seen<'_>, choice: Choice, settings: &Settings) -> Option<Notice> {
        let rule = choice.budget.and_then(|place| settings.budgets.get(place));
        let name = rule.and_then(|rule| rule.task.as_ref()).unwrap_or(seen.operation);
        let key = (Arc::clone(seen.workload()), Arc::clone(name));
        let task = self.tasks.entry(&key, || Task::new(seen));
        let before = task.take(seen, rule);
        told::task(&key, (task, before), (seen.ended_at, Some(seen.call_id)))
    }

    fn model(&mut self, seen: &Seen<'_>, choice: Choice, settings: &Settings) -> Option<Notice> {
        let rule = choice.sla.and_then(|place| settings.sla.get(place));
        let name = seen.model.unwrap_or(&self.unnamed);
        let policy = rule.map(|rule| Arc::clone(&rule.policy));
        let key = (Arc::clone(seen.workload()), Arc::clone(name), policy);
        let model = self.models.entry(&key, || Model::new(seen));
        let before = model.take(seen, rule);
        told::model(&key, (model, before), (seen.ended_at, Some(seen.call_id)))
    }

    fn spend(
        &mut self,
        seen: &Seen<'_>,
        cost: NanoUsd,
        choice: Choice,
        settings: &Settings,
    ) -> Option<Notice> {
        let workload = seen.workload();
        let usual = &self.usual;
        let spending = self.spending.entry(workload, || Spending {
            owner: Owner::of(seen),
            pace: Pace::new(usual.get(workload).copied()),
            is_asked: false,
        });
        spending.owner.and(seen);
        spending.is_asked = choice.spikes;
        spending.pace.spend(seen.ended_at, cost);
        let turn = spending.turn(settings.spikes.as_ref(), seen.ended_at)?;
        Some(told::spike(workload, spending.owner, turn, seen.ended_at))
    }

    /// What was spent so far was spent before this start: a spike that it is has been told of.
    pub fn restored(&mut self) {
        for (_, spending) in self.spending.iter_mut() {
            spending.pace.take_as_told();
        }
    }

    /// Takes over what workloads usually spend in an hour.
    pub fn take_usual(&mut self, usual: HashMap<Arc<str>, NanoUsd>) {
        for (workload, spending) in self.spending.iter_mut() {
            spending.pace.usual = usual.get(workload).copied();
        }
        self.usual = usual;
    }

    /// Time has passed: spikes end also where nobody calls, and who is gone is forgotten.
    pub fn tick(&mut self, now: SystemTime) -> Vec<Notice> {
        let settings = Arc::clone(&self.settings);
        let mut news = Vec::new();
        for (workload, spending) in self.spending.iter_mut() {
            if let Some(turn) = spending.turn(settings.spikes.as_ref(), now) {
                news.push(told::spike(workload, spending.owner, turn, now));
            }
        }
        self.spending
            .retain(|_, spending| !spending.pace.is_idle() || spending.pace.spike.is_some());
        let is_there = |last: SystemTime| now.duration_since(last).unwrap_or_default() < MEMORY;
        for (key, task) in self.tasks.iter_mut().filter(|(_, task)| !is_there(task.last)) {
            let before = task.leave();
            news.extend(told::task(key, (task, before), (now, None)));
        }
        for (key, model) in self.models.iter_mut().filter(|(_, model)| !is_there(model.last)) {
            let before = model.leave();
            news.extend(told::model(key, (model, before), (now, None)));
        }
        self.tasks.retain(|_, task| is_there(task.last));
        self.models.retain(|_, model| is_there(model.last));
        news
    }

    /// Goes by other rules: what that changes is told with the next call. What no rule is about any
    /// more is well, and returned for those who were told that it is not.
    pub fn replace(&mut self, settings: Arc<Settings>, now: SystemTime) -> Vec<Notice> {
        self.choices.clear();
        let mut news = Vec::new();
        for (key, task) in self.tasks.iter_mut() {
            let named = task.budget.as_ref().map(|budget| Arc::clone(&budget.policy));
            let rule = settings.budgets.iter().find(|rule| Some(&rule.policy) == named.as_ref());
            if rule.is_none() {
                let before = task.leave();
                news.extend(told::task(key, (task, before), (now, None)));
            }
            task.replace(rule);
        }
        let about = |policy: &Arc<str>| settings.sla.iter().find(|rule| rule.policy == *policy);
        for (key, model) in self.models.iter_mut() {
            let Some(policy) = &key.2 else { continue };
            let rule = about(policy);
            if rule.is_none() {
                let before = model.leave();
                news.extend(told::model(key, (model, before), (now, None)));
            }
            model.hold_against(rule);
        }
        // The next calls are another rule's, or none's.
        self.models
            .retain(|(_, _, policy), _| policy.as_ref().is_none_or(|it| about(it).is_some()));
        self.settings = settings;
        news
    }

    /// How many places there are for each of the views below; more than there are of some.
    pub fn places(&self) -> usize {
        self.tasks.len().max(self.models.len()).max(self.spending.len())
    }

    /// A task, by its place.
    pub fn task_at(&self, place: usize) -> Option<TaskView> {
        self.tasks.at(place).map(|(key, task)| TaskView::new(key, task))
    }

    /// A model of a workload, by its place.
    pub fn model_at(&self, place: usize) -> Option<ModelView> {
        self.models.at(place).map(|(key, model)| ModelView::new(key, model))
    }

    /// A workload that spends far more than usual, by its place.
    pub fn spike_at(&self, place: usize) -> Option<SpikeView> {
        let (workload, spending) = self.spending.at(place)?;
        let (workload, uid) = (Arc::clone(workload), spending.owner.uid());
        spending.pace.spike.map(|spike| SpikeView { workload, uid, spike })
    }
}

#[cfg(test)]
mod tests;
