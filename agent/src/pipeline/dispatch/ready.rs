//! Whether a further try may be made: the way to its target, its breakers, and what limits cover.

use super::original::{Original, Way};
use super::told::NotReady;
use super::{Dispatch, Ready};

impl Dispatch<'_> {
    /// A try at the course's target, where one may be made now.
    pub(super) fn ready(&mut self) -> Result<Ready, NotReady> {
        let way = if self.course.is_elsewhere() {
            let loss = self.policies.reliability.lock().allowed_loss(&self.course);
            let way = self.original.elsewhere(self.exchange, &self.course.target, &loss);
            way.map_err(NotReady::NoWay)?
        } else {
            Original::asked(self.exchange)
        };
        let gated = self.gate();
        let (permit, timeouts) = self.pass(gated).map_err(NotReady::Blocked)?;
        // What is reserved is by the prices of whoever answers.
        let mut way = way;
        let before = std::mem::replace(&mut self.exchange.serving, way.serving.clone());
        let moved = before != way.serving;
        match self.cover(&way, moved) {
            Ok(Some(most)) => way.cap(self.exchange, most),
            Ok(None) => {}
            Err(not) => {
                self.exchange.serving = before;
                self.policies.reliability.lock().release(&self.course, permit);
                return Err(not);
            }
        }
        Ok(Ready { way, permit, timeouts })
    }

    pub(super) fn cover(&mut self, way: &Way, moved: bool) -> Result<Option<u64>, NotReady> {
        let place = self.original.place(self.exchange, way, moved);
        self.exchange.cover_attempt(&place).map_err(NotReady::from)
    }
}
