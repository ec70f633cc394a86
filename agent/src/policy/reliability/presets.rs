//! Stock settings for all of it, by what matters most.

use std::time::Duration;

use super::settings::{HealthChecks, Rules, Timeouts};
use super::{breaker, retry};

/// What matters most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Preset {
    /// Nothing in particular: retries and breakers as most services want them.
    #[default]
    Standard,
    /// An answer: patient retries, health checks.
    HighAvailability,
    /// Money: few retries, quick breakers.
    CostSensitive,
    /// Seeing failures as they are: no retries, breakers that hardly open.
    Development,
    /// Time: everything has a limit of ten seconds.
    Strict,
}

impl Preset {
    /// The settings it stands for.
    pub fn rules(self) -> Rules {
        let seconds = Duration::from_secs;
        let standard = Rules {
            retry: retry::Settings {
                attempts: 3,
                strategy: retry::Growth::Exponential,
                base: Duration::from_millis(500),
                max: seconds(30),
                jitter: true,
                total_timeout: seconds(60),
                budget_percent: 10,
            },
            breaker: breaker::Settings {
                failures: 5,
                failure_percent: 50,
                minimum_calls: 20,
                window: seconds(30),
                open: seconds(60),
                max_open: seconds(900),
                adaptive: true,
                probes: 3,
                trip_on_rate_limit: false,
            },
            timeouts: Timeouts::default(),
            health_checks: None,
        };
        let Rules { retry, breaker, .. } = standard.clone();
        match self {
            Self::Standard => standard,
            Self::HighAvailability => Rules {
                retry: retry::Settings { base: seconds(1), ..retry },
                health_checks: Some(HealthChecks { interval: seconds(30) }),
                ..standard
            },
            Self::CostSensitive => Rules {
                retry: retry::Settings {
                    attempts: 2,
                    strategy: retry::Growth::Linear,
                    jitter: false,
                    ..retry
                },
                breaker: breaker::Settings {
                    failures: 3,
                    open: seconds(30),
                    adaptive: false,
                    ..breaker
                },
                ..standard
            },
            Self::Development => Rules {
                retry: retry::Settings {
                    attempts: 1,
                    strategy: retry::Growth::Fixed,
                    base: Duration::from_millis(100),
                    jitter: false,
                    ..retry
                },
                breaker: breaker::Settings {
                    failures: 10,
                    open: seconds(10),
                    adaptive: false,
                    ..breaker
                },
                ..standard
            },
            Self::Strict => Rules {
                timeouts: Timeouts {
                    connect: Some(seconds(10)),
                    first_byte: Some(seconds(10)),
                    idle: Some(seconds(10)),
                    total: None,
                },
                ..standard
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_what_they_are_documented_to_be() {
        type Row = (Preset, u32, u64, u32, retry::Growth, u128, bool);
        let rows: [Row; 4] = [
            (Preset::Standard, 5, 60, 3, retry::Growth::Exponential, 500, false),
            (Preset::HighAvailability, 5, 60, 3, retry::Growth::Exponential, 1000, true),
            (Preset::CostSensitive, 3, 30, 2, retry::Growth::Linear, 500, false),
            (Preset::Development, 10, 10, 1, retry::Growth::Fixed, 100, false),
        ];
        for (preset, failures, open, attempts, strategy, base, checks) in rows {
            let rules = preset.rules();
            assert_eq!((rules.breaker.failures, rules.breaker.open.as_secs()), (failures, open));
            assert_eq!((rules.retry.attempts, rules.retry.strategy), (attempts, strategy));
            assert_eq!(
                (rules.retry.base.as_millis(), rules.health_checks.is_some()),
                (base, checks)
            );
            assert_eq!(rules.timeouts, Timeouts::default(), "{preset:?} limits no time");
        }
        assert_eq!(Preset::Strict.rules().timeouts.idle, Some(Duration::from_secs(10)));
    }
}
