//! Alerts: who is told, and how.

use super::Check;
use crate::config::checked::Alerts;
use crate::config::raw::Raw;

pub(super) fn settings(_check: &mut Check<'_>, _raw: &Raw) -> Alerts {
    Alerts::default()
}
