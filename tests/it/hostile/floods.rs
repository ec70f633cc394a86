//! HTTP/2 clients that spend nothing and would have the agent spend much.

use std::time::Duration;

use anyhow::ensure;
use harness::{Stage, on_stage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::raw::{say, tls};
use super::vitals::Vitals;

const WORK: Duration = Duration::from_secs(30);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types and flags of RFC 9113 §6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in pairs {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

/// A literal field without indexing (RFC 7541 §6.2.2); lengths below 127 only.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        bytes.push(u8::try_from(text.len()).expect("a short text"));
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// A request's header block; of the static table 2 is GET, 3 POST, 7 https (RFC 7541 appendix A).
fn block(method: u8, path: &str) -> Vec<u8> {
    let mut block = vec![0x80 | method, 0x87];
    block.extend(field(":authority", "api.openai.com"));
    block.extend(field(":path", path));
    block.extend(field("authorization", "Bearer sk-t"));
    block
}

/// What the last GOAWAY said; `None` where there was none.
fn goaway(mut heard: &[u8]) -> Option<u32> {
    let mut code = None;
    while let Some(head) = heard.get(..9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let payload = heard.get(9..9 + length)?;
        if head[3] == GOAWAY {
            code = Some(u32::from_be_bytes(payload.get(4..8)?.try_into().ok()?));
        }
        heard = &heard[9 + length..];
    }
    code
}

/// Says it after the preface, and returns all that came back until the connection was closed.
async fn flood(stage: &Stage, frames: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut stream = tls(stage, "h2").await?;
    say(&mut stream, &[PREFACE, &settings(&[]), frames].concat()).await
}

#[test]
fn floods_end_their_connection_and_nothing_else() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let vitals = Vitals::of(stage).await?;
        let mut resets = Vec::new();
        for stream in (1..20_000).step_by(2) {
            resets.extend(frame(
                HEADERS,
                END_STREAM | END_HEADERS,
                stream,
                &block(2, "/v1/models"),
            ));
            resets.extend(frame(RESET, 0, stream, &[0, 0, 0, 8]));
        }
        let mut continuations = frame(HEADERS, END_STREAM, 1, &block(2, "/v1/models"));
        for _ in 0..20_000 {
            continuations.extend(frame(CONTINUATION, 0, 1, &field("x-filler", &"x".repeat(100))));
        }
        // 11: ENHANCE_YOUR_CALM.
        for (what, frames, codes) in
            [("rapid reset", resets, &[11][..]), ("continuations", continuations, &[11])]
        {
            let heard = flood(stage, &frames).await.map_err(|error| error.context(what))?;
            // A connection that is reset takes the farewell with it.
            let code = goaway(&heard);
            ensure!(code.is_none_or(|code| codes.contains(&code)), "{what}: {code:?}");
            vitals.check(stage, WORK).await.map_err(|error| error.context(what))?;
        }
        Vitals::is_quiet(stage).await
    })
}

#[test]
fn answers_to_frames_do_not_pile_up() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let vitals = Vitals::of(stage).await?;
        let mut held = Vec::new();
        for frames in [frame(PING, 0, 0, &[7; 8]), settings(&[(4, 65_535)])] {
            let many = frames.repeat(3_000_000);
            let mut stream = tls(stage, "h2").await?;
            stream.write_all(&[PREFACE, &settings(&[])].concat()).await?;
            // Nothing of what is answered is read: at some point no more is taken.
            let sent = tokio::time::timeout(Duration::from_secs(5), stream.write_all(&many)).await;
            ensure!(!matches!(sent, Ok(Ok(()))), "all of {} bytes were taken", many.len());
            held.push(stream);
        }
        vitals.check(stage, WORK).await?;
        Vitals::is_quiet(stage).await
    })
}

#[test]
fn clients_that_do_not_read_hold_little() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let vitals = Vitals::of(stage).await?;
        let body = b"{\"model\":\"gpt-4o-mini\",\"messages\":[],\"stream\":true}";
        let before = stage.provider().stats().requests;
        let mut held = Vec::new();
        for _ in 0..4 {
            let mut stream = tls(stage, "h2").await?;
            // 4: INITIAL_WINDOW_SIZE of zero: no byte of any answer may be sent.
            let mut said = [PREFACE, &settings(&[(4, 0)])].concat();
            for id in (1..1200).step_by(2) {
                said.extend(frame(HEADERS, END_HEADERS, id, &block(3, "/v1/chat/completions")));
                said.extend(frame(DATA, END_STREAM, id, body));
            }
            stream.write_all(&said).await?;
            held.push(stream);
        }
        // What is over the limit of streams at a time is refused, and told so.
        let mut refused = 0;
        let mut piece = vec![0; 64 << 10];
        let counted = async {
            while refused < 300 {
                let count = held[0].read(&mut piece).await?;
                if count == 0 {
                    // Who goes on asking in vain is sent away.
                    break;
                }
                let code = &[0, 0, 0, 7];
                refused += piece[..count].windows(4).filter(|four| four == code).count();
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(Duration::from_mins(1), counted).await??;
        ensure!(refused >= 100, "{refused} were refused");
        vitals.check(stage, WORK).await?;
        let asked = stage.provider().stats().requests - before;
        ensure!(asked <= 4 * 256 + 2, "{asked} calls were made");
        drop(held);
        stage.settled(1).await?;
        vitals.check(stage, WORK).await?;
        Vitals::is_quiet(stage).await
    })
}

#[test]
fn headers_that_unfold_are_refused() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let vitals = Vitals::of(stage).await?;
        // A field of 4,000 bytes enters the dynamic table once, and is then named by one byte.
        let value = "x".repeat(4000);
        let mut stored = vec![0x40, 1, b'x', 0x7f];
        // RFC 7541 §5.1: 4000 as 127 and the rest, 3873, in groups of seven bits, the low one first.
        stored.extend([0x80 | 0x21, 0x1e]);
        stored.extend(value.as_bytes());
        let mut said = Vec::new();
        for id in (1..200).step_by(2) {
            let mut bomb = block(2, "/v1/models");
            bomb.extend(&stored);
            bomb.extend(vec![0xbe; 8000]);
            said.extend(frame(HEADERS, END_STREAM | END_HEADERS, id, &bomb));
        }
        let before = stage.provider().stats().requests;
        let mut stream = tls(stage, "h2").await?;
        // It may be over before all is said.
        drop(stream.write_all(&[PREFACE, &settings(&[]), &said].concat()).await);
        let mut piece = vec![0; 4096];
        let answered = tokio::time::timeout(Duration::from_mins(1), stream.read(&mut piece));
        drop(answered.await?);
        vitals.check(stage, WORK).await?;
        // None of them was passed on.
        assert_eq!(stage.provider().stats().requests, before + 2);
        drop(stream);
        Vitals::is_quiet(stage).await
    })
}
