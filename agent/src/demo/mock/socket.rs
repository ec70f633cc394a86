//! The mock over WebSocket: OpenAI's Responses, in lanes, and Realtime.
//!
//! Each `response.create` is answered by a script as a request over HTTP is. What is asked in one
//! lane (`stream_id`) is answered in turn, lanes run side by side
//! (<https://developers.openai.com/api/docs/guides/websocket-mode>).

use std::net::SocketAddr;

use std::collections::HashMap;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::{Message, protocol::Role};

use super::ask::Ask;
use super::control::{Control, Seen};
use super::openai;
use super::script::{Ending, Script};
use super::transcript::{Answer, Body, Cut, Transcript};
use crate::drain::Drain;

/// Lanes one socket may have, as the real API.
const LANES: usize = 32;
/// Messages that wait in a lane, or for the client to read.
const WAITING: usize = 64;

/// Whether a request opens a WebSocket.
pub(super) fn is_wanted(head: &http::request::Parts) -> bool {
    let websocket = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    head.headers.get(UPGRADE).is_some_and(websocket)
        && matches!(head.uri.path(), "/v1/responses" | "/v1/realtime")
}

/// Answers the handshake; the talk goes on by itself.
pub(super) fn open(
    mut request: Request<Incoming>,
    peer: Option<SocketAddr>,
    (control, drain): (Control, &Drain),
) -> Response<Body> {
    let upgraded = hyper::upgrade::on(&mut request);
    let key = request.headers().get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let accept = derive_accept_key(key.unwrap_or_default());
    let (head, _no_body) = request.into_parts();
    let host = head.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default().to_owned();
    control.requested(Seen {
        method: head.method.clone(),
        path: head.uri.to_string(),
        headers: head.headers.clone(),
        body: bytes::Bytes::new(),
        version: head.version,
        peer,
    });
    let tasks = drain.clone();
    drain.spawn(async move {
        let Ok(upgraded) = upgraded.await else { return };
        let io = TokioIo::new(upgraded);
        let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
        let (sink, stream) = socket.split();
        let (say, said) = mpsc::channel(WAITING);
        tasks.spawn(speak(sink, said));
        let query = head.uri.query().unwrap_or_default();
        let model = query.split('&').find_map(|pair| pair.strip_prefix("model="));
        let talk = Talk {
            is_realtime: head.uri.path() == "/v1/realtime",
            model: model.unwrap_or("gpt-realtime").to_owned(),
            headers: head.headers,
            host,
            peer,
            control,
            say,
        };
        talk.listen(stream, &tasks).await;
    });
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let fields = response.headers_mut();
    fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
    fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&accept) {
        fields.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// Writes what the lanes say, until one of them is cut.
async fn speak(
    mut sink: SplitSink<WebSocketStream<TokioIo<Upgraded>>, Message>,
    mut said: mpsc::Receiver<Result<Message, Cut>>,
) {
    while let Some(Ok(message)) = said.recv().await {
        if sink.send(message).await.is_err() {
            return;
        }
    }
}

/// One socket.
#[derive(Clone)]
struct Talk {
    is_realtime: bool,
    model: String,
    headers: HeaderMap,
    host: String,
    peer: Option<SocketAddr>,
    control: Control,
    say: mpsc::Sender<Result<Message, Cut>>,
}

impl Talk {
    async fn listen(
        self,
        mut stream: SplitStream<WebSocketStream<TokioIo<Upgraded>>>,
        tasks: &Drain,
    ) {
        if self.is_realtime {
            let session = json!({"type": "realtime", "id": "sess_1", "model": self.model,
                "max_output_tokens": 4096});
            let event = json!({"type": "session.created", "event_id": "event_1",
                "session": session});
            drop(self.tell(&event).await);
        }
        let mut lanes: HashMap<Option<String>, mpsc::Sender<Value>> = HashMap::new();
        // Ends with the client, or where the speaker has cut the connection.
        let ended = self.say.clone();
        loop {
            let message = tokio::select! {
                message = stream.next() => message,
                () = ended.closed() => return,
            };
            let Some(Ok(message)) = message else { return };
            // A close is answered by reading on, until nothing more comes.
            let Message::Text(text) = message else { continue };
            let Ok(message) = serde_json::from_str::<Value>(&text) else { continue };
            if message["type"] != "response.create" {
                continue;
            }
            let lane = message["stream_id"].as_str().map(str::to_owned);
            if !lanes.contains_key(&lane) {
                if lanes.len() == LANES {
                    drop(self.tell(&failed(400, lane.as_deref())).await);
                    continue;
                }
                let (ask, asked) = mpsc::channel(WAITING);
                tasks.spawn(self.clone().answer(asked));
                lanes.insert(lane.clone(), ask);
            }
            if let Some(ask) = lanes.get(&lane)
                && ask.send(message).await.is_err()
            {
                return;
            }
        }
    }

    /// Answers what is asked in one lane.
    async fn answer(self, mut asked: mpsc::Receiver<Value>) {
        while let Some(message) = asked.recv().await {
            if self.play(message).await.is_err() {
                drop(self.say.send(Err(Cut)).await);
                return;
            }
        }
    }

    async fn play(&self, mut message: Value) -> Result<(), Cut> {
        let lane = message["stream_id"].as_str().map(str::to_owned);
        if self.is_realtime {
            message["model"] = json!(self.model);
        }
        message["stream"] = json!(true);
        let body = message.to_string();
        let ask = Ask::of(&Method::POST, "/v1/responses", &self.headers, body.as_bytes());
        let serial = self.control.requested(Seen {
            method: Method::GET,
            path: if self.is_realtime { "/v1/realtime" } else { "/v1/responses" }.to_owned(),
            headers: self.headers.clone(),
            body: body.into(),
            version: http::Version::HTTP_11,
            peer: self.peer,
        });
        let (script, queued) = self.control.next_script(&self.host);
        let named = ask.model.strip_prefix("mock:").filter(|_| !queued);
        let script = named.map_or(Ok(script), |text| script.amended(text));
        let Ok(script) = script else { return self.tell(&failed(400, lane.as_deref())).await };
        tokio::time::sleep(script.delay).await;
        match script.ending {
            Ending::Hangup => return Err(Cut),
            Ending::Hang => return std::future::pending().await,
            Ending::Status { code, .. } => return self.tell(&failed(code, lane.as_deref())).await,
            Ending::Whole | Ending::ErrorEvent { .. } | Ending::Cut { .. } => {}
        }
        self.control.bill(script.tokens);
        let transcript = if self.is_realtime {
            openai::realtime(script.tokens, serial)
        } else {
            match openai::answer(&ask, script.tokens, serial) {
                Answer::Stream(transcript) => transcript,
                Answer::Unary(_) => return Ok(()),
            }
        };
        for event in events(&transcript, &script) {
            let mut event = event?;
            if let Some(lane) = &lane {
                event["stream_id"] = json!(lane);
            }
            self.tell(&event).await?;
            if !script.pace.is_zero() {
                tokio::time::sleep(script.pace).await;
            }
        }
        Ok(())
    }

    async fn tell(&self, event: &Value) -> Result<(), Cut> {
        self.say.send(Ok(Message::text(event.to_string()))).await.map_err(|_gone| Cut)
    }
}

/// The events of an answer, as far as the script lets them come.
fn events(told: &Transcript, script: &Script) -> impl Iterator<Item = Result<Value, Cut>> {
    let deltas = usize::try_from(script.chunks).unwrap_or(usize::MAX);
    let (content, end) = match script.ending {
        Ending::Cut { after } => (after, Some(Err(Cut))),
        Ending::ErrorEvent { after } => (after, Some(Ok(document(&told.error)))),
        _ => (script.chunks, None),
    };
    let content = usize::try_from(content).unwrap_or(usize::MAX).min(deltas);
    let before = told.before.iter().map(document).map(Ok);
    let deltas = std::iter::repeat_with(|| Ok(document(&told.delta))).take(content);
    let after = if end.is_some() { &[][..] } else { &told.after[..] };
    before.chain(deltas).chain(after.iter().map(document).map(Ok)).chain(end)
}

/// What stands in an event of a stream.
fn document(event: &bytes::Bytes) -> Value {
    let text = std::str::from_utf8(event).unwrap_or_default();
    let data = text.lines().find_map(|line| line.strip_prefix("data: "));
    data.and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default()
}

fn failed(status: u16, lane: Option<&str>) -> Value {
    let mut event = openai::error(status);
    event["type"] = json!("error");
    event["status"] = json!(status);
    if let Some(lane) = lane {
        event["stream_id"] = json!(lane);
    }
    event
}
