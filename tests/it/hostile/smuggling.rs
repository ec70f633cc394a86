//! Requests whose end two readers could see in different places: none reaches the provider but
//! those that the agent knows of.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::ensure;
use harness::on_stage;

use super::raw::{Door, say};
use super::vitals::{Vitals, faults};

const HEAD: &str = "POST /v1/chat/completions HTTP/1.1\r\nhost: api.openai.com\r\n\
    authorization: Bearer sk-t\r\n";
const HIDDEN: &str = "GET /v1/hidden HTTP/1.1\r\nhost: api.openai.com\r\n\r\n";

/// A request, and which of the answers it may get (0: closed without one).
fn forms() -> Vec<(&'static str, String, &'static [u16])> {
    const BAD: &[u16] = &[400];
    let post = |fields: &str, body: &str| format!("{HEAD}{fields}\r\n{body}");
    let chunked = |body: &str| post("transfer-encoding: chunked\r\n", body);
    let get = |line: &str, fields: &str| format!("{line}\r\n{fields}connection: close\r\n\r\n");
    let host = "host: api.openai.com\r\n";
    vec![
        (
            "CL.TE",
            post(
                "content-length: 5\r\ntransfer-encoding: chunked\r\n",
                &format!("0\r\n\r\n{HIDDEN}"),
            ),
            // RFC 9112 §6.3: the coding counts, and nothing after it is read.
            &[200],
        ),
        ("two lengths", post("content-length: 2\r\ncontent-length: 60\r\n", "{}"), BAD),
        ("a list of lengths", post("content-length: 2, 60\r\n", "{}"), BAD),
        ("a signed length", post("content-length: +2\r\n", "{}"), BAD),
        ("a hexadecimal length", post("content-length: 0x2\r\n", "{}"), BAD),
        ("a negative length", post("content-length: -2\r\n", "{}"), BAD),
        ("an endless length", post("content-length: 99999999999999999999999\r\n", "{}"), BAD),
        ("an unknown coding", post("transfer-encoding: xchunked\r\n", "0\r\n\r\n"), BAD),
        ("a coding not last", post("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"), BAD),
        (
            "TE in HTTP/1.0",
            format!(
                "POST /v1/chat/completions HTTP/1.0\r\n{host}transfer-encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            BAD,
        ),
        ("a folded field", post("x-one: 1\r\n two\r\ncontent-length: 0\r\n", ""), BAD),
        ("a blank before the colon", post("content-length : 0\r\n", ""), BAD),
        ("a zero in a field", post("x-one: a\0b\r\ncontent-length: 0\r\n", ""), BAD),
        ("a bare return", post("x-one: a\rx-two: b\r\ncontent-length: 0\r\n", ""), BAD),
        ("a chunk of no size", chunked("zz\r\n{}\r\n0\r\n\r\n"), BAD),
        ("a chunk of negative size", chunked("-2\r\n{}\r\n0\r\n\r\n"), BAD),
        ("a chunk of any size", chunked("ffffffffffffffff1\r\n{}\r\n0\r\n\r\n"), BAD),
        ("a chunk longer than it says", chunked("2\r\n{}abc\r\n0\r\n\r\n"), BAD),
        (
            "a long chunk extension",
            chunked(&format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(200_000))),
            BAD,
        ),
        ("no host", get("GET /v1/models HTTP/1.1", ""), BAD),
        ("two hosts", get("GET /v1/models HTTP/1.1", &host.repeat(2)), BAD),
        ("another host", get("GET /v1/models HTTP/1.1", "host: api.anthropic.com\r\n"), &[421]),
        (
            "another host with blanks",
            get("GET /v1/models HTTP/1.1", "host: api.openai.com api.anthropic.com\r\n"),
            &[400, 421],
        ),
        ("another target", get("GET https://api.anthropic.com/v1/models HTTP/1.1", host), &[421]),
        (
            "a user in the target",
            get("GET https://api.openai.com@evil.example/ HTTP/1.1", host),
            &[400, 421],
        ),
        ("an unknown version", get("GET /v1/models HTTP/9.9", host), &[0, 400, 505]),
        ("HTTP/2 unasked for", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), &[0, 400, 505]),
    ]
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let vitals = Vitals::of(stage).await?;
        let before = stage.provider().stats().requests;
        for (what, said, allowed) in forms() {
            let mut stream = Door::Inside.open(stage).await?;
            // A misdirected request leaves the connection as it is: another may follow openly.
            let goes_on = allowed.contains(&421);
            let last = if goes_on { said } else { format!("{said}{HIDDEN}") };
            let heard = say(&mut *stream, last.as_bytes()).await;
            let answer = heard.map_err(|error| error.context(what))?;
            let status = super::raw::status(&answer).unwrap_or(0);
            let text = String::from_utf8_lossy(&answer);
            ensure!(allowed.contains(&status), "{what}: {status}\n{text}");
        }
        ensure!(faults(stage, "proxy", "misdirected").await? >= 2);
        let seen = stage.provider().seen();
        ensure!(!seen.iter().any(|seen| seen.path.contains("hidden")), "{seen:?}");
        assert_eq!(stage.provider().stats().requests, before + 1, "one had one meaning");
        vitals.check(stage, Duration::from_secs(20)).await
    })
}

