//! Breakers that another agent had opened, which this one follows.

use std::time::SystemTime;

use super::Reliability;
use crate::clock::Now;

impl Reliability {
    /// Goes on with the breaker of another agent, which was open until `until`; `None` is until it is
    /// reset. Names that mean nothing here are passed over.
    pub fn adopt(
        &mut self,
        name: &str,
        (until, reason): (Option<SystemTime>, Option<String>),
        now: Now,
    ) {
        let Some((provider, model)) = self.split(name) else { return };
        let left = until.map(|until| until.duration_since(now.wall).unwrap_or_default());
        let until = left.map(|left| now.mono + left);
        self.breakers.adopt((&provider, model), (until, reason), now.mono);
    }
}
