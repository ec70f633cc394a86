//! The same again and again: after a few times it is counted instead of logged, and the count is
//! told afterwards. A peer that provokes a warning with every connection fills no disk.
//!
//! What is told apart is the place in the code and the message, without the fields: those are what
//! changes from one connection to the next. Below `info` everything is logged: who asks for that
//! wants to see it all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::filter::SUMS;
use crate::clock::{Clock, System};

/// How often the same is logged in one window.
const BURST: u32 = 10;
/// How long one window is.
const WINDOW: Duration = Duration::from_mins(1);
/// Messages kept apart: for more, none is suppressed.
const MOST: usize = 256;
/// As much of a message as tells it from another.
const LENGTH: usize = 200;

/// Vetoes what has been said often enough.
pub(super) struct Gate(pub(super) Arc<Repeats>);

impl<S: Subscriber> Layer<S> for Gate {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let meta = event.metadata();
        if *meta.level() > Level::INFO || meta.target() == SUMS {
            return true;
        }
        let mut message = Message::default();
        event.record(&mut message);
        let said = Said { place: meta.callsite(), message: message.0 };
        let (passes, sums) = self.0.0.lock().say(said, *meta.level(), System.now().mono);
        // Not under the lock: they come through here themselves.
        sums.iter().for_each(Sum::tell);
        passes
    }
}

/// What was said of late.
#[derive(Debug, Default)]
pub(super) struct Repeats(Mutex<Table>);

impl Repeats {
    /// Tells of what was suppressed in windows that are over.
    pub(super) fn flush(&self) {
        let sums = self.0.lock().over(System.now().mono);
        sums.iter().for_each(Sum::tell);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Said {
    place: Identifier,
    message: String,
}

#[derive(Debug)]
struct Count {
    since: Instant,
    level: Level,
    logged: u32,
    held: u64,
}

/// How often something was suppressed.
#[derive(Debug, PartialEq, Eq)]
struct Sum {
    level: Level,
    message: String,
    times: u64,
}

#[derive(Debug, Default)]
struct Table(HashMap<Said, Count>);

impl Table {
    /// Whether it is logged, and what is to be told before.
    fn say(&mut self, said: Said, level: Level, now: Instant) -> (bool, Vec<Sum>) {
        let sums = self.over(now);
        let room = self.0.len() < MOST;
        match self.0.get_mut(&said) {
            Some(count) if count.logged < BURST => {
                count.logged += 1;
                (true, sums)
            }
            Some(count) => {
                count.held += 1;
                (false, sums)
            }
            None => {
                if room {
                    self.0.insert(said, Count { since: now, level, logged: 1, held: 0 });
                }
                (true, sums)
            }
        }
    }

    /// Forgets windows that are over; what was suppressed in them.
    fn over(&mut self, now: Instant) -> Vec<Sum> {
        let ended =
            self.0.extract_if(|_, count| now.saturating_duration_since(count.since) >= WINDOW);
        let sums = ended.filter(|(_, count)| count.held > 0).map(|(said, count)| Sum {
            level: count.level,
            message: said.message,
            times: count.held,
        });
        sums.collect()
    }
}

impl Sum {
    fn tell(&self) {
        let Self { level, message, times } = self;
        match *level {
            Level::ERROR => {
                tracing::error!(target: SUMS, repeated = times, "{message} … repeated {times} times");
            }
            Level::WARN => {
                tracing::warn!(target: SUMS, repeated = times, "{message} … repeated {times} times");
            }
            _ => {
                tracing::info!(target: SUMS, repeated = times, "{message} … repeated {times} times");
            }
        }
    }
}

/// The message alone.
#[derive(Debug, Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}").chars().take(LENGTH).collect();
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.0 = value.chars().take(LENGTH).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::subscriber::Interest;
    use tracing::{Callsite, Metadata};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Counts what comes through a gate, by message.
    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Heard {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut message = Message::default();
            event.record(&mut message);
            self.0.lock().push(message.0);
        }
    }

    #[test]
    fn the_same_is_logged_a_few_times_whatever_its_fields() {
        let heard = Heard::default();
        let gate = Gate(Arc::default());
        let subscriber = tracing_subscriber::registry().with(gate).with(heard.clone());
        tracing::subscriber::with_default(subscriber, || {
            for port in 0..100 {
                tracing::warn!(port, "reset");
                tracing::debug!(port, "details");
                tracing::info!("change {}", port % 50);
            }
        });
        let heard = heard.0.lock();
        let count = |text: &str| heard.iter().filter(|it| it.starts_with(text)).count();
        assert_eq!(count("reset"), BURST as usize);
        assert_eq!(count("details"), 100);
        assert_eq!(count("change"), 100, "another message is not the same");
    }

    struct Place;

    impl Callsite for Place {
        fn set_interest(&self, _: Interest) {}

        fn metadata(&self) -> &Metadata<'_> {
            panic!("a place is told from another by itself")
        }
    }

    static PLACE: Place = Place;

    fn said(message: &str) -> Said {
        Said { place: Identifier(&PLACE), message: message.to_owned() }
    }

    #[test]
    fn what_was_suppressed_is_summed_up_once_the_window_is_over() {
        let mut table = Table::default();
        let start = System.now().mono;
        let mut logged = 0;
        for _ in 0..322 {
            let (passes, sums) = table.say(said("reset"), Level::WARN, start);
            assert_eq!(sums, []);
            logged += u32::from(passes);
        }
        assert_eq!(logged, BURST);
        assert_eq!(table.over(start + WINDOW / 2), []);
        let (passes, sums) = table.say(said("other"), Level::INFO, start + WINDOW);
        let sum = Sum { level: Level::WARN, message: "reset".to_owned(), times: 312 };
        assert_eq!((passes, sums), (true, vec![sum]));
        let (passes, sums) = table.say(said("reset"), Level::WARN, start + WINDOW);
        assert!(passes && sums.is_empty(), "a new window");
        assert_eq!(table.over(start + WINDOW * 3), [], "nothing was suppressed in it");
        assert_eq!(table.0.len(), 0);
    }

    #[test]
    fn a_full_table_suppresses_nothing_new() {
        let mut table = Table::default();
        let now = System.now().mono;
        for number in 0..MOST + 50 {
            for _ in 0..3 {
                assert!(table.say(said(&number.to_string()), Level::INFO, now).0);
            }
        }
        assert_eq!(table.0.len(), MOST);
    }
}