#[test]
fn lenient_forms_reach_the_provider_in_strict_ones() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let body = "{\"model\":\"gpt-4o-mini\",\"messages\":[]}";
        let length = body.len();
        let chunks = format!("{length:x};a=b\r\n{body}\r\n0\r\nx-trailer: 1\r\n\r\n");
        let close = "connection: close\r\n";
        for (what, said) in [
            (
                "TE.CL",
                format!(
                    "{HEAD}{close}transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n{chunks}"
                ),
            ),
            (
                "the same length twice",
                format!(
                    "{HEAD}{close}content-length: {length}\r\ncontent-length: {length}\r\n\r\n{body}"
                ),
            ),
            (
                "bare newlines",
                format!("{HEAD}{close}content-length: {length}\r\n\r\n{body}")
                    .replace("\r\n", "\n"),
            ),
            (
                "a chunk extension",
                format!("{HEAD}{close}transfer-encoding: chunked\r\n\r\n{chunks}"),
            ),
        ] {
            let mut stream = Door::Inside.open(stage).await?;
            let answer = say(&mut *stream, said.as_bytes()).await?;
            let text = String::from_utf8_lossy(&answer);
            ensure!(text.starts_with("HTTP/1.1 200"), "{what}: {text}");
            let seen = stage.provider().seen();
            let last = seen.last().expect("a request");
            ensure!(last.body == body.as_bytes(), "{what}: another body");
        }
        assert_eq!(stage.provider().stats().requests, 4);
        assert_eq!(stage.settled(4).await?.len(), 4);
        Ok(())
    })
}

#[test]
fn pipelined_requests_are_answered_in_order() -> anyhow::Result<()> {
    const COUNT: usize = 100;
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let vitals = Vitals::of(stage).await?;
        let before = stage.provider().stats().requests;
        let mut all = String::new();
        for number in 0..COUNT {
            let body =
                format!("{{\"model\":\"gpt-4o-mini\",\"messages\":[],\"user\":\"u{number}\"}}");
            let close = if number + 1 == COUNT { "connection: close\r\n" } else { "" };
            write!(all, "{HEAD}{close}content-length: {}\r\n\r\n{body}", body.len())?;
        }
        let mut stream = Door::Inside.open(stage).await?;
        let answer = say(&mut *stream, all.as_bytes()).await?;
        let text = String::from_utf8_lossy(&answer);
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), COUNT);
        let seen = stage.provider().seen();
        let bodies = seen.iter().rev().take(COUNT).rev().enumerate();
        for (number, seen) in bodies {
            let body = String::from_utf8_lossy(&seen.body);
            ensure!(body.contains(&format!("\"u{number}\"")), "{number}: {body}");
        }
        assert_eq!(stage.provider().stats().requests, before + COUNT as u64);
        stage.settled(COUNT + 1).await?;
        vitals.check(stage, Duration::from_secs(30)).await
    })
}
