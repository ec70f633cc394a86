//! The whole path of a call over in-memory connections, with a scripted provider.

mod policies;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::clock;
use crate::llm::price::Prices;
use crate::llm::providers::Providers;
use crate::policy;
use crate::record::{Connection, Durability, Flag, Kind, Opened, Outcome, Record, UsageSource};
use crate::subject::{Process, Subject, Workload};
use crate::upstream::connect::BoxFuture;
use crate::upstream::{
    Connect, Destination, Io, Offer, Outgoing, Pool, SocketOptions, Target, Tls,
};

type Chunks = mpsc::Receiver<Result<Frame<Bytes>, io::Error>>;
type Answer = Response<http_body_util::combinators::BoxBody<Bytes, io::Error>>;

/// A provider that answers by a function, reached over in-memory connections.
struct Provider<F>(F);

impl<F> std::fmt::Debug for Provider<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Provider")
    }
}

impl<F> Connect for Provider<F>
where
    F: Fn(Request<Bytes>) -> Answer + Clone + Send + Sync + 'static,
{
    fn connect<'a>(
        &'a self,
        _to: &'a Destination,
        _options: SocketOptions,
    ) -> BoxFuture<'a, io::Result<Io>> {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let answer = self.0.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let answer = answer.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await.expect("the pipeline sends whole bodies");
                Ok::<_, io::Error>(answer(Request::from_parts(parts, body.to_bytes())))
            }
        });
        Drain::new().spawn(async move {
            let http = hyper::server::conn::http1::Builder::new();
            // Errors are the point of some tests.
            drop(http.serve_connection(TokioIo::new(far), service).await);
        });
        Box::pin(async move { Ok(Box::new(near) as Io) })
    }
}

/// A provider that is not there.
#[derive(Debug)]
struct Nobody;

impl Connect for Nobody {
    fn connect<'a>(
        &'a self,
        _to: &'a Destination,
        _options: SocketOptions,
    ) -> BoxFuture<'a, io::Result<Io>> {
        Box::pin(async { Err(io::Error::from(io::ErrorKind::ConnectionRefused)) })
    }
}

/// Keeps records; acknowledges at once, or when the test says so.
#[derive(Debug, Default)]
struct Records {
    settled: Mutex<Vec<Arc<Record>>>,
    opened: Mutex<Vec<Opened>>,
    withhold: bool,
    unconfirmed: AtomicUsize,
    withheld: Mutex<Vec<oneshot::Sender<Durability>>>,
}

impl Records {
    fn only(&self) -> Arc<Record> {
        let settled = self.settled.lock();
        assert_eq!(settled.len(), 1, "exactly one record: {settled:#?}");
        Arc::clone(&settled[0])
    }
}

impl Sink for Records {
    fn open(&self, opened: Opened) {
        self.opened.lock().push(opened);
    }

    fn settle(&self, record: Arc<Record>) -> oneshot::Receiver<Durability> {
        let (tell, told) = oneshot::channel();
        self.settled.lock().push(record);
        if self.withhold {
            self.withheld.lock().push(tell);
        } else {
            tell.send(Durability::Kept).expect("somebody waits");
        }
        told
    }

    fn connection(&self, _connection: Connection) {}

    fn unconfirmed(&self) {
        self.unconfirmed.fetch_add(1, Relaxed);
    }
}

struct Scene {
    records: Arc<Records>,
    context: Arc<Context>,
}

fn scene(connect: impl Connect + 'static, records: Records) -> Scene {
    scene_under(connect, records, policy::Settings::default(), Arc::new(clock::System))
}

