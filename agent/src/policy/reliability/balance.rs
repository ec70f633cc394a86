//! Several endpoints of one provider: which of them the next try asks.
//!
//! Smooth weighted round robin: every endpoint gains its weight with each choice, and the one that
//! has gained most is chosen and pays what all have gained together. Shares are exact after every
//! round, and nothing has to be counted while calls run: an agent that chose by calls in flight
//! would have to see every end of every stream, and would send most to an endpoint that fails fast.
//!
//! An endpoint that fails several times in a row is left out for a while, longer each time it comes
//! back and fails again; never more than half of a provider's are left out at once, so that a fault
//! of the network, which is everyone's, takes none away.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::verdict::Sign;
use crate::clock::Now;
use crate::policy::view::{BreakerState, BreakerView};

/// Failures in a row after which an endpoint is left out.
const FAILURES: u32 = 3;
/// For how long at first; twice as long each further time.
const FIRST: Duration = Duration::from_secs(10);
/// For how long at most.
const LONGEST: Duration = Duration::from_mins(5);

/// An endpoint, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name, one of its kind in its provider.
    pub name: Arc<str>,
    /// Its share of the calls, beside the others'.
    pub weight: NonZeroU32,
}

/// An endpoint that is left out from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejected {
    /// For how long.
    pub lasts: Duration,
}

/// The endpoints of all providers that have several.
#[derive(Debug, Default)]
pub struct Balance {
    groups: HashMap<Arc<str>, Vec<Seat>>,
}

/// One endpoint at work.
#[derive(Debug)]
struct Seat {
    name: Arc<str>,
    weight: i64,
    /// What it has gained and not yet paid.
    gained: i64,
    /// Failures in a row.
    failures: u32,
    /// Times it was left out without having recovered in between.
    again: u32,
    /// Left out until then.
    until: Option<Instant>,
    /// Since when it is left out, or is back.
    since: Option<Instant>,
    by_hand: bool,
    reason: Option<String>,
    chosen: u64,
    ejected: u64,
}

impl Balance {
    /// Takes other endpoints over; those of the same name stay as they are.
    pub fn set(&mut self, endpoints: &[(Arc<str>, Vec<Member>)]) {
        let mut old = std::mem::take(&mut self.groups);
        for (provider, members) in endpoints {
            let mut before = old.remove(provider).unwrap_or_default();
            let seats = members.iter().map(|member| {
                let weight = i64::from(member.weight.get());
                let known = before.iter().position(|seat| seat.name == member.name);
                match known.map(|place| before.swap_remove(place)) {
                    // What was gained under other weights is worth nothing now.
                    Some(seat) => Seat { weight, gained: 0, ..seat },
                    None => Seat::new(Arc::clone(&member.name), weight),
                }
            });
            let seats = seats.collect();
            self.groups.insert(Arc::clone(provider), seats);
        }
    }

    /// The endpoint that the next try asks, of those that `fit`. One that is left out, or the one
    /// to `avoid`, is only asked where there is no other. `None` where none fits.
    pub fn choose(
        &mut self,
        provider: &str,
        avoid: Option<&str>,
        fits: impl Fn(&str) -> bool,
        now: Instant,
    ) -> Option<Arc<str>> {
        let seats = self.groups.get_mut(provider)?;
        for seat in seats.iter_mut() {
            seat.come_back(now);
        }
        let fits: Vec<usize> = (0..seats.len()).filter(|place| fits(&seats[*place].name)).collect();
        let only = |wanted: &dyn Fn(&Seat) -> bool| -> Vec<usize> {
            fits.iter().copied().filter(|place| wanted(&seats[*place])).collect()
        };
        let avoided = |seat: &Seat| avoid == Some(&*seat.name);
        let ranks = [
            only(&|seat| !seat.is_out() && !avoided(seat)),
            only(&|seat| !seat.is_out()),
            only(&|seat| !avoided(seat)),
            only(&|_| true),
        ];
        let asked = ranks.into_iter().find(|places| !places.is_empty())?;
        let total: i64 = asked.iter().map(|place| seats[*place].weight).sum();
        for place in &asked {
            seats[*place].gained += seats[*place].weight;
        }
        // Of equals the first.
        let chosen = asked.into_iter().rev().max_by_key(|place| seats[*place].gained)?;
        let seat = &mut seats[chosen];
        seat.gained -= total;
        seat.chosen += 1;
        Some(Arc::clone(&seat.name))
    }

