//! The rules as the configuration gives them: values that cannot be wrong.

use std::sync::Arc;

/// Limits, budgets, guardrails and loop protection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// Who belongs to which team.
    pub teams: Vec<Team>,
}

/// A team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Team {
    /// Its name.
    pub name: Arc<str>,
    /// Workloads that belong to it, as rules name them.
    pub workloads: Vec<Arc<str>>,
    /// Users that belong to it, by name or id.
    pub users: Vec<Arc<str>>,
}
