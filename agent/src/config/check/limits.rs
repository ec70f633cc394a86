//! Limits, budgets and guardrails: from names and figures to rules.

use super::Check;
use crate::config::raw::Raw;
use crate::policy::Settings;

pub(super) fn settings(_check: &mut Check<'_>, _raw: &Raw) -> Settings {
    Settings::default()
}
