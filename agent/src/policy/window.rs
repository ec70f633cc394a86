//! A sliding window: how much was used in the last minute, hour or day.
//!
//! Uses of one 1/128 of the window are kept together, and leave one window's length after the last
//! of them: never early and at most 0.8 % of the window late, so no position of the window ever
//! holds more than was let in. None stays longer than a window from now, so nobody who asks now is
//! told to wait longer than that: clients of the providers follow a wait of a minute, and of no
//! second more. Memory is bounded by the number of steps, not of uses.
//!
//! Positions are nanoseconds on the engine's own line, which follows the monotonic clock.

use std::collections::VecDeque;
use std::time::Duration;

/// Steps per window.
const STEPS: u64 = 128;

/// What was used in the last so long.
#[derive(Debug, Clone)]
pub(super) struct Window {
    length: u64,
    step: u64,
    /// Ascending by step. Uses that were put off lie ahead of the present.
    uses: VecDeque<Use>,
    /// Exact, however large what providers claim: it must not wrap when a use leaves.
    sum: u128,
}

#[derive(Debug, Clone, Copy)]
struct Use {
    step: u64,
    /// When the last of them was put in.
    last: u64,
    amount: u64,
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX / 4);
        Self { length, step: length.div_ceil(STEPS).max(1), uses: VecDeque::new(), sum: 0 }
    }

    /// Lets go of what has left by `at`.
    pub(super) fn advance(&mut self, at: u64) {
        while let Some(oldest) = self.uses.front()
            && self.leaves(oldest) <= at
        {
            self.sum -= u128::from(oldest.amount);
            self.uses.pop_front();
        }
    }

    /// All that is in it, as of the last [`Self::advance`].
    pub(super) fn sum(&self) -> u64 {
        clamped(self.sum)
    }

    /// All that is in it at a position.
    pub(super) fn sum_at(&self, at: u64) -> u64 {
        let gone = self.uses.iter().take_while(|used| self.leaves(used) <= at);
        clamped(self.sum - gone.map(|used| u128::from(used.amount)).sum::<u128>())
    }

    /// When the oldest use leaves.
    pub(super) fn resets(&self, at: u64) -> Option<u64> {
        self.uses.iter().map(|used| self.leaves(used)).find(|leaves| *leaves > at)
    }

    /// The first position from `at` on at which `amount` more stays within `limit`; `None` where
    /// it never does. Needs [`Self::advance`] first.
    pub(super) fn fits(&self, amount: u64, limit: u64, at: u64) -> Option<u64> {
        let room = u128::from(limit.checked_sub(amount)?);
        // What was put off goes first.
        let queued = self.uses.back().map_or(0, |newest| newest.last);
        let (mut left, mut from) = (self.sum, at.max(queued));
        for used in &self.uses {
            if left <= room {
                break;
            }
            left -= u128::from(used.amount);
            from = from.max(self.leaves(used));
        }
        Some(from)
    }

    /// Whether uses that were put off lie ahead.
    pub(super) fn is_queued(&self, at: u64) -> bool {
        self.uses.back().is_some_and(|newest| newest.last > at)
    }

    /// Puts a use in.
    pub(super) fn add(&mut self, at: u64, amount: u64) {
        if amount == 0 {
            return;
        }
        let step = at / self.step;
        // Most uses belong to the newest step.
        let place = match self.uses.back() {
            Some(last) if last.step == step => self.uses.len() - 1,
            Some(last) if last.step > step => self.uses.partition_point(|used| used.step < step),
            _ => self.uses.len(),
        };
        let same = self.uses.get_mut(place).filter(|used| used.step == step);
        let Some(same) = same else {
            self.sum += u128::from(amount);
            return self.uses.insert(place, Use { step, last: at, amount });
        };
        let before = same.amount;
        same.amount = before.saturating_add(amount);
        same.last = same.last.max(at);
        self.sum += u128::from(same.amount - before);
    }

    /// Takes back what was put in at a position, as far as it has not left.
    pub(super) fn remove(&mut self, at: u64, amount: u64) {
        let step = at / self.step;
        let Ok(place) = self.uses.binary_search_by_key(&step, |used| used.step) else { return };
        let used = &mut self.uses[place];
        let back = amount.min(used.amount);
        used.amount -= back;
        self.sum -= u128::from(back);
        if used.amount == 0 {
            self.uses.remove(place);
        }
    }

    /// Takes over what another one of the same length holds.
    pub(super) fn absorb(&mut self, other: &Self) {
        for used in &other.uses {
            self.add(used.last, used.amount);
        }
    }

    fn leaves(&self, used: &Use) -> u64 {
        used.last.saturating_add(self.length)
    }
}

