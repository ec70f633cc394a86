//! What the kernel half hears and refuses beside connections: name servers' answers, QUIC.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::capture::targets::{Targets, Wanted};
use crate::capture::{Answers, Capture};

/// Has name servers' answers about the wanted hosts passed on.
pub(super) fn listen_for(capture: &Capture, wanted: &Wanted) {
    let hosts: Vec<Arc<str>> = wanted.hosts.iter().cloned().collect();
    match capture.hosts(&hosts) {
        Ok(0) => {}
        Ok(left_out) => {
            tracing::warn!(left_out, "hosts that name servers' answers are not read about");
        }
        Err(error) => tracing::error!(%error, "name servers' answers are not heard"),
    }
}

/// Listens to what name servers tell the processes of this machine.
pub(super) async fn overhear(answers: Answers, targets: Targets, capture: Arc<Capture>) {
    let add = |addrs: &[IpAddr]| match capture.add(addrs) {
        Ok(0) => {}
        Ok(left_out) => {
            tracing::warn!(left_out, "more LLM addresses than the kernel's tables hold");
        }
        Err(error) => tracing::error!(%error, "the kernel's targets could not be added to"),
    };
    answers.run(|packet| targets.overhear(packet, add)).await;
}

/// Who was refused QUIC to where of late.
#[derive(Debug, Default)]
pub(super) struct Refused(HashMap<(u32, IpAddr), Instant>);

impl Refused {
    /// How long another refusal is no news.
    const QUIET: Duration = Duration::from_mins(1);
    /// Pairs remembered; beyond it all are forgotten, and told again.
    const MOST: usize = 1024;

    /// Whether this pair was not told of lately; then it is from now on.
    pub(super) fn is_news(&mut self, pair: (u32, IpAddr), now: Instant) -> bool {
        let quiet =
            self.0.get(&pair).is_some_and(|at| now.saturating_duration_since(*at) < Self::QUIET);
        if !quiet {
            if self.0.len() >= Self::MOST {
                self.0.clear();
            }
            self.0.insert(pair, now);
        }
        !quiet
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, System};

    #[test]
    fn a_process_that_tries_again_and_again_is_told_of_once_a_minute() {
        let (mut refused, now) = (Refused::default(), System.now().mono);
        let pair = (7, IpAddr::from([192, 0, 2, 1]));
        assert!(refused.is_news(pair, now));
        assert!(!refused.is_news(pair, now + Duration::from_secs(59)));
        assert!(refused.is_news((8, pair.1), now));
        assert!(refused.is_news(pair, now + Duration::from_mins(1)));
    }
}
