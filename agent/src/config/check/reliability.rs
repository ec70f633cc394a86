//! Failover, retries, breakers and timeouts: from figures to rules.

use super::Check;
use crate::config::raw::Raw;
use crate::policy::reliability::Settings;

pub(super) fn settings(_check: &mut Check<'_>, _raw: &Raw) -> Settings {
    Settings::default()
}
