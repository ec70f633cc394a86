//! Events as they happen: what is told, to whom, and how one goes on after a break.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::BytesMut;
use harness::{Route, Stage, curl, on_stage};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{ADMIN, AS_NOBODY, NOBODY, Session, one_each, open, over_http, request, rows};

/// What has not come by then does not come.
const LONGEST: Duration = Duration::from_secs(30);

/// One frame of a stream.
#[derive(Debug, Clone, PartialEq)]
struct Frame {
    id: Option<u64>,
    event: String,
    data: Value,
}

/// Somebody who listens.
struct Listener {
    body: Incoming,
    read: BytesMut,
}

impl Listener {
    async fn open(session: &Session, path: &str, headers: &[(&str, &str)]) -> anyhow::Result<Self> {
        let headers = [headers, &[session.header()]].concat();
        let stream = TcpStream::connect(ADMIN).await?;
        let answer = open(stream, request("GET", path, &headers, "")?).await?;
        ensure!(answer.status() == 200, "{answer:?}");
        let kind = answer.headers().get("content-type").context("a content type")?;
        ensure!(kind == "text/event-stream", "{kind:?}");
        Ok(Self { body: answer.into_body(), read: BytesMut::new() })
    }

    /// The next frame, comments aside; `None` where the stream has ended.
    async fn next(&mut self) -> anyhow::Result<Option<Frame>> {
        loop {
            let text = std::str::from_utf8(&self.read)?;
            if let Some(end) = text.find("\n\n") {
                let frame = text[..end].to_owned();
                drop(self.read.split_to(end + 2));
                if frame.starts_with(':') {
                    continue;
                }
                return frame_of(&frame).map(Some);
            }
            let more = timeout(LONGEST, self.body.frame()).await.context("nothing came")?;
            match more.transpose()? {
                Some(more) => self.read.extend(more.into_data().unwrap_or_default()),
                None => return Ok(None),
            }
        }
    }

    /// The next frame of a kind; others are passed over.
    async fn of(&mut self, kind: &str) -> anyhow::Result<Frame> {
        loop {
            let frame = self.next().await?.with_context(|| format!("the end before {kind}"))?;
            if frame.event == kind {
                return Ok(frame);
            }
        }
    }
}

fn frame_of(text: &str) -> anyhow::Result<Frame> {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim_start)
    };
    let id = field("id").map(str::parse).transpose()?;
    let event = field("event").context("an event")?.to_owned();
    let data = serde_json::from_str(field("data").context("data")?)?;
    Ok(Frame { id, event, data })
}

async fn call(stage: &Stage) -> anyhow::Result<()> {
    stage.succeed(Route::Redirect, &curl(&[])).await.map(drop)
}

#[test]
fn calls_are_told_as_they_end_and_again_to_whoever_comes_back() -> anyhow::Result<()> {
    on_stage(async |stage| {
        one_each(stage).await?;
        let session = Session::begin(stage).await?;
        let mut first = Listener::open(&session, "/api/events/stream", &[]).await?;
        call(stage).await?;
        let told = first.of("call").await?;
        let event = &told.data;
        assert_eq!((event["id"].as_u64(), &event["kind"]), (told.id, &json!("call")));
        let calls = stage.settled(3).await?;
        assert_eq!(event["data"], calls[2], "as /api/calls has it");
        let whose = (&event["workload"], &event["uid"]);
        assert_eq!(whose, (&json!("exe:curl"), &json!(0)));

        // Away for two calls, then back, by either way of saying so.
        drop(first);
        call(stage).await?;
        call(stage).await?;
        let calls = stage.settled(5).await?;
        let last = told.id.context("an id")?.to_string();
        let query = format!("/api/events/stream?after={last}");
        for (path, headers) in [
            ("/api/events/stream", &[("last-event-id", &*last)][..]),
            ("/api/events/stream?after=1", &[("last-event-id", &*last)]),
            (&query, &[]),
        ] {
            let mut again = Listener::open(&session, path, headers).await?;
            let mut id = told.id;
            for call in &calls[3..] {
                let frame = again.of("call").await?;
                assert_eq!(&frame.data["data"], call);
                ensure!(frame.id > id, "{frame:?} after {id:?}");
                id = frame.id;
            }
        }

        // The same as a list, in pages.
        let mut listed = Vec::new();
        let mut after = told.id.context("an id")? - 1;
        loop {
            let path = format!("/api/analytics/events?agent_id=exe:curl&limit=1&after={after}");
            let page = session.get(&path).await?;
            listed.extend(rows(&page)?.iter().map(|event| event["data"]["call_id"].clone()));
            let Some(next) = page["next"].as_u64() else { break };
            after = next;
        }
        let made: Vec<_> = calls[2..].iter().map(|call| call["call_id"].clone()).collect();
        assert_eq!(listed, made);

        // Of an agent that ran before, nobody knows how many.
        let mut stranger = Listener::open(&session, "/api/events/stream?after=7", &[]).await?;
        let missed = stranger.next().await?.context("a frame")?;
        assert_eq!((missed.event.as_str(), &missed.data), ("missed", &json!({"missed": 1})));
        assert_eq!(stranger.of("call").await?.data["data"], calls[0]);
        for nonsense in ["x", "-1", "1.5"] {
            let headers = [("last-event-id", nonsense), session.header()];
            over_http("GET", "/api/events/stream", &headers).await?.problem(400)?;
        }
        Ok(())
    })
}