    /// A try at an endpoint turned out one way or the other. `what` says in a few words what failed.
    pub fn report(
        &mut self,
        provider: &str,
        name: &str,
        (sign, what): (Sign, &str),
        now: Instant,
    ) -> Option<Ejected> {
        let seats = self.groups.get_mut(provider)?;
        for seat in seats.iter_mut() {
            seat.come_back(now);
        }
        let most = seats.len() / 2;
        let out = seats.iter().filter(|seat| seat.is_out()).count();
        let seat = seats.iter_mut().find(|seat| *seat.name == *name)?;
        match sign {
            Sign::Neither => None,
            Sign::Alive => {
                seat.recover(now);
                None
            }
            Sign::Failing => {
                seat.failures = seat.failures.saturating_add(1);
                let ejects = seat.failures >= FAILURES && !seat.is_out() && out < most;
                ejects.then(|| seat.eject(what, now))
            }
        }
    }

    /// Leaves an endpoint out until it is reset; false where there is none of this name.
    pub fn trip(&mut self, provider: &str, name: &str, now: Instant) -> bool {
        let Some(seat) = self.seat(provider, name) else { return false };
        seat.by_hand = true;
        seat.since = Some(now);
        seat.reason = Some("taken out by hand".to_owned());
        true
    }

    /// Brings an endpoint back; false where there is none of this name.
    pub fn reset(&mut self, provider: &str, name: &str, now: Instant) -> bool {
        let Some(seat) = self.seat(provider, name) else { return false };
        seat.by_hand = false;
        (seat.until, seat.reason, seat.since) = (None, None, Some(now));
        (seat.failures, seat.again) = (0, 0);
        true
    }

    fn seat(&mut self, provider: &str, name: &str) -> Option<&mut Seat> {
        self.groups.get_mut(provider)?.iter_mut().find(|seat| *seat.name == *name)
    }

    /// How every endpoint fares, as a breaker named `PROVIDER@ENDPOINT`.
    pub fn views(&self, now: Now) -> Vec<BreakerView> {
        let of = |(provider, seats): (&Arc<str>, &Vec<Seat>)| -> Vec<BreakerView> {
            seats.iter().map(|seat| seat.view(provider, now)).collect()
        };
        let mut views: Vec<_> = self.groups.iter().flat_map(of).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }
}

impl Seat {
    fn new(name: Arc<str>, weight: i64) -> Self {
        Self {
            name,
            weight,
            gained: 0,
            failures: 0,
            again: 0,
            until: None,
            since: None,
            by_hand: false,
            reason: None,
            chosen: 0,
            ejected: 0,
        }
    }

    fn is_out(&self) -> bool {
        self.by_hand || self.until.is_some()
    }

