//! The whole path of a call over in-memory connections, with a scripted provider.

mod texts;
mod dialled;
mod plain;
mod policies;
mod budgeted;
mod counted;
mod replaced;
mod failing;
mod early;
mod open;
mod elsewhere;
mod downgrade;
mod covered;
mod balanced;
mod hops;
mod unread;
mod health;
mod websocket;
mod http2;
mod traced;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use self::texts::{ANSWER, ANSWER_COST, ASK, ASK_STREAM, CHUNK, DONE, USAGE, frame};
use super::accounts::First;
use super::*;
use crate::clock::{self, Now};
use crate::llm::price::Prices;
use crate::llm::providers::Providers;
use crate::policy;
use crate::policy::containers::Containers;
use crate::policy::reliability::Settings;
use crate::record::trace::SampleRate;
use crate::record::{Connection, Durability, Notice, Opened, Record};
use crate::secret::Secret;
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
                let answer = answer(Request::from_parts(parts, body.to_bytes()));
                match answer.extensions().get::<Instead>() {
                    Some(Instead::Reset) => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
                    Some(Instead::Silence) => std::future::pending().await,
                    None => Ok(answer),
                }
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

/// What happens in place of an answer.
#[derive(Debug, Clone, Copy)]
enum Instead {
    /// The connection is closed.
    Reset,
    /// Nothing.
    Silence,
}

fn instead(what: Instead) -> Answer {
    let mut answer = json("");
    answer.extensions_mut().insert(what);
    answer
}

/// What a scripted provider was asked, in order.
type Asked = Arc<Mutex<Vec<Request<Bytes>>>>;

/// A provider that gives these answers one after the other.
fn scripted(
    answers: impl IntoIterator<Item = Answer>,
) -> (Provider<impl Fn(Request<Bytes>) -> Answer + Clone + Send + Sync + 'static>, Asked) {
    let answers = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    let provider = Provider(move |request: Request<Bytes>| {
        seen.lock().push(request);
        answers.lock().pop_front().unwrap_or_else(|| failed(500, "the script is over"))
    });
    (provider, asked)
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
    notices: Mutex<Vec<Notice>>,
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

    fn notice(&self, notice: Notice) {
        self.notices.lock().push(notice);
    }

    fn unconfirmed(&self) {
        self.unconfirmed.fetch_add(1, Relaxed);
    }
}

struct Scene {
    records: Arc<Records>,
    context: Arc<Context>,
}

impl Scene {
    /// One call, its response read to the end.
    async fn ask(&self, body: &str) -> (http::response::Parts, Bytes) {
        let response = handle(Arc::clone(&self.context), call(body)).await;
        let (parts, body) = response.into_parts();
        (parts, body.collect().await.expect("a whole body").to_bytes())
    }

    /// Decisions of policies on the last call.
    fn decisions(&self) -> Vec<(String, String)> {
        let settled = self.records.settled.lock();
        let decisions = &settled.last().expect("a call was settled").decisions;
        let policies = decisions
            .iter()
            .filter(|decision| &*decision.rule == "retry" || decision.rule.contains('.'));
        policies.map(|it| (it.rule.to_string(), it.action.to_string())).collect()
    }
}

/// Time as tokio's tests pause and advance it.
#[derive(Debug)]
struct Paused(Now, Instant);

impl Clock for Paused {
    fn now(&self) -> Now {
        let passed = self.1.elapsed();
        Now { mono: self.0.mono + passed, wall: self.0.wall + passed }
    }
}

/// What differs between scenes.
struct Setup {
    limits: policy::Settings,
    settings: Settings,
    prices: Prices,
    /// Beside the built-in ones.
    providers: Vec<crate::llm::providers::Provider>,
    credentials: Credentials,
    endpoints: Endpoints,
    tracing: Option<SampleRate>,
    acting: bool,
}

impl Default for Setup {
    /// Policies act; waits are not spread.
    fn default() -> Self {
        let mut settings = Settings::default();
        settings.general.retry.jitter = false;
        Self {
            limits: policy::Settings::default(),
            settings,
            prices: Prices::embedded(),
            providers: Vec::new(),
            credentials: Credentials::default(),
            endpoints: Endpoints::default(),
            tracing: None,
            acting: true,
        }
    }
}

fn scene(connect: impl Connect + 'static, records: Records) -> Scene {
    let clock: Arc<dyn Clock> = Arc::new(clock::System);
    set(connect, records, clock, Setup { acting: false, ..Setup::default() })
}

/// A scene in which these limits act.
fn scene_under(
    connect: impl Connect + 'static,
    records: Records,
    limits: policy::Settings,
    clock: Arc<dyn Clock>,
) -> Scene {
    set(connect, records, clock, Setup { limits, prices: policies::prices(), ..Setup::default() })
}

/// A scene in which policies act, and time is tokio's.
fn acting(connect: impl Connect + 'static, setup: Setup) -> Scene {
    let clock = Paused(clock::System.now(), Instant::now());
    set(connect, Records::default(), Arc::new(clock), setup)
}

fn set(
    connect: impl Connect + 'static,
    records: Records,
    clock: Arc<dyn Clock>,
    setup: Setup,
) -> Scene {
    let records = Arc::new(records);
    let policies = Policies::new(setup.limits, setup.settings, clock.now());
    policies.act(setup.acting);
    let rules = Rules {
        environment: Arc::from("test"),
        providers: Providers::builtin().with(setup.providers),
        prices: setup.prices,
        request_body: 1024,
        room: room::Room::default(),
        credentials: setup.credentials,
        endpoints: setup.endpoints,
        containers: Containers::default(),
        tracing: setup.tracing,
        policies: Arc::new(policies),
    };
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
        account: First::default(),
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

/// An error of this status and code.
fn failed(status: u16, code: &str) -> Answer {
    let body = format!(r#"{{"error":{{"message":"no","type":"error","code":"{code}"}}}}"#);
    let mut answer =
        json("").map(|_empty| Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed());
    *answer.status_mut() = hyper::StatusCode::from_u16(status).expect("a status");
    answer
}

/// A stream of these pieces.
fn stream(pieces: &[&'static str]) -> Answer {
    let (send, chunks) = mpsc::channel(pieces.len().max(1));
    for piece in pieces {
        send.try_send(Ok(frame(piece))).expect("room");
    }
    events(chunks)
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
