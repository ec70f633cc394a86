//! The tabs: their names, their columns, how they are sorted at first, what an empty one says.

use super::grid::{Column, Sort};
use super::rows;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tab {
    /// Who talks to providers.
    Processes,
    /// What today went to.
    Models,
    /// Single calls.
    Calls,
    /// What is left.
    Budgets,
    /// How providers fare.
    Breakers,
    /// How the agent fares.
    Health,
}

impl Tab {
    /// All of them, as their keys number them.
    pub(super) const ALL: [Self; 6] =
        [Self::Processes, Self::Models, Self::Calls, Self::Budgets, Self::Breakers, Self::Health];

    /// Its place among all.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Processes => 0,
            Self::Models => 1,
            Self::Calls => 2,
            Self::Budgets => 3,
            Self::Breakers => 4,
            Self::Health => 5,
        }
    }

    /// The one so many places further, round and round.
    pub(super) fn after(self, places: usize) -> Self {
        Self::ALL[(self.index() + places) % Self::ALL.len()]
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Processes => "Processes",
            Self::Models => "Models",
            Self::Calls => "Calls",
            Self::Budgets => "Budgets",
            Self::Breakers => "Breakers",
            Self::Health => "Health",
        }
    }

    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            Self::Processes => &rows::processes::COLUMNS,
            Self::Models => &rows::models::COLUMNS,
            Self::Calls => &rows::calls::COLUMNS,
            Self::Budgets => &rows::budgets::COLUMNS,
            Self::Breakers => &rows::breakers::COLUMNS,
            Self::Health => &rows::health::COLUMNS,
        }
    }

    /// Most expensive, newest, fullest first.
    pub(super) fn sort(self) -> Sort {
        let column = match self {
            Self::Processes => Some(rows::processes::COST),
            Self::Models => Some(rows::models::COST),
            Self::Calls => Some(rows::calls::TIME),
            Self::Budgets => Some(rows::budgets::USED),
            Self::Breakers | Self::Health => None,
        };
        Sort { column, descending: column.is_some() }
    }

    /// What an empty one says, and what to do about it.
    pub(super) fn nothing(self) -> [&'static str; 2] {
        match self {
            Self::Processes => {
                ["no process has talked to an LLM provider in the last 24 hours", "weir doctor"]
            }
            Self::Models => ["no calls today", "weir doctor"],
            Self::Calls => ["no calls yet", "weir doctor"],
            Self::Budgets => {
                ["nothing was spent of any budget, or none is set", "weir policy list"]
            }
            Self::Breakers => ["no provider has been asked yet", "weir doctor"],
            Self::Health => ["the agent said nothing about itself", "weir status"],
        }
    }
}
