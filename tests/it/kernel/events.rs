//! Connections to targets are reported with who, how much and how long, redirected or not.

use agent::capture::{Event, Verdict};
use serde_json::json;

use super::world::{CLOSED4, WANTED4, WANTED6, world};

#[test]
fn the_end_of_a_redirected_connection() {
    world(async |mut world| {
        let report = world.dial(&[&format!("to={WANTED4}")]).await;
        let Event::Closed(closed) = world.event().await else { panic!("not closed") };
        assert_eq!((closed.redirected, closed.verdict), (true, Verdict::Redirected));
        assert_eq!(closed.origin.destination, WANTED4.parse().unwrap());
        assert_eq!(json!(closed.origin.caller.tgid), report["pid"]);
        assert_eq!((closed.tx, closed.rx), (5, 4), "hello, weir");
        assert!(!closed.failed && !closed.duration.is_zero());
        let arrived = world.arrival().await.origin.unwrap();
        assert_eq!(arrived, closed.origin);
    });
}

#[test]
fn a_direct_connection_from_beginning_to_end() {
    world(async |mut world| {
        world.capture.redirect(false).unwrap();
        for to in [WANTED4, WANTED6] {
            let report = world.dial(&[&format!("to={to}")]).await;
            let Event::Opened(opened) = world.event().await else { panic!("not opened") };
            assert_eq!(json!(opened.origin.caller.tgid), report["pid"]);
            assert_eq!(opened.verdict, Verdict::Observed);
            let Event::Closed(closed) = world.event().await else { panic!("not closed") };
            assert_eq!(closed.origin, opened.origin);
            assert_eq!((closed.redirected, closed.verdict), (false, Verdict::Observed));
            assert_eq!((closed.tx, closed.rx), (5, 6), "hello, direct");
            assert!(!closed.failed && !closed.duration.is_zero());
        }
    });
}

#[test]
fn a_direct_connection_that_is_refused() {
    world(async |mut world| {
        world.capture.redirect(false).unwrap();
        let report = world.dial(&[&format!("to={CLOSED4}")]).await;
        assert_eq!(report["errors"], json!([libc::ECONNREFUSED]));
        let Event::Opened(_) = world.event().await else { panic!("not opened") };
        let Event::Closed(closed) = world.event().await else { panic!("not closed") };
        assert!(closed.failed);
        assert_eq!((closed.tx, closed.rx), (0, 0));
    });
}
