//! Whether a call fits a limit, what the limit still buys, and what is done where it does not fit.

use std::time::Duration;

use crate::llm::usage::NanoUsd;
use crate::policy::call::Bound;
use crate::policy::gauge::{Fit, Gauge, Reading};
use crate::policy::rules;
use crate::policy::settings::{Limit, OnBreach, Quantity};
use crate::policy::text::Act;

/// The least output worth a call, in tokens. Where a limit buys less, a call that names no limit
/// of its own is refused instead of being cut short.
const LEAST_OUTPUT: u64 = 256;

/// Why a call does not fit.
#[derive(Clone, Copy)]
pub(super) struct Breach {
    /// The gauge that is named.
    pub(super) gauge: usize,
    pub(super) class: u8,
    /// When none of the rule's gauges stands in the way any more; `None` for never.
    pub(super) wait: Option<Duration>,
    /// The same, without hoping that running calls come to less than they reserved.
    pub(super) sure: Option<Duration>,
    /// Whether a sliding limit is in the way.
    pub(super) sliding: bool,
}

/// Whether a limit holds calls back, so that their output may be bounded to make them fit.
pub(super) fn is_firm(on_breach: &OnBreach) -> bool {
    matches!(on_breach, OnBreach::Deny | OnBreach::Freeze | OnBreach::Throttle(_))
}

/// What a rule does about a breach, and how long it makes the call wait.
pub(super) fn answer(limit: &Limit, breach: Option<Breach>) -> (Act, Duration) {
    let Some(breach) = breach else { return (Act::Pass, Duration::ZERO) };
    match &limit.on_breach {
        OnBreach::Deny => (Act::Refuse, Duration::ZERO),
        OnBreach::Freeze => (Act::Freeze, Duration::ZERO),
        OnBreach::Downgrade(_) => (Act::Downgrade, Duration::ZERO),
        OnBreach::Alert => (Act::Alert, Duration::ZERO),
        OnBreach::Throttle(most) => match breach.sure {
            Some(wait) if wait <= *most => (Act::Delay, wait),
            // A budget of the calendar is not waited for: it slows calls down.
            _ if !breach.sliding => (Act::Delay, *most),
            _ => (Act::Refuse, Duration::ZERO),
        },
    }
}

/// The least that must fit for the call to be worth making.
pub(super) fn least(bound: &Bound) -> Bound {
    let output = bound.output.min(LEAST_OUTPUT);
    if bound.output_asked || output == bound.output {
        return *bound;
    }
    let cost = bound.input_cost.zip(bound.cost).map(|(input, cost)| {
        let rest = u128::from(cost.0.saturating_sub(input.0).unsigned_abs()) * u128::from(output);
        let rest = i64::try_from(rest.div_ceil(u128::from(bound.output))).unwrap_or(i64::MAX);
        input.saturating_add(NanoUsd(rest))
    });
    Bound { output, cost: cost.or(bound.cost), ..*bound }
}

/// How much of a gauge a call needs; `None` where its price is not known.
pub(super) fn need(gauge: &Gauge, bound: &Bound) -> Option<u64> {
    match gauge.cap.of {
        Quantity::Requests => Some(1),
        Quantity::Tokens => Some(bound.input.saturating_add(bound.output)),
        Quantity::Usd => bound.cost.map(|cost| u64::try_from(cost.0).unwrap_or(0)),
    }
}

/// The most output a gauge buys at a position to come, where that is less than the call could come
/// to.
pub(super) fn buys(gauge: &Gauge, bound: &Bound, at: u64) -> Option<u64> {
    let left = gauge.left_at(at);
    if bound.output_asked || bound.output == 0 || need(gauge, bound)? <= left {
        return None;
    }
    match gauge.cap.of {
        Quantity::Requests => None,
        Quantity::Tokens => Some(left.saturating_sub(bound.input)),
        Quantity::Usd => {
            let (input, cost) = (bound.input_cost?, bound.cost?);
            let rest = u128::from(cost.0.saturating_sub(input.0).unsigned_abs());
            let left = u128::from(left.saturating_sub(input.0.unsigned_abs()));
            u64::try_from((left * u128::from(bound.output)).checked_div(rest)?).ok()
        }
    }
}

/// Whether a call does not fit, and which gauge says so.
pub(super) fn breach(gauges: &[Gauge], bound: &Bound, t: Reading<'_>) -> Option<Breach> {
    let mut found: Option<Breach> = None;
    for (place, gauge) in gauges.iter().enumerate() {
        let Some(need) = need(gauge, bound) else { continue };
        let (wait, sure) = match gauge.fit(need, t) {
            Fit::Now => continue,
            Fit::After { sure, likely } => (Some(likely), Some(sure)),
            Fit::Never => (None, None),
        };
        let class = rules::class(gauge.cap.of);
        let sliding = gauge.is_sliding();
        found = Some(match found {
            None => Breach { gauge: place, class, wait, sure, sliding },
            Some(first) => {
                let wait = first.wait.zip(wait).map(|(one, other)| one.max(other));
                let sure = first.sure.zip(sure).map(|(one, other)| one.max(other));
                let sliding = first.sliding || sliding;
                if class < first.class {
                    Breach { gauge: place, class, wait, sure, sliding }
                } else {
                    Breach { wait, sure, sliding, ..first }
                }
            }
        });
    }
    found
}