fn clamped(sum: u128) -> u64 {
    u64::try_from(sum).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 1_000_000 * SECOND;

    #[test]
    fn what_has_left_makes_room_again() {
        let mut window = Window::new(MINUTE);
        window.add(START, 3);
        window.add(START + 10 * SECOND, 2);
        assert_eq!(window.fits(1, 5, START + 10 * SECOND), window.resets(START));
        window.advance(START + 60 * SECOND - 1);
        assert_eq!(window.sum(), 5);
        window.advance(START + 60 * SECOND);
        assert_eq!(window.sum(), 2);
        assert_eq!(window.fits(6, 5, START), None);
    }

    #[test]
    fn memory_is_bounded_by_steps() {
        let mut window = Window::new(MINUTE);
        for n in 0..100_000 {
            let at = START + n * SECOND / 100;
            window.advance(at);
            window.add(at, 1);
        }
        assert!(window.uses.len() <= 130, "{}", window.uses.len());
    }

    #[test]
    fn what_is_taken_back_after_it_left_is_not_taken_from_others() {
        let mut window = Window::new(MINUTE);
        window.add(START, 10);
        window.add(START + 50 * SECOND, 7);
        window.advance(START + 70 * SECOND);
        window.remove(START, 10);
        assert_eq!(window.sum(), 7);
    }

    /// A provider may claim any number of tokens.
    #[test]
    fn absurd_amounts_leave_as_they_came() {
        let mut window = Window::new(MINUTE);
        for second in [0, 0, 10, 20] {
            window.add(START + second * SECOND, u64::MAX);
        }
        window.add(START + 30 * SECOND, 7);
        assert_eq!(window.sum(), u64::MAX);
        assert_eq!(window.sum_at(START + 71 * SECOND), u64::MAX);
        window.remove(START + 10 * SECOND, u64::MAX);
        assert_eq!(window.fits(1, 10, START + 30 * SECOND), window.resets(START + 62 * SECOND));
        window.advance(START + 80 * SECOND);
        assert_eq!(window.sum(), 7);
    }

    proptest! {
        /// Requests arrive in bursts, some are taken back or come to less; whatever stood in any
        /// window of the line never exceeds the limit, and who waits as told gets through.
        #[test]
        fn p9_no_position_of_the_window_holds_more_than_the_limit(
            limit in 1_u64..50,
            length in prop::sample::select(vec![1_u64, 60, 3600, 86_400]),
            arrivals in prop::collection::vec((0_u64..200, 1_u64..8, 0_u8..10), 1..300),
        ) {
            let nanos = length * SECOND;
            let mut window = Window::new(Duration::from_secs(length));
            let mut kept: Vec<(u64, u64)> = Vec::new();
            let mut at = START;
            for (gap, amount, fate) in arrivals {
                // Gaps from nothing to a third of the window.
                at += gap * nanos / 600 * u64::from(fate % 3);
                window.advance(at);
                let Some(free) = window.fits(amount, limit, at) else {
                    prop_assert!(amount > limit);
                    continue;
                };
                if free > at {
                    let mut later = window.clone();
                    later.advance(free);
                    prop_assert_eq!(later.fits(amount, limit, free), Some(free));
                    // Not later than the exact window would let it through, by more than 1 %.
                    let exact = exact_free(&kept, at, (amount, limit, nanos));
                    prop_assert!(free <= exact + nanos / 100, "{} {}", free, exact);
                    prop_assert!(free >= exact);
                    // Nobody waits for longer than the window is.
                    prop_assert!(free <= at + nanos, "{} {}", free, at);
                    continue;
                }
                window.add(at, amount);
                if fate == 0 {
                    window.remove(at, 1);
                    if amount > 1 { kept.push((at, amount - 1)); }
                } else {
                    kept.push((at, amount));
                }
            }
            for &(from, _) in &kept {
                let within = kept.iter().filter(|(at, _)| (from..from + nanos).contains(at));
                prop_assert!(within.map(|(_, amount)| amount).sum::<u64>() <= limit);
            }
        }

        /// A queue that lets each one through when it fits keeps the limit too.
        #[test]
        fn p9_uses_that_were_put_off_keep_the_limit(
            limit in 1_u64..10,
            arrivals in prop::collection::vec((0_u64..30, 1_u64..3), 1..100),
        ) {
            let nanos = 60 * SECOND;
            let mut window = Window::new(MINUTE);
            let mut kept: Vec<(u64, u64)> = Vec::new();
            let mut at = START;
            for (gap, amount) in arrivals {
                at += gap * SECOND;
                window.advance(at);
                if let Some(free) = window.fits(amount, limit, at) {
                    window.add(free, amount);
                    kept.push((free, amount));
                }
            }
            for &(from, _) in &kept {
                let within = kept.iter().filter(|(at, _)| (from..from + nanos).contains(at));
                prop_assert!(within.map(|(_, amount)| amount).sum::<u64>() <= limit);
            }
        }
    }

    /// When a window without steps would let `amount` in.
    fn exact_free(kept: &[(u64, u64)], at: u64, (amount, limit, length): (u64, u64, u64)) -> u64 {
        let fits = |then: u64| {
            let within = kept.iter().filter(|(used, _)| used + length > then);
            within.map(|(_, amount)| amount).sum::<u64>() + amount <= limit
        };
        let ends = kept.iter().map(|(used, _)| used + length).filter(|end| *end > at);
        std::iter::once(at).chain(ends).filter(|then| fits(*then)).min().unwrap_or(at)
    }
}
