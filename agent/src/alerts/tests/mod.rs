//! Alerts as a whole: notices in, receivers on loopback at the other end.

mod receiver;
mod email;
mod replaced;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use self::receiver::{Receiver, read};
use super::settings::{Channel, Means, Route, Url};
use super::template::Template;
use super::*;
use crate::clock::System;
use crate::drain::Drain;
use crate::upstream::SocketOptions;
use crate::upstream::Tls;
use crate::upstream::connect::{BoxFuture, Resolve, Sockets, Tcp};

/// Names of tests: every `*.test` is this host, but for one that is a cloud's metadata service.
#[derive(Debug)]
struct Names;

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            match host {
                "metadata.test" => Ok(vec![IpAddr::from([169, 254, 169, 254])]),
                _ if host.rsplit_once('.').is_some_and(|(_, last)| last == "test") => {
                    Ok(vec![IpAddr::from([127, 0, 0, 1])])
                }
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        })
    }
}

impl Sockets for Names {
    fn stream(&self, to: SocketAddr, _options: SocketOptions) -> io::Result<OwnedFd> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

        let family = if to.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        Ok(socket_with(family, SocketType::STREAM, flags, None)?)
    }
}

fn dial(roots: rustls::RootCertStore) -> Dial {
    let tcp = Tcp::new(Arc::new(Names), Arc::new(Names), Duration::from_secs(5));
    Dial { tcp, tls: Tls::new(roots, []).unwrap() }
}

/// Fast enough for a test, and long enough that nothing times out by itself.
const PACE: Pace = Pace {
    attempts: 3,
    first: Duration::from_millis(2),
    longest: Duration::from_millis(4),
    timeout: Duration::from_secs(20),
};

fn parts(channels: Vec<Channel<Secret>>) -> Parts {
    Parts {
        settings: Settings { channels, routes: Vec::new() },
        clock: Arc::new(System),
        host: Arc::from("host"),
        pace: PACE,
    }
}

fn channel(name: &str, means: Means<Secret>) -> Channel<Secret> {
    let template = Template::parse("{{.AgentName}}: {{.SpentPercent}}%").unwrap();
    Channel { name: Arc::from(name), means: Ok(means), template, allow_private: true }
}

fn webhook(name: &str, url: &str) -> Channel<Secret> {
    let secret = Some(Secret::new("key"));
    let header = (http::HeaderName::from_static("x-own"), Secret::new("mine"));
    let means = Means::Webhook { url: url.parse().unwrap(), secret, headers: vec![header] };
    channel(name, means)
}

/// Alerts that run.
struct Running {
    alerts: Alerts,
    drain: Drain,
}

impl Running {
    fn start(state: &Path, parts: Parts) -> Self {
        Self::over_dial(state, parts, dial(rustls::RootCertStore::empty()))
    }

    fn over_dial(state: &Path, parts: Parts, dial: Dial) -> Self {
        let (alerts, worker) = Alerts::open(state, parts).unwrap();
        let drain = Drain::new();
        drain.spawn(worker.run(dial, drain.clone()));
        Self { alerts, drain }
    }