fn scene_under(
    connect: impl Connect + 'static,
    records: Records,
    limits: policy::Settings,
    clock: Arc<dyn Clock>,
) -> Scene {
    let records = Arc::new(records);
    let rules = Rules {
        environment: Arc::from("test"),
        providers: Providers::builtin(),
        prices: policies::prices(),
        request_body: 1024,
        room: room::Room::default(),
        credentials: Credentials::default(),
        policies: Arc::new(Policies::new(
            limits,
            policy::reliability::Settings::default(),
            clock.now(),
        )),
    };
    rules.policies.act(true);
    let provider = Arc::clone(rules.providers.by_name("openai").expect("built in"));
    let drain = Drain::new();
    let tls = Tls::new(rustls::RootCertStore::empty(), []).expect("no roots are needed");
    let pool = Arc::new(Pool::new(Arc::new(connect), tls, Arc::clone(&clock), drain.clone()));
    let host: Arc<str> = Arc::from("api.openai.com");
    let target = Target {
        destination: Destination::Name(Arc::clone(&host), 80),
        host: Arc::clone(&host),
        tls: false,
        offer: Offer::Nothing,
        options: SocketOptions::default(),
    };
    let context = Context {
        parties: Parties { subject: subject(), via: Via::Intercept, host, provider },
        link: Link::lazy(pool, target),
        rules: Arc::new(ArcSwap::from_pointee(rules)),
        sink: Arc::clone(&records) as Arc<dyn Sink>,
        clock,
        drain,
        permit: None,
    };
    Scene { records, context: Arc::new(context) }
}

fn subject() -> Arc<Subject> {
    Arc::new(Subject {
        process: Process {
            pid: 7,
            start_ticks: 1,
            exe: Arc::from("/usr/bin/curl"),
            command: Arc::from("curl"),
            uid: 1000,
            user: None,
            verified: true,
        },
        workload: Workload {
            name: Arc::from("exe:curl"),
            unit: None,
            container: None,
            pod: None,
            app: None,
        },
    })
}

fn json(body: &'static str) -> Answer {
    let body = Full::new(Bytes::from_static(body.as_bytes()));
    Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.map_err(|never| match never {}).boxed())
        .expect("valid response")
}

fn events(chunks: Chunks) -> Answer {
    let body = StreamBody::new(tokio_stream(chunks));
    Response::builder()
        .header(header::CONTENT_TYPE, "text/event-stream")
        .body(BodyExt::boxed(body))
        .expect("valid response")
}

fn tokio_stream(
    mut chunks: Chunks,
) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, io::Error>> {
    futures_util::stream::poll_fn(move |cx| chunks.poll_recv(cx))
}

fn call(body: &str) -> Request<Outgoing> {
    Request::post("/v1/chat/completions")
        .header(header::HOST, "api.openai.com")
        .header(header::AUTHORIZATION, "Bearer sk-test")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Outgoing::whole(Bytes::copy_from_slice(body.as_bytes())))
        .expect("valid request")
}

const ASK: &str = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}"#;
const ASK_STREAM: &str = r#"{"model":"gpt-4o-mini","stream":true,"stream_options":{"include_usage":true},"messages":[]}"#;
const ANSWER: &str = r#"{"id":"c1","object":"chat.completion","model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1000,"completion_tokens":500,"total_tokens":1500}}"#;
/// 1,000 × $0.15 + 500 × $0.60 per million.
const ANSWER_COST: i64 = 450_000;

const CHUNK: &str = "data: {\"model\":\"gpt-4o-mini-2024-07-18\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"}}]}\n\n";
const USAGE: &str = "data: {\"model\":\"gpt-4o-mini-2024-07-18\",\"choices\":[],\"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":500}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn frame(text: &'static str) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text.as_bytes()))
}