    /// Back when its time is over: one more failure and it is left out again, for longer.
    fn come_back(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until <= now) {
            (self.since, self.until) = (self.until, None);
            self.failures = FAILURES - 1;
        }
    }

    fn eject(&mut self, what: &str, now: Instant) -> Ejected {
        let lasts = FIRST.saturating_mul(1 << self.again.min(16)).min(LONGEST);
        self.reason = Some(format!("{} failures in a row, the last: {what}", self.failures));
        (self.since, self.until) = (Some(now), Some(now + lasts));
        self.again = self.again.saturating_add(1);
        self.ejected += 1;
        Ejected { lasts }
    }

    /// It works. Only after it has for as long as it was last left out, the next time is the first
    /// again.
    fn recover(&mut self, now: Instant) {
        self.failures = 0;
        let last = FIRST.saturating_mul(1 << self.again.saturating_sub(1).min(16)).min(LONGEST);
        let since = self.since.map(|since| now.saturating_duration_since(since));
        if !self.is_out() && since.is_none_or(|since| since >= last) {
            self.again = 0;
        }
    }

    fn view(&self, provider: &str, now: Now) -> BreakerView {
        let wall = |at: Instant| match at.checked_duration_since(now.mono) {
            Some(ahead) => now.wall.checked_add(ahead),
            None => now.wall.checked_sub(now.mono.saturating_duration_since(at)),
        };
        let is_out = self.by_hand || self.until.is_some_and(|until| until > now.mono);
        BreakerView {
            name: Arc::from(format!("{provider}@{}", self.name)),
            state: if is_out { BreakerState::Open } else { BreakerState::Closed },
            reason: self.reason.clone().filter(|_| is_out),
            since: self.since.and_then(wall),
            until: self.until.filter(|_| is_out && !self.by_hand).and_then(wall),
            by_hand: self.by_hand,
            failures: self.failures,
            failure_percent: 0,
            calls: self.chosen,
            opened: self.ejected,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::{Clock as _, System};

    fn balance(weights: &[u32]) -> Balance {
        let members = weights.iter().enumerate().map(|(place, weight)| Member {
            name: Arc::from(place.to_string()),
            weight: NonZeroU32::new(*weight).unwrap(),
        });
        let mut balance = Balance::default();
        balance.set(&[(Arc::from("openai"), members.collect())]);
        balance
    }

    fn choose(balance: &mut Balance, avoid: Option<&str>, now: Instant) -> usize {
        balance.choose("openai", avoid, |_| true, now).unwrap().parse().unwrap()
    }

    fn fail(balance: &mut Balance, name: &str, now: Instant) -> Option<Ejected> {
        balance.report("openai", name, (Sign::Failing, "status 503"), now)
    }

    fn out(balance: &Balance, now: Now) -> usize {
        balance.views(now).iter().filter(|view| view.state == BreakerState::Open).count()
    }

    #[test]
    fn shares_are_spread_and_not_in_blocks() {
        let mut balance = balance(&[3, 1]);
        let now = System.now().mono;
        let chosen: Vec<_> = (0..8).map(|_| choose(&mut balance, None, now)).collect();
        assert_eq!(chosen, [0, 0, 1, 0, 0, 0, 1, 0]);
    }

    #[test]
    fn an_endpoint_that_fails_is_left_out_for_longer_each_time_and_comes_back() {
        let mut balance = balance(&[1, 1]);
        let mut now = System.now();
        assert!((0..2).all(|_| fail(&mut balance, "0", now.mono).is_none()));
        let mut lasted = Vec::new();
        for _ in 0..7 {
            let ejected = fail(&mut balance, "0", now.mono).unwrap();
            assert_eq!(choose(&mut balance, None, now.mono), 1);
            assert_eq!(out(&balance, now), 1);
            lasted.push(ejected.lasts.as_secs());
            (now.mono, now.wall) = (now.mono + ejected.lasts, now.wall + ejected.lasts);
            assert_eq!(out(&balance, now), 0);
        }
        assert_eq!(lasted, [10, 20, 40, 80, 160, 300, 300]);
        // It works for as long as it was left out: the next time is the first again.
        for _ in 0..31 {
            balance.report("openai", "0", (Sign::Alive, ""), now.mono);
            now.mono += FIRST;
        }
        assert!((0..2).all(|_| fail(&mut balance, "0", now.mono).is_none()));
        assert_eq!(fail(&mut balance, "0", now.mono), Some(Ejected { lasts: FIRST }));
    }

    #[test]
    fn the_one_that_just_failed_is_avoided_where_another_works() {
        let mut balance = balance(&[9, 1]);
        let now = System.now().mono;
        assert!((0..20).all(|_| choose(&mut balance, Some("0"), now) == 1));
        for _ in 0..3 {
            fail(&mut balance, "1", now);
        }
        assert_eq!(choose(&mut balance, Some("0"), now), 0, "the other is left out");
    }

    #[test]
    fn one_that_is_taken_out_by_hand_stays_out_until_it_is_reset() {
        let mut balance = balance(&[1, 1]);
        let mut now = System.now();
        assert!(balance.trip("openai", "0", now.mono) && !balance.trip("openai", "9", now.mono));
        now.mono += LONGEST * 2;
        assert!((0..4).all(|_| choose(&mut balance, None, now.mono) == 1));
        assert!(balance.views(now)[0].by_hand && balance.views(now)[0].name.starts_with("openai@"));
        // Whoever takes all of them out has the calls made all the same.
        assert!(balance.trip("openai", "1", now.mono));
        choose(&mut balance, None, now.mono);
        assert!(balance.reset("openai", "0", now.mono));
        assert!((0..4).all(|_| choose(&mut balance, None, now.mono) == 0));
    }

    #[test]
    fn a_reload_keeps_what_is_known_and_takes_new_weights() {
        let mut balance = balance(&[1, 1]);
        let now = System.now().mono;
        for _ in 0..3 {
            fail(&mut balance, "0", now);
        }
        let member = |name: &str, weight| Member {
            name: Arc::from(name),
            weight: NonZeroU32::new(weight).unwrap(),
        };
        balance.set(&[(Arc::from("openai"), vec![member("0", 5), member("2", 1)])]);
        assert!((0..9).all(|_| choose(&mut balance, None, now) == 2));
        assert!(balance.choose("other", None, |_| true, now).is_none());
    }

    proptest! {
        /// After any number of choices nobody is further from their share than one round of all.
        #[test]
        fn shares_are_those_of_the_weights(
            weights in prop::collection::vec(1_u32..50, 1..8),
            rounds in 1_usize..400,
        ) {
            let mut balance = balance(&weights);
            let now = System.now().mono;
            let mut counts = vec![0_u64; weights.len()];
            for _ in 0..rounds {
                counts[choose(&mut balance, None, now)] += 1;
            }
            let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
            for (count, weight) in counts.iter().zip(&weights) {
                let fair = u64::from(*weight) * rounds as u64;
                let off = (count * total).abs_diff(fair);
                prop_assert!(off <= total * weights.len() as u64, "{:?} {:?}", counts, weights);
            }
        }

        /// Whatever fails: there is always one to ask, at most half are left out, and every one
        /// that is comes back by itself.
        #[test]
        fn at_most_half_are_left_out_and_all_come_back(
            count in 1_usize..9,
            events in prop::collection::vec((0_usize..9, 0_u8..4, 0_u64..30), 0..300),
        ) {
            let mut balance = balance(&vec![1; count]);
            let mut now = System.now();
            for (place, kind, seconds) in events {
                let passed = Duration::from_secs(seconds * u64::from(kind == 0));
                (now.mono, now.wall) = (now.mono + passed, now.wall + passed);
                let name = (place % count).to_string();
                let sign = if kind == 3 { Sign::Alive } else { Sign::Failing };
                let before = out(&balance, now);
                let ejected = balance.report("openai", &name, (sign, "x"), now.mono);
                prop_assert_eq!(out(&balance, now), before + usize::from(ejected.is_some()));
                prop_assert!(out(&balance, now) <= count / 2);
                let chosen = choose(&mut balance, Some(&name), now.mono);
                prop_assert!(chosen < count);
            }
            (now.mono, now.wall) = (now.mono + LONGEST, now.wall + LONGEST);
            prop_assert_eq!(out(&balance, now), 0);
            let mut seen: Vec<_> = (0..count).map(|_| choose(&mut balance, None, now.mono)).collect();
            for _ in 0..count * 2 {
                seen.push(choose(&mut balance, None, now.mono));
            }
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), count);
        }
    }
}