    /// Waits until every delivery is over, and returns them.
    async fn over(&self, count: usize) -> Vec<Delivery> {
        loop {
            let found = self.alerts.deliveries(None);
            let over = found.iter().filter(|one| one.status != Status::Queued).count();
            if over >= count {
                return found;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn stop(self) {
        assert_eq!(self.drain.finish(Duration::from_secs(20)).await, 0);
    }
}

#[tokio::test]
async fn a_webhook_that_fails_twice_is_told_the_third_time_under_the_same_id() {
    let dir = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(&["503 Down", "429 Slow", "204 Ok"]).await;
    let running = Running::start(dir.path(), parts(vec![webhook("ops", &receiver.url)]));
    running.alerts.notice(sample::budget());
    let over = running.over(1).await;
    assert_eq!((over[0].status, over[0].attempts), (Status::Delivered, 3));
    let id = over[0].id.to_string();
    let mut bodies = Vec::new();
    for _ in 0..3 {
        let seen = receiver.seen.recv().await.unwrap();
        assert!(seen.head.starts_with("POST /x?y HTTP/1.1"), "{}", seen.head);
        assert_eq!(seen.header("x-webhook-id"), Some(&*id));
        assert_eq!(seen.header("idempotency-key"), Some(&*id));
        assert_eq!(seen.header("x-own"), Some("mine"));
        let signature = shape::signature("key", &seen.body);
        assert_eq!(seen.header("x-webhook-signature"), Some(&*signature));
        assert!(seen.header("x-webhook-timestamp").unwrap().parse::<u64>().unwrap() > 1);
        assert_eq!(seen.json()["text"], "code-reviewer: 82.5%");
        bodies.push(seen.body);
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "the body is the same every time");
    let ops: Arc<str> = Arc::from("ops");
    let expected = vec![(Arc::clone(&ops), "delivered", 1), (ops, "retried", 2)];
    assert_eq!(running.alerts.health(None).deliveries, expected);
    running.stop().await;
}

#[tokio::test]
async fn what_fails_for_good_stays_as_a_dead_letter_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let refusing = Receiver::start(&["400 No"]).await;
    let failing = Receiver::start(&["500 Broken"]).await;
    let moved = Receiver::start(&["307 Moved\r\nlocation: http://hooks.test/"]).await;
    let channels = vec![
        webhook("a", &refusing.url),
        webhook("b", &failing.url),
        webhook("c", &moved.url),
        webhook("d", "http://nowhere.invalid/"),
    ];
    let running = Running::start(dir.path(), parts(channels));
    running.alerts.notice(sample::budget());
    running.over(4).await;
    running.stop().await;
    let (again, _worker) = Alerts::open(dir.path(), parts(Vec::new())).unwrap();
    let mut found = again.deliveries(None);
    found.sort_by(|a, b| a.channel.cmp(&b.channel));
    let found: Vec<_> = found
        .iter()
        .map(|one| (one.status, one.attempts, one.error.as_deref().unwrap_or_default()))
        .collect();
    assert_eq!(found[0], (Status::Dead, 1, "the receiver answered 400 Bad Request"));
    assert_eq!(found[1], (Status::Dead, 3, "the receiver answered 500 Internal Server Error"));
    assert_eq!((found[2].0, found[2].1), (Status::Dead, 1));
    assert!(found[2].2.ends_with("redirects are not followed"), "{}", found[2].2);
    assert_eq!((found[3].0, found[3].1), (Status::Dead, 3));
    assert!(found[3].2.starts_with("nowhere.invalid cannot be looked up"), "{}", found[3].2);
}

#[tokio::test]
async fn a_slow_receiver_delays_neither_the_caller_nor_other_channels() {
    let dir = tempfile::tempdir().unwrap();
    // It takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_url = format!("http://slow.test:{}/", silent.local_addr().unwrap().port());
    let quick = Receiver::start(&["200 Ok"]).await;
    let channels = vec![webhook("slow", &silent_url), webhook("quick", &quick.url)];
    let running = Running::start(dir.path(), parts(channels));
    for _ in 0..5 {
        running.alerts.notice(sample::budget());
    }
    let over = running.over(5).await;
    for delivery in over {
        let expected =
            if &*delivery.channel == "quick" { Status::Delivered } else { Status::Queued };
        assert_eq!(delivery.status, expected);
    }
}

#[tokio::test]
async fn a_full_queue_answers_at_once_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    // The worker never runs.
    let (alerts, _worker) = Alerts::open(dir.path(), parts(Vec::new())).unwrap();
    for _ in 0..INTAKE + 7 {
        alerts.notice(sample::budget());
    }
    assert_eq!(alerts.health(None).dropped, 7);
}

#[tokio::test]
async fn private_addresses_are_refused_unless_allowed_and_metadata_always() {
    let dir = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(&["200 Ok"]).await;
    let strict = |name: &str, url: &str| Channel { allow_private: false, ..webhook(name, url) };
    let literal = receiver.url.replace("hooks.test", "127.0.0.1");
    let channels = vec![
        strict("by-name", &receiver.url),
        strict("by-address", &literal),
        strict("mapped", &literal.replace("127.0.0.1", "[::ffff:7f00:1]")),
        webhook("metadata", "http://metadata.test/latest"),
    ];
    let running = Running::start(dir.path(), parts(channels));
    running.alerts.notice(sample::budget());
    for delivery in running.over(4).await {
        assert_eq!((delivery.status, delivery.attempts), (Status::Dead, 1));
        let error = delivery.error.unwrap();
        let expected = if &*delivery.channel == "metadata" {
            "leads to 169.254.169.254: never posted to"
        } else {
            "set allow_private if that is meant"
        };
        assert!(error.contains(expected), "{error}");
    }
    assert!(receiver.seen.try_recv().is_err(), "nothing was sent");
    running.stop().await;
}

#[tokio::test]
async fn what_was_not_over_is_told_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://slow.test:{}/", silent.local_addr().unwrap().port());
    let first = Running::start(dir.path(), parts(vec![webhook("ops", &url), webhook("old", &url)]));
    first.alerts.notice(sample::budget());
    while first.alerts.deliveries(None).len() < 2 {
        tokio::task::yield_now().await;
    }
    let id = first.alerts.deliveries(None)[0].id;
    // Nothing is stopped or closed: as after `kill -9`.
    let mut receiver = Receiver::start(&["200 Ok"]).await;
    let second = Running::start(dir.path(), parts(vec![webhook("ops", &receiver.url)]));
    let over = second.over(2).await;
    assert_eq!((over[0].id, over[0].status), (id, Status::Delivered));
    assert_eq!(over[1].error.as_deref(), Some("the channel is no longer configured"));
    let seen = receiver.seen.recv().await.unwrap();
    assert_eq!(seen.header("x-webhook-id"), Some(&*id.to_string()));
    second.stop().await;
}