#[test]
fn changes_of_state_are_told() -> anyhow::Result<()> {
    on_stage(async |stage| {
        // A call costs more than a hundredth of it, and can't cost more than all of it.
        let budget = json!({"daily_limit_usd": 0.02, "alert_at_percent": 1});
        let config =
            stage.config().with(&["mode"], json!("enforce")).with(&["budgets", "curl"], budget);
        stage.start(&config).await?;
        let session = Session::begin(stage).await?;
        let mut heard = Listener::open(&session, "/api/events/stream", &[]).await?;

        stage.told(&["policy", "shadow", "budgets.curl"]).await?;
        let policy = heard.of("policy").await?.data["data"].take();
        let shadow =
            json!({"policy": "budgets.curl", "enforcement": "shadow", "configured": "enforce"});
        assert_eq!(policy, shadow);
        stage.told(&["policy", "reset", "budgets.curl"]).await?;
        assert_eq!(heard.of("policy").await?.data["data"]["enforcement"], "enforce");

        stage.told(&["breaker", "trip", "openai"]).await?;
        let breaker = heard.of("breaker").await?.data["data"].take();
        assert_eq!((&breaker["name"], &breaker["state"]), (&json!("openai"), &json!("open")));
        stage.told(&["breaker", "reset", "openai"]).await?;
        assert_eq!(heard.of("breaker").await?.data["data"]["state"], "closed");

        call(stage).await?;
        let budget = heard.of("budget").await?.data["data"].take();
        assert_eq!(budget["policy"], "budgets.curl");
        assert_eq!(budget["topic"], "budget_threshold");

        stage.told(&["config", "reload"]).await?;
        let config = heard.of("config").await?.data["data"].take();
        assert_eq!((&config["ok"], &config["problems"]), (&json!(true), &json!([])));

        stage.told(&["down"]).await?;
        assert_eq!(heard.of("capture").await?.data["data"]["on"], false);
        stage.told(&["up"]).await?;
        assert_eq!(heard.of("capture").await?.data["data"]["on"], true);
        let observe = session.put("/api/mode", r#"{"mode": "observe"}"#).await?;
        ensure!(observe.status == 200, "{observe:?}");
        assert_eq!(heard.of("mode").await?.data["data"]["wanted"], "observe");
        Ok(())
    })
}

#[test]
fn users_hear_of_their_own_calls_until_their_session_ends() -> anyhow::Result<()> {
    on_stage(async |stage| {
        one_each(stage).await?;
        let user = Session::of_nobody(stage).await?;
        let mut heard = Listener::open(&user, "/api/events/stream", &[]).await?;
        // What is root's, and what is administrators' to know.
        call(stage).await?;
        stage.told(&["breaker", "trip", "anthropic"]).await?;
        let words = curl(&[]);
        stage.succeed(Route::Redirect, &[&AS_NOBODY[..], &words].concat()).await?;
        let frame = heard.next().await?.context("a frame")?;
        assert_eq!((frame.event.as_str(), &frame.data["uid"]), ("call", &json!(NOBODY)));

        let ended = over_http("DELETE", "/api/session", &[user.header()]).await?;
        ensure!(ended.status == 204, "{ended:?}");
        stage.succeed(Route::Redirect, &[&AS_NOBODY[..], &words].concat()).await?;
        assert_eq!(heard.next().await?, None, "the stream has ended, too");
        Ok(())
    })
}

#[test]
fn a_listener_that_does_not_read_holds_up_nobody() -> anyhow::Result<()> {
    on_stage(async |stage| {
        one_each(stage).await?;
        let session = Session::begin(stage).await?;
        let mut deaf = Listener::open(&session, "/api/events/stream", &[]).await?;
        // More than a socket's buffers hold: a call's event is more than 1 KB.
        let many = [
            "curl",
            "-sS",
            "--fail",
            "--parallel",
            "--parallel-max",
            "8",
            "-H",
            "authorization: Bearer sk-test",
            "-d",
            "{\"model\":\"gpt-4o-mini\",\"messages\":[]}",
            "-o",
            "/dev/null",
            "--http1.1",
            "https://api.openai.com/v1/chat/completions?n=[1-300]",
        ];
        stage.succeed(Route::Redirect, &many).await?;
        assert_eq!(stage.settled(302).await?.len(), 302);
        // It hears all of it once it listens.
        for _ in 0..300 {
            deaf.of("call").await?;
        }
        Ok(())
    })
}
