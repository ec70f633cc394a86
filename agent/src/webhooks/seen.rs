//! Requests that were taken, for as long as they could be played back.

use std::collections::HashMap;
use std::time::SystemTime;

use super::signature::Tag;

/// Requests remembered for one webhook. Only who has its secret can add to them.
pub(super) const MOST: usize = 16 * 1024;

/// What is remembered.
#[derive(Debug, Default)]
pub(super) struct Seen(HashMap<Tag, SystemTime>);

/// What a look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// It was not there; from now on it is.
    New,
    /// It was taken before.
    Again,
    /// There are too many to remember one more: what cannot be remembered must not be taken.
    Full,
}

impl Seen {
    /// Looks a request up, and remembers it until then.
    pub(super) fn take(&mut self, tag: Tag, until: SystemTime, now: SystemTime) -> Look {
        if self.0.get(&tag).is_some_and(|known| *known > now) {
            return Look::Again;
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, until| *until > now);
        }
        if self.0.len() >= MOST {
            return Look::Full;
        }
        self.0.insert(tag, until);
        Look::New
    }

    /// Until when something is remembered; `None` where nothing is.
    pub(super) fn until(&self) -> Option<SystemTime> {
        self.0.values().max().copied()
    }

    /// Forgets one that came to nothing: its sender may try again.
    pub(super) fn forget(&mut self, tag: Tag) {
        self.0.remove(&tag);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn tag(number: usize) -> Tag {
        let mut tag = Tag::default();
        tag[..8].copy_from_slice(&(number as u64).to_le_bytes());
        tag
    }

    #[test]
    fn a_request_is_known_again_until_its_time_is_over() {
        let mut seen = Seen::default();
        assert_eq!(seen.take(tag(1), at(10), at(0)), Look::New);
        assert_eq!(seen.take(tag(1), at(19), at(9)), Look::Again);
        assert_eq!(seen.take(tag(2), at(19), at(9)), Look::New);
        assert_eq!(seen.take(tag(1), at(20), at(10)), Look::New, "too old to be taken otherwise");
        assert_eq!(seen.take(tag(1), at(21), at(11)), Look::Again);
        seen.forget(tag(1));
        assert_eq!(seen.take(tag(1), at(21), at(11)), Look::New);
    }

    #[test]
    fn there_are_never_more_than_it_holds_and_none_is_forgotten_early() {
        let mut seen = Seen::default();
        for number in 0..MOST {
            let until = if number == 0 { at(1) } else { at(100) };
            assert_eq!(seen.take(tag(number), until, at(0)), Look::New);
        }
        assert_eq!(seen.take(tag(MOST), at(100), at(0)), Look::Full);
        assert_eq!(seen.take(tag(MOST), at(100), at(1)), Look::New, "in the place of the first");
        assert_eq!(seen.take(tag(MOST + 1), at(100), at(2)), Look::Full);
        assert_eq!(seen.take(tag(5), at(100), at(99)), Look::Again);
        assert_eq!(seen.take(tag(MOST + 1), at(200), at(100)), Look::New);
        assert_eq!(seen.0.len(), 1);
    }
}