#[tokio::test]
async fn routes_choose_by_topic_and_policy() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(&["200 Ok"]).await;
    let channels = ["ops", "money", "idle"].map(|name| webhook(name, &receiver.url)).to_vec();
    let route = |topics: &[Topic], policies: &[&str], channel: &str| Route {
        topics: topics.to_vec(),
        policies: policies.iter().map(|policy| Arc::from(*policy)).collect(),
        channels: vec![Arc::from(channel)],
    };
    let mut parts = parts(channels);
    parts.settings.routes = vec![
        route(&[Topic::Escalation], &[], "ops"),
        route(&[], &["failover.*"], "ops"),
        route(&[], &["budgets.*"], "money"),
    ];
    let running = Running::start(dir.path(), parts);
    running.alerts.notice(sample::budget());
    running.alerts.notice(sample::escalation("a"));
    let told = running.over(2).await;
    let told: Vec<_> = told.iter().map(|one| (one.topic(), &*one.channel)).collect();
    assert_eq!(told, [("budget_threshold", "money"), ("escalation", "ops")]);
    running.stop().await;
}

#[tokio::test]
async fn an_escalation_is_told_once_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let receiver = Receiver::start(&["200 Ok"]).await;
    let running = Running::start(dir.path(), parts(vec![webhook("ops", &receiver.url)]));
    for _ in 0..3 {
        running.alerts.call(sample::at());
        running.alerts.notice(sample::escalation("a"));
    }
    running.alerts.notice(sample::escalation("b"));
    running.over(2).await;
    let found = running.alerts.escalations(Some(1000));
    assert_eq!(found.iter().map(|one| one.count).collect::<Vec<_>>(), [3, 1]);
    assert!(running.alerts.escalations(Some(7)).is_empty());
    assert_eq!(running.alerts.deliveries(None).len(), 2, "repeats are not told again");
    let acked = running.alerts.set_escalation(found[0].id, State::Acked, Some(7)).unwrap();
    assert_eq!(acked.unwrap().by, Some(7));
    assert_eq!(running.alerts.health(None).open, 1);
    running.stop().await;
}

#[tokio::test]
async fn slack_and_pagerduty_get_what_they_know() {
    let dir = tempfile::tempdir().unwrap();
    let mut slack = Receiver::start(&["200 Ok"]).await;
    let mut pager = Receiver::start(&["202 Accepted"]).await;
    let url: Url = pager.url.parse().unwrap();
    let means = Means::PagerDuty { routing_key: Secret::new("R"), url };
    let channels = vec![
        channel("slack", Means::Slack { url: Secret::new(slack.url.as_str()) }),
        channel("pager", means),
    ];
    let running = Running::start(dir.path(), parts(channels));
    running.alerts.notice(sample::budget());
    let over = running.over(2).await;
    assert!(over.iter().all(|one| one.status == Status::Delivered), "{over:?}");
    assert_eq!(slack.seen.recv().await.unwrap().json()["text"], "code-reviewer: 82.5%");
    let event = pager.seen.recv().await.unwrap().json();
    assert_eq!((&event["routing_key"], &event["event_action"]), (&"R".into(), &"trigger".into()));
    assert_eq!(event["payload"]["summary"], "code-reviewer: 82.5%");
    running.stop().await;
}

#[tokio::test]
async fn a_test_goes_to_one_channel_and_a_broken_one_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let mut receiver = Receiver::start(&["200 Ok"]).await;
    let broken = Channel {
        means: Err("the variable X is not set".to_owned()),
        ..webhook("broken", &receiver.url)
    };
    let running = Running::start(dir.path(), parts(vec![webhook("ops", &receiver.url), broken]));
    assert_eq!(running.alerts.test("none").unwrap_err(), TestError::Unknown("none".to_owned()));
    running.alerts.test("ops").unwrap();
    let id = running.alerts.test("broken").unwrap().id;
    running.over(2).await;
    assert_eq!(receiver.seen.recv().await.unwrap().json()["topic"], "test");
    let found = running.alerts.deliveries(None).into_iter().find(|one| one.id == id).unwrap();
    let why = "the variable X is not set";
    assert_eq!((found.status, found.error.as_deref()), (Status::Dead, Some(why)));
    assert_eq!(running.alerts.broken(), [(Arc::from("broken"), why.to_owned())]);
    running.stop().await;
}

#[tokio::test]
async fn https_is_spoken_to_those_whose_certificate_is_good() {
    for trusted in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (acceptor, roots) = email::certificates();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://mail.test:{}/x", listener.local_addr().unwrap().port());
        let server = async {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { return None };
            let seen = read(&mut stream).await;
            stream.write_all(b"HTTP/1.1 202 Ok\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            stream.flush().await.unwrap();
            Some(seen)
        };
        let roots = if trusted { roots } else { rustls::RootCertStore::empty() };
        let pace = Pace { attempts: 1, ..PACE };
        let parts = Parts { pace, ..parts(vec![webhook("ops", &url)]) };
        let running = Running::over_dial(dir.path(), parts, dial(roots));
        running.alerts.notice(sample::budget());
        let (seen, over) = tokio::join!(server, running.over(1));
        assert_eq!(seen.is_some(), trusted);
        let expected = if trusted { Status::Delivered } else { Status::Dead };
        assert_eq!(over[0].status, expected, "{:?}", over[0].error);
        running.stop().await;
    }
}
