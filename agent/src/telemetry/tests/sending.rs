//! Batches, repeats, and collectors that do not do what they should.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use tokio::time::{Instant, sleep};

use super::super::queue::Queue;
use super::super::sample::record;
use super::super::*;
use super::collector::{Collector, Does};
use crate::clock::System;
use crate::drain::Drain;
use crate::secret::Secret;
use crate::upstream::Tls;

const TRACES: Signals = Signals { traces: true, metrics: false, logs: false };
const ALL: Signals = Signals { traces: true, metrics: true, logs: true };
/// Calls' spans: itself and two tries.
const SPANS: u64 = 3;

fn target(collector: &Arc<Collector>, signals: Signals) -> State {
    State::On(Arc::new(Target {
        settings: Settings {
            endpoint: "http://collector.test:4318".parse().unwrap(),
            headers: vec![(http::HeaderName::from_static("x-key"), Secret::new("secret"))],
            signals,
            timeout: Duration::from_secs(10),
            metrics_interval: Duration::from_mins(1),
            compress: true,
        },
        connect: Arc::clone(collector) as Arc<dyn crate::upstream::Connect>,
        tls: Tls::new(rustls::RootCertStore::empty(), []).unwrap(),
        environment: "prod".into(),
    }))
}

/// Telemetry that runs.
struct Running {
    telemetry: Arc<Telemetry>,
    drain: Drain,
}

impl Running {
    fn start(state: State) -> Self {
        let origin = Origin { host: "host".into(), instance: "one".into() };
        let telemetry = Telemetry::new(state, origin, Arc::new(System), Pace::default());
        let (telemetry, drain) = (Arc::new(telemetry), Drain::new());
        drain.spawn(Arc::clone(&telemetry).run(drain.clone()));
        Self { telemetry, drain }
    }

    fn calls(&self, count: usize) {
        let record = Arc::new(record());
        for _ in 0..count {
            self.telemetry.call(&record);
        }
    }

    fn counted(&self, signal: Signal) -> Counted {
        let all = self.telemetry.counted();
        all.into_iter().find(|(one, _)| *one == signal).unwrap().1
    }