#[tokio::test]
async fn a_unary_call_is_passed_on_unchanged_and_recorded_once() {
    let scene = scene(Provider(|_request| json(ANSWER)), Records::default());
    let response = handle(Arc::clone(&scene.context), call(ASK)).await;
    assert_eq!(response.status(), StatusCode::OK);
    let id = response.headers()[headers::CALL_ID].to_str().unwrap().to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, ANSWER);
    let record = scene.records.only();
    assert_eq!(record.call_id.to_string(), id);
    assert_eq!(record.kind, Kind::Call);
    assert_eq!(record.outcome, Outcome::Ok);
    assert_eq!(record.model.as_deref(), Some("gpt-4o-mini"));
    assert_eq!(record.model_served.as_deref(), Some("gpt-4o-mini-2024-07-18"));
    assert_eq!((record.usage.input, record.usage.output), (1000, 500));
    assert_eq!(record.usage_source, UsageSource::Reported);
    assert_eq!(record.cost.map(|cost| cost.0), Some(ANSWER_COST));
    assert_eq!(record.attempts.len(), 1);
    assert_eq!(scene.records.opened.lock().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_bytes_wait_for_the_record_but_not_for_ever() {
    let records = Records { withhold: true, ..Records::default() };
    let scene = scene(Provider(|_request| json(ANSWER)), records);
    let asked = tokio::time::Instant::now();
    let response = handle(Arc::clone(&scene.context), call(ASK)).await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, ANSWER);
    let waited = asked.elapsed();
    assert!(waited >= Duration::from_millis(50), "released before its record was safe");
    assert!(waited < Duration::from_millis(60), "held for longer than the bound");
    assert_eq!(scene.records.unconfirmed.load(Relaxed), 1, "and that is counted");
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_has_still_asked() {
    let (reached, asked) = oneshot::channel();
    let reached = Arc::new(Mutex::new(Some(reached)));
    let (_never, chunks) = mpsc::channel(1);
    let chunks = Arc::new(Mutex::new(Some(chunks)));
    let provider = Provider(move |_request: Request<Bytes>| {
        reached.lock().take().expect("asked once").send(()).expect("the test waits");
        // No chunk ever comes, and without one hyper sends no head.
        events(chunks.lock().take().expect("asked once"))
    });
    let scene = scene(provider, Records::default());
    let mut waiting = Box::pin(handle(Arc::clone(&scene.context), call(ASK)));
    tokio::select! {
        _answer = &mut waiting => {}
        _asked = asked => {}
    }
    drop(waiting);
    let record = scene.records.only();
    assert_eq!(record.outcome, Outcome::ClientAbort);
    assert_eq!(record.usage_source, UsageSource::Estimated);
    assert!(record.cost.is_some_and(|cost| cost.0 > 0), "sent is not free: {:?}", record.cost);
}

#[tokio::test]
async fn a_stream_flows_and_its_terminal_event_waits() {
    let (send, chunks) = mpsc::channel(8);
    let chunks = Arc::new(Mutex::new(Some(chunks)));
    let provider =
        Provider(move |_request: Request<Bytes>| events(chunks.lock().take().expect("asked once")));
    let records = Records { withhold: true, ..Records::default() };
    let scene = scene(provider, records);
    send.send(Ok(frame(CHUNK))).await.unwrap();
    let response = handle(Arc::clone(&scene.context), call(ASK_STREAM)).await;
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, CHUNK, "a chunk is forwarded when it arrives");
    send.send(Ok(frame(USAGE))).await.unwrap();
    let usage = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(usage, USAGE, "the client asked for the usage chunk: it stays");
    assert!(scene.records.settled.lock().is_empty());
    send.send(Ok(frame(DONE))).await.unwrap();
    {
        let waiting = body.frame();
        tokio::pin!(waiting);
        tokio::select! {
            biased;
            _released = &mut waiting => panic!("released before the record was safe"),
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
        }
        for tell in scene.records.withheld.lock().drain(..) {
            tell.send(Durability::Kept).unwrap();
        }
        let done = waiting.await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(done, DONE);
    }
    let record = scene.records.only();
    assert_eq!(record.cost.map(|cost| cost.0), Some(ANSWER_COST), "streamed costs as unary does");
    assert!(record.stream && record.ttft.is_some());
}

#[tokio::test]
async fn usage_is_asked_for_and_the_chunk_it_causes_is_hidden() {
    let asked = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&asked);
    let provider = Provider(move |request: Request<Bytes>| {
        *seen.lock() = Some(request.into_body());
        let (send, chunks) = mpsc::channel(8);
        for text in [CHUNK, USAGE, DONE] {
            send.try_send(Ok(frame(text))).expect("room");
        }
        events(chunks)
    });
    let scene = scene(provider, Records::default());
    let body = r#"{"model":"gpt-4o-mini","stream":true,"messages":[]}"#;
    let response = handle(Arc::clone(&scene.context), call(body)).await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, [CHUNK, DONE].concat());
    let asked: serde_json::Value =
        serde_json::from_slice(asked.lock().as_ref().expect("asked")).unwrap();
    assert_eq!(asked["stream_options"]["include_usage"], true);
    let record = scene.records.only();
    assert!(record.flags.contains(&Flag::UsageInjected));
    assert_eq!(record.cost.map(|cost| cost.0), Some(ANSWER_COST));
}

