//! Calls over WebSocket connections: metered one by one, governed before they are sent.

mod talks;
mod governed;
mod realtime;
mod http2;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

use super::dialled::Dialled;
use super::policies::*;
use super::*;
use crate::policy::settings::{OnBreach, Says};
use crate::record::{Flag, Kind, Outcome, UsageSource};

/// Both ends of a socket that goes through the pipeline.
struct Talk {
    client: WebSocketStream<DuplexStream>,
    provider: WebSocketStream<DuplexStream>,
    /// The request as the provider saw it.
    seen: Request<()>,
    scene: Scene,
}

fn serve(context: &Arc<Context>) -> DuplexStream {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let context = Arc::clone(context);
    Drain::new().spawn(async move {
        let service = service_fn(|request: Request<Incoming>| {
            let answer = handle(Arc::clone(&context), request.map(Outgoing::through));
            async move { Ok::<_, std::convert::Infallible>(answer.await) }
        });
        let http = hyper::server::conn::http1::Builder::new();
        drop(http.serve_connection(TokioIo::new(far), service).with_upgrades().await);
    });
    near
}

async fn accepted(far: DuplexStream) -> (WebSocketStream<DuplexStream>, Request<()>) {
    let seen = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&seen);
    #[expect(clippy::result_large_err, reason = "the library's own type")]
    let note = move |request: &server::Request, response: server::Response| {
        *keep.lock() = Some(request.clone());
        Ok(response)
    };
    let socket = accept_hdr_async(far, note).await.unwrap();
    let seen = seen.lock().take().unwrap();
    (socket, seen)
}

async fn talk_under(path: &str, records: Records, rules: Vec<policy::settings::Rule>) -> Talk {
    let (tell, mut dialled) = mpsc::unbounded_channel();
    let clock = Paused(noon(), Instant::now());
    let scene = scene_under(Dialled(tell), records, settings(rules), Arc::new(clock));
    let near = serve(&scene.context);
    let mut request = format!("ws://api.openai.com{path}").into_client_request().unwrap();
    let fields = request.headers_mut();
    fields.insert(header::AUTHORIZATION, "Bearer sk-test".parse().unwrap());
    fields.insert("sec-websocket-extensions", "permessage-deflate".parse().unwrap());
    let provider = async { accepted(dialled.recv().await.unwrap()).await };
    let (opened, (provider, seen)) = tokio::join!(client_async(request, near), provider);
    let (client, response) = opened.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    Talk { client, provider, seen, scene }
}

async fn talk(path: &str) -> Talk {
    talk_under(path, Records::default(), Vec::new()).await
}

fn noon() -> Now {
    let noon = "2026-10-01T12:00:00Z".parse::<jiff::Timestamp>().unwrap();
    Now { mono: clock::System.now().mono, wall: noon.into() }
}

impl Talk {
    async fn asks(&mut self, message: &Value) {
        self.client.send(Message::text(message.to_string())).await.unwrap();
    }

    /// The next message that reaches the provider.
    async fn asked(&mut self) -> Value {
        text(&self.provider.next().await.unwrap().unwrap())
    }

    async fn answers(&mut self, events: &[Value]) {
        for event in events {
            self.provider.send(Message::text(event.to_string())).await.unwrap();
        }
    }

    /// The next message that reaches the client.
    async fn hears(&mut self) -> Value {
        text(&self.client.next().await.unwrap().unwrap())
    }

    async fn hears_all(&mut self, events: &[Value]) {
        self.answers(events).await;
        for event in events {
            assert_eq!(self.hears().await, *event);
        }
    }

    /// Calls settled so far.
    fn calls(&self) -> Vec<Arc<Record>> {
        let settled = self.scene.records.settled.lock();
        settled.iter().filter(|record| is_call(record)).cloned().collect()
    }

    /// The records of the calls and that of the socket, when it is over.
    async fn over(self) -> (Vec<Arc<Record>>, Arc<Record>) {
        let Self { scene, client, provider, .. } = self;
        drop((client, provider));
        until_settled(&scene).await
    }
}

fn is_call(record: &Record) -> bool {
    record.kind == Kind::Call
}

/// Waits for the record of the socket, which is the last one.
async fn until_settled(scene: &Scene) -> (Vec<Arc<Record>>, Arc<Record>) {
    for _ in 0..10_000 {
        {
            let mut settled = scene.records.settled.lock().clone();
            if let Some(at) = settled.iter().position(|record| !is_call(record)) {
                let socket = settled.remove(at);
                return (settled, socket);
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the socket was never settled")
}

fn text(message: &Message) -> Value {
    serde_json::from_str(message.to_text().unwrap()).unwrap()
}

fn create(model: &str) -> Value {
    json!({"type": "response.create", "model": model, "input": "hi"})
}

fn begun(id: &str) -> Value {
    json!({"type": "response.created", "response": {"id": id, "status": "in_progress"}})
}

fn delta(text: &str) -> Value {
    json!({"type": "response.output_text.delta", "item_id": "i", "delta": text})
}

/// 1,000 and 500 tokens.
fn completed(id: &str) -> Value {
    json!({"type": "response.completed", "response": {"id": id, "status": "completed",
        "model": "gpt-4o-mini-2024-07-18", "usage": {"input_tokens": 1000, "output_tokens": 500,
        "input_tokens_details": {"cached_tokens": 0}, "total_tokens": 1500}}})
}

fn in_lane(lane: &str, mut event: Value) -> Value {
    event["stream_id"] = json!(lane);
    event
}

const RESPONSES: &str = "/v1/responses";
const REALTIME: &str = "/v1/realtime?model=gpt-realtime";