    /// Waits, in the test's own time, until this many spans have been counted one way or another.
    async fn settled(&self, spans: u64) -> Counted {
        loop {
            let counted = self.counted(Signal::Traces);
            if counted.exported + counted.dropped >= spans {
                return counted;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn stop(self) -> Counted {
        assert_eq!(self.drain.finish(Duration::from_mins(1)).await, 0);
        self.telemetry.flush(Duration::from_secs(3)).await;
        self.counted(Signal::Traces)
    }
}

fn spans(body: &[u8]) -> usize {
    let sent = ExportTraceServiceRequest::decode(body).unwrap();
    sent.resource_spans.iter().flat_map(|it| &it.scope_spans).map(|it| it.spans.len()).sum()
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_sent_together() {
    let collector = Collector::willing();
    let running = Running::start(target(&collector, TRACES));
    let began = Instant::now();
    running.calls(3);
    running.settled(3 * SPANS).await;
    let seen = collector.seen();
    let [only] = &seen[..] else { panic!("{seen:?}") };
    assert!(only.at - began >= Duration::from_secs(1) && only.at - began < Duration::from_secs(2));
    assert_eq!((&*only.path, spans(&only.body)), ("/v1/traces", 9));
    let header = |name: &str| only.headers[name].to_str().unwrap();
    assert_eq!(header("content-type"), "application/x-protobuf");
    assert_eq!(header("content-encoding"), "gzip");
    assert_eq!(header("host"), "collector.test:4318");
    assert_eq!(header("x-key"), "secret");
    let sent = ExportTraceServiceRequest::decode(&only.body[..]).unwrap();
    let resource = format!("{:?}", sent.resource_spans[0].resource);
    for word in ["service.name", "weir", "host.name", "deployment.environment.name", "prod"] {
        assert!(resource.contains(word), "{word} in {resource}");
    }
    // A batch does not wait.
    let began = Instant::now();
    running.calls(Queue::<()>::BATCH);
    running.settled((3 + Queue::<()>::BATCH as u64) * SPANS).await;
    assert!(collector.seen()[0].at - began < Duration::from_secs(1));
    let counted = running.stop().await;
    assert_eq!((counted.dropped, counted.failures), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn each_signal_has_its_own_way() {
    let collector = Collector::willing();
    let running = Running::start(target(&collector, ALL));
    running.calls(2);
    running.telemetry.say(Said {
        at: UNIX_EPOCH,
        severity: Severity::Error,
        target: "agent::ledger",
        message: "the disk is full".to_owned(),
        fields: Vec::new(),
    });
    sleep(Duration::from_secs(61)).await;
    running.settled(2 * SPANS).await;
    while running.counted(Signal::Metrics).exported == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    let seen = collector.seen();
    let at = |path: &str| &seen.iter().find(|seen| seen.path == path).unwrap().body[..];
    let logs = ExportLogsServiceRequest::decode(at("/v1/logs")).unwrap();
    assert_eq!(logs.resource_logs[0].scope_logs[0].log_records.len(), 3);
    let metrics = ExportMetricsServiceRequest::decode(at("/v1/metrics")).unwrap();
    let names: Vec<_> = metrics.resource_metrics[0].scope_metrics[0]
        .metrics
        .iter()
        .map(|metric| metric.name.as_str())
        .collect();
    let expected = ["gen_ai.client.token.usage", "gen_ai.client.operation.duration", "weir.cost"];
    assert_eq!(names, expected);
    assert_eq!(running.counted(Signal::Logs).exported, 3);
    assert_eq!(running.counted(Signal::Metrics).exported, 4);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_again_and_keeps_its_order() {
    let script = [Does::Status(503, None), Does::Refuses, Does::Status(429, Some(40))];
    let collector = Collector::new(script, Does::Takes(Bytes::new()));
    let running = Running::start(target(&collector, TRACES));
    running.calls(2);
    let counted = running.settled(2 * SPANS).await;
    assert_eq!(counted, Counted { exported: 6, dropped: 0, failures: 3 });
    let at = collector.connected();
    let [first, second, third, fourth] = &at[..] else { panic!("{at:?}") };
    let (ms, s) = (Duration::from_millis, Duration::from_secs);
    assert!((ms(500)..=ms(1_100)).contains(&(*second - *first)), "{at:?}");
    assert!((s(1)..=ms(2_100)).contains(&(*third - *second)), "{at:?}");
    assert!(*fourth - *third >= s(40), "as it asked: {at:?}");
    assert!(collector.seen().iter().all(|seen| spans(&seen.body) == 6), "the same each time");
    assert_eq!(running.telemetry.trouble(), None);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_never_works_is_dropped_and_counted() {
    let last = Does::Takes(Bytes::new());
    let collector = Collector::new([Does::Status(400, None)], last);
    let running = Running::start(target(&collector, TRACES));
    running.calls(1);
    let counted = running.settled(SPANS).await;
    assert_eq!(counted, Counted { exported: 0, dropped: 3, failures: 1 });
    let trouble = running.telemetry.trouble().unwrap();
    let expected = "nothing arrives at http://collector.test:4318: the collector answered 400";
    assert!(trouble.starts_with(expected), "{trouble}");
    running.calls(1);
    let counted = running.settled(2 * SPANS).await;
    assert_eq!((counted.exported, running.telemetry.trouble()), (3, None));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_collector_that_is_gone_costs_its_own_telemetry() {
    for does in [Does::Refuses, Does::Hangs, Does::Babbles(b"220 mail.test\r\n")] {
        let collector = Collector::new([], does.clone());
        let running = Running::start(target(&collector, TRACES));
        running.calls(10);
        let counted = running.settled(10 * SPANS).await;
        assert_eq!((counted.exported, counted.dropped), (0, 30), "{does:?}");
        assert_eq!(counted.failures, 5, "{does:?}");
        // Four waits of 15 s together, and 40 s that a silent one is waited for.
        let at = collector.connected();
        let whole = *at.last().unwrap() - at[0];
        assert!(whole < Duration::from_mins(1), "{does:?}: {whole:?}");
        // More than there is room for: whoever makes calls does not notice.
        running.calls(5_000);
        assert!(running.counted(Signal::Traces).dropped > 30, "{does:?}");
        running.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_collector_did_not_take_is_counted() {
    let partial = ExportTracePartialSuccess { rejected_spans: 4, error_message: "old".into() };
    let answer = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let rubbish = Does::Takes(Bytes::from_static(b"<html>fine</html>"));
    let collector = Collector::new([Does::Takes(answer.into())], rubbish);
    let running = Running::start(target(&collector, TRACES));
    running.calls(2);
    let counted = running.settled(2 * SPANS).await;
    assert_eq!(counted, Counted { exported: 2, dropped: 4, failures: 0 });
    // It was taken, whatever it says.
    running.calls(1);
    assert_eq!(running.settled(3 * SPANS).await.exported, 5);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_sends_what_waits() {
    let collector = Collector::willing();
    let running = Running::start(target(&collector, ALL));
    running.calls(700);
    assert_eq!(running.drain.finish(Duration::from_mins(1)).await, 0);
    // Calls that end while the agent stops.
    running.calls(1);
    running.telemetry.flush(Duration::from_secs(3)).await;
    let of = |signal| running.counted(signal);
    assert_eq!(of(Signal::Traces), Counted { exported: 701 * SPANS, ..Counted::default() });
    assert_eq!(of(Signal::Logs).exported, 701);
    assert_eq!(of(Signal::Metrics).exported, 4);
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_a_collector_that_hangs() {
    let collector = Collector::new([], Does::Hangs);
    let running = Running::start(target(&collector, ALL));
    running.calls(1);
    sleep(Duration::from_secs(2)).await;
    let began = Instant::now();
    running.stop().await;
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn another_collector_is_taken_over_at_once() {
    let (gone, there) = (Collector::new([], Does::Refuses), Collector::willing());
    let running = Running::start(target(&gone, TRACES));
    running.calls(1);
    while gone.connected().is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    running.telemetry.replace(target(&there, TRACES));
    let counted = running.settled(SPANS).await;
    assert_eq!((counted.exported, counted.dropped), (3, 0));
    running.telemetry.replace(State::Off);
    running.calls(1);
    running.telemetry.replace(State::Broken("no key".to_owned()));
    running.calls(1);
    assert_eq!(running.telemetry.trouble().as_deref(), Some("no key"));
    let counted = running.stop().await;
    assert_eq!((counted.exported, counted.dropped), (3, 0), "nothing was wanted");
}

#[tokio::test(start_paused = true)]
async fn what_was_the_matter_elsewhere_is_not_told() {
    let (gone, there) = (Collector::new([], Does::Status(400, None)), Collector::willing());
    let running = Running::start(target(&gone, TRACES));
    running.calls(1);
    running.settled(SPANS).await;
    assert!(running.telemetry.trouble().is_some());
    running.telemetry.replace(target(&there, TRACES));
    assert_eq!(running.telemetry.trouble(), None, "nothing has been sent there yet");

    // A message under way fails after nobody wants its signal any more.
    let silent = Collector::new([], Does::Hangs);
    running.telemetry.replace(target(&silent, TRACES));
    running.calls(1);
    while silent.connected().is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    let sums = Signals { traces: false, metrics: true, logs: false };
    running.telemetry.replace(target(&there, sums));
    while running.counted(Signal::Traces).failures < 2 {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(running.telemetry.trouble(), None);
    // Nor is it sent to where only others are wanted.
    assert_eq!(running.settled(2 * SPANS).await.exported, 0);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_kept_leaves_no_span() {
    let collector = Collector::willing();
    let running = Running::start(target(&collector, ALL));
    running.telemetry.call(&Arc::new(Record { trace: None, ..record() }));
    running.telemetry.call(&Arc::new(Record { kind: Kind::Request, ..record() }));
    sleep(Duration::from_secs(2)).await;
    while running.counted(Signal::Logs).exported == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(running.counted(Signal::Logs).exported, 1, "a line for the one call");
    let counted = running.stop().await;
    assert_eq!(counted, Counted::default());
}