#[tokio::test]
async fn a_client_that_leaves_mid_stream_is_settled_by_estimate() {
    let (send, chunks) = mpsc::channel(8);
    let chunks = Arc::new(Mutex::new(Some(chunks)));
    let provider =
        Provider(move |_request: Request<Bytes>| events(chunks.lock().take().expect("asked once")));
    let scene = scene(provider, Records::default());
    send.send(Ok(frame(CHUNK))).await.unwrap();
    let response = handle(Arc::clone(&scene.context), call(ASK_STREAM)).await;
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    let record = scene.records.only();
    assert_eq!(record.outcome, Outcome::ClientAbort);
    assert_eq!(record.usage_source, UsageSource::Estimated);
    assert!(record.usage.output > 0 && record.cost.is_some_and(|cost| cost.0 > 0));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_made_to_look_whole() {
    let (send, chunks) = mpsc::channel(8);
    let chunks = Arc::new(Mutex::new(Some(chunks)));
    let provider =
        Provider(move |_request: Request<Bytes>| events(chunks.lock().take().expect("asked once")));
    let scene = scene(provider, Records::default());
    send.send(Ok(frame(CHUNK))).await.unwrap();
    let response = handle(Arc::clone(&scene.context), call(ASK_STREAM)).await;
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    send.send(Err(io::Error::other("cut"))).await.unwrap();
    let end = body.frame().await.expect("an end that says what it is");
    assert!(end.is_err(), "the client must see the cut");
    let record = scene.records.only();
    assert_eq!(record.outcome, Outcome::UpstreamCut);
    assert_eq!(record.usage_source, UsageSource::Estimated);
}

#[tokio::test]
async fn a_request_for_another_host_is_misdirected() {
    let scene = scene(Nobody, Records::default());
    let mut request = call(ASK);
    request.headers_mut().insert(header::HOST, "api.anthropic.com".parse().unwrap());
    let response = handle(Arc::clone(&scene.context), request).await;
    assert_eq!(response.status(), StatusCode::MISDIRECTED_REQUEST);
    let record = scene.records.only();
    assert_eq!(record.outcome, Outcome::Refused);
    assert_eq!(record.cost.map(|cost| cost.0), Some(0), "a refused call costs nothing");
}

#[tokio::test]
async fn an_unreachable_provider_is_told_in_its_own_dialect() {
    let scene = scene(Nobody, Records::default());
    let response = handle(Arc::clone(&scene.context), call(ASK)).await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"]["type"], "upstream_unreachable");
    assert_eq!(scene.records.only().outcome, Outcome::ConnectError);
}

#[tokio::test]
async fn a_body_over_the_limit_goes_through_unread() {
    let length = Arc::new(Mutex::new(0));
    let seen = Arc::clone(&length);
    let provider = Provider(move |request: Request<Bytes>| {
        *seen.lock() = request.body().len();
        json(ANSWER)
    });
    let scene = scene(provider, Records::default());
    let long = format!(r#"{{"model":"gpt-4o-mini","x":"{}"}}"#, "y".repeat(4096));
    let response = handle(Arc::clone(&scene.context), call(&long)).await;
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body().collect().await.unwrap();
    assert_eq!(*length.lock(), long.len(), "nothing was cut");
    let record = scene.records.only();
    assert_eq!(record.kind, Kind::Opaque);
    assert!(record.flags.contains(&Flag::BodyUnread));
    assert_eq!(record.cost, None, "unread is unknown, not free");
}

#[tokio::test]
async fn an_error_status_costs_nothing_and_keeps_its_body() {
    let provider = Provider(|_request: Request<Bytes>| {
        let mut response = json(r#"{"error":{"message":"slow down"}}"#);
        *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        response
    });
    let scene = scene(provider, Records::default());
    let response = handle(Arc::clone(&scene.context), call(ASK)).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    response.into_body().collect().await.unwrap();
    let record = scene.records.only();
    assert_eq!(record.outcome, Outcome::RateLimited);
    assert_eq!(record.cost.map(|cost| cost.0), Some(0));
}
