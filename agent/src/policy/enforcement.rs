//! How far a policy goes: not at all, on paper, for some, for all.

use std::fmt;
use std::str::FromStr;

/// How far a policy goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Enforcement {
    /// It does nothing.
    Off,
    /// It decides and counts, and does not act.
    Shadow,
    /// It acts.
    #[default]
    Enforce,
    /// It acts on this share of workloads in percent, and is a shadow for the others.
    Canary(u8),
}

/// A word that means no enforcement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of off, shadow, enforce, canary:PERCENT (0 to 100)")]
pub struct Unknown(String);

impl Enforcement {
    /// Whether it acts on this workload. The choice of a canary is stable: it rests on both names,
    /// so that another policy's canary meets other workloads.
    pub fn acts_on(self, policy: &str, workload: &str) -> bool {
        match self {
            Self::Off | Self::Shadow => false,
            Self::Enforce => true,
            Self::Canary(percent) => bucket(policy, workload) < percent,
        }
    }
}

/// A number from 0 to 99 (FNV-1a: it must spread, and be the same after a restart).
fn bucket(policy: &str, workload: &str) -> u8 {
    let bytes = policy.bytes().chain([0]).chain(workload.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The low bits of FNV-1a are the weakest: fold the high ones in.
    u8::try_from((hash ^ (hash >> 32)) % 100).unwrap_or(99)
}

impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Shadow => f.write_str("shadow"),
            Self::Enforce => f.write_str("enforce"),
            Self::Canary(percent) => write!(f, "canary:{percent}"),
        }
    }
}

impl FromStr for Enforcement {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        let unknown = || Unknown(text.to_owned());
        match text.split_once(':') {
            None if text == "off" => Ok(Self::Off),
            None if text == "shadow" => Ok(Self::Shadow),
            None if text == "enforce" => Ok(Self::Enforce),
            Some(("canary", percent)) => {
                let percent = percent.trim().trim_end_matches('%').trim_end();
                let percent = percent.parse().map_err(|_| unknown())?;
                if percent > 100 { Err(unknown()) } else { Ok(Self::Canary(percent)) }
            }
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_back_as_they_were_written() {
        for word in ["off", "shadow", "enforce", "canary:0", "canary:25", "canary:100"] {
            assert_eq!(word.parse::<Enforcement>().unwrap().to_string(), word);
        }
        assert_eq!("canary: 10 %".parse(), Ok(Enforcement::Canary(10)));
        for word in ["", "on", "canary", "canary:", "canary:101", "canary:-1", "shadow:1"] {
            assert!(word.parse::<Enforcement>().is_err(), "{word}");
        }
    }

    #[test]
    fn a_canary_meets_about_its_share_always_the_same_ones_and_grows() {
        let names: Vec<_> = (0..10_000).map(|n| format!("exe:python3:job-{n}.py")).collect();
        let met = |percent| {
            let canary = Enforcement::Canary(percent);
            names.iter().filter(|name| canary.acts_on("rate_limits.a", name)).collect::<Vec<_>>()
        };
        let (ten, half) = (met(10), met(50));
        assert!((900..1100).contains(&ten.len()), "{}", ten.len());
        assert!((4700..5300).contains(&half.len()), "{}", half.len());
        assert!(ten.iter().all(|name| half.contains(name)));
        assert!(met(0).is_empty());
        assert_eq!(met(100).len(), names.len());
    }
}
