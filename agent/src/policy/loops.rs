//! Programs that repeat themselves: the same prompt, or one failure after another.

use std::time::Duration;

use super::settings::Loops;

const SECOND: u64 = 1_000_000_000;

/// Prompts remembered per workload; a loop over more of them is not seen.
const PROMPTS: usize = 16;

/// What one workload did in the last minute.
#[derive(Debug, Clone, Default)]
pub(super) struct Repetition {
    prompts: Vec<(u64, Minute)>,
    errors: Minute,
    told: Option<u64>,
}

/// What a workload repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeated {
    /// The same prompt, so many times in a minute.
    Prompt(u64),
    /// Failures, so many in a minute.
    Errors(u64),
}

impl Repetition {
    /// What one more call would repeat too often, and when it would not any more.
    pub(super) fn breach(
        &self,
        loops: &Loops,
        prompt: Option<u64>,
        at: u64,
    ) -> Option<(Repeated, Duration)> {
        let same =
            prompt.and_then(|prompt| self.prompts.iter().find(|(known, _)| *known == prompt));
        let wait = |until: u64| Duration::from_nanos(until.saturating_sub(at));
        let identical = loops.identical.zip(same).and_then(|(most, (_, minute))| {
            let (count, until) = minute.reaches(most.get(), at)?;
            Some((Repeated::Prompt(count), wait(until)))
        });
        identical.or_else(|| {
            let (count, until) = self.errors.reaches(loops.errors?.get(), at)?;
            Some((Repeated::Errors(count), wait(until)))
        })
    }

    /// A call is made.
    pub(super) fn made(&mut self, prompt: Option<u64>, at: u64) {
        let Some(prompt) = prompt else { return };
        if let Some((_, minute)) = self.prompts.iter_mut().find(|(known, _)| *known == prompt) {
            return minute.add(at);
        }
        if self.prompts.len() >= PROMPTS {
            // The one that was not seen for longest makes room.
            let oldest =
                self.prompts.iter().enumerate().min_by_key(|(_, (_, minute))| minute.newest);
            if let Some(oldest) = oldest.map(|(place, _)| place) {
                self.prompts.swap_remove(oldest);
            }
        }
        let mut minute = Minute::default();
        minute.add(at);
        self.prompts.push((prompt, minute));
    }

    /// A call failed.
    pub(super) fn failed(&mut self, at: u64) {
        self.errors.add(at);
    }

    /// Whether to tell of it: every ten minutes while it lasts.
    pub(super) fn is_news(&mut self, at: u64) -> bool {
        let is_news = self.told.is_none_or(|told| at >= told + 600 * SECOND);
        if is_news {
            self.told = Some(at);
        }
        is_news
    }

    /// Whether nothing would be lost by forgetting it.
    pub(super) fn is_idle(&self, at: u64) -> bool {
        let empty = |minute: &Minute| minute.count(at) == 0;
        empty(&self.errors) && self.prompts.iter().all(|(_, minute)| empty(minute))
    }
}

/// Counts of the last minute, in steps of five seconds: of 55 to 60 seconds, so that nobody is told
/// to wait longer than a minute.
#[derive(Debug, Clone, Copy, Default)]
struct Minute {
    newest: u64,
    slots: [u32; SLOTS],
}

const STEP: u64 = 5 * SECOND;
/// Steps that are counted.
const SLOTS: usize = 12;

impl Minute {
    fn add(&mut self, at: u64) {
        let step = (at / STEP).max(self.newest);
        for skipped in (self.newest + 1..=step).rev().take(SLOTS) {
            self.slots[place(skipped)] = 0;
        }
        self.newest = step;
        let slot = &mut self.slots[place(step)];
        *slot = slot.saturating_add(1);
    }

    fn count(&self, at: u64) -> u64 {
        self.steps(at).map(|step| u64::from(self.slots[place(step)])).sum()
    }

    /// The count, and when it falls below `most`, where it has reached that.
    fn reaches(&self, most: u64, at: u64) -> Option<(u64, u64)> {
        let count = self.count(at);
        let mut left = count;
        let mut until = None;
        for step in self.steps(at) {
            if left < most {
                break;
            }
            left -= u64::from(self.slots[place(step)]);
            until = Some((step + SLOTS as u64) * STEP);
        }
        Some((count, until?))
    }

    fn steps(&self, at: u64) -> impl Iterator<Item = u64> + use<> {
        let oldest = |newest: u64| newest.saturating_sub(SLOTS as u64 - 1);
        oldest(at / STEP).max(oldest(self.newest))..=self.newest
    }
}

fn place(step: u64) -> usize {
    usize::try_from(step % SLOTS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::policy::settings::OnBreach;

    const START: u64 = 1_000_000 * SECOND;

    fn loops() -> Loops {
        Loops {
            identical: NonZeroU64::new(5),
            errors: NonZeroU64::new(3),
            on_breach: OnBreach::Deny,
        }
    }

    #[test]
    fn the_same_prompt_over_and_over_is_seen_and_forgotten_in_time() {
        let mut repetition = Repetition::default();
        for n in 0..5 {
            assert_eq!(repetition.breach(&loops(), Some(7), START + n * SECOND), None);
            repetition.made(Some(7), START + n * SECOND);
            repetition.made(Some(100 + n), START + n * SECOND);
        }
        let at = START + 10 * SECOND;
        assert_eq!(repetition.breach(&loops(), Some(100), at), None);
        assert_eq!(repetition.breach(&loops(), None, at), None);
        let (what, wait) = repetition.breach(&loops(), Some(7), at).unwrap();
        assert_eq!(what, Repeated::Prompt(5));
        assert!((50..=60).contains(&wait.as_secs()), "{wait:?}");
        let after = at + u64::try_from(wait.as_nanos()).unwrap();
        assert_eq!(repetition.breach(&loops(), Some(7), after), None);
        assert!(repetition.is_idle(at + 120 * SECOND) && !repetition.is_idle(at));
    }

    #[test]
    fn one_failure_after_another_is_seen() {
        let mut repetition = Repetition::default();
        for n in 0..3 {
            assert_eq!(repetition.breach(&loops(), Some(n), START), None);
            repetition.failed(START);
        }
        let (what, _) = repetition.breach(&loops(), Some(9), START).unwrap();
        assert_eq!(what, Repeated::Errors(3));
        assert!(repetition.is_news(START) && !repetition.is_news(START + 599 * SECOND));
        assert!(repetition.is_news(START + 600 * SECOND));
    }

    #[test]
    fn many_prompts_take_no_more_room() {
        let mut repetition = Repetition::default();
        for n in 0..1000 {
            repetition.made(Some(n), START + n * SECOND);
        }
        assert_eq!(repetition.prompts.len(), PROMPTS);
        assert!(repetition.prompts.iter().any(|(prompt, _)| *prompt == 999));
    }
}
