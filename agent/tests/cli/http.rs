//! The same server over TCP, where nobody is known.

use std::io::{Read, Write};
use std::time::Duration;

use crate::fake::{Stage, id};

/// The status and the body of the answer to a request over TCP.
pub(crate) fn http(stage: &Stage, request: &str) -> (u16, String) {
    let stream = std::net::TcpStream::connect(stage.http).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    exchange(stream, request)
}

fn exchange(mut stream: impl Read + Write, request: &str) -> (u16, String) {
    let lines = format!("{}\r\nconnection: close\r\n\r\n", request.replace('\n', "\r\n"));
    stream.write_all(lines.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn over_http_only_what_anyone_may_see() {
    let stage = Stage::new();
    let get = |path: &str| http(&stage, &format!("GET {path} HTTP/1.1\nhost: localhost"));
    assert_eq!(get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(get("/readyz").0, 200);
    assert!(get("/metrics").1.contains("llm_calls_total 1"));
    let (status, body) = get("/api/status");
    assert_eq!(status, 200);
    assert!(body.contains("\"state\":\"healthy\"") && !body.contains("today"), "{body}");
    assert_eq!(get("/api/prices?model=gpt-5").0, 200);
    for path in ["/api/calls", "/api/calls?follow=1", "/api/spend", "/api/processes"] {
        assert_eq!(get(path).0, 401, "{path}");
    }
    assert_eq!(get(&format!("/api/calls/{}", id(1).0)).0, 401);
    assert_eq!(get("/api/nothing").0, 404);
    assert_eq!(get("/api/prices?colour=red").0, 400);
    let put = "PUT /api/mode HTTP/1.1\nhost: localhost\ncontent-type: application/json\n\
               content-length: 14\n\n{\"mode\":\"off\"}";
    assert_eq!(http(&stage, put).0, 401);
    assert_eq!(http(&stage, "GET /metrics HTTP/1.1\nhost: rebound.test").0, 403);
    let foreign = "GET /metrics HTTP/1.1\nhost: localhost\norigin: http://evil.test";
    assert_eq!(http(&stage, foreign).0, 403);
    assert_eq!(stage.run("mode off").ok(), "off\n");
    assert_eq!(get("/readyz"), (503, "off\n".to_owned()));
}

#[test]
fn a_path_that_is_no_text_is_a_problem_like_any_other() {
    let stage = Stage::new();
    let over_socket = |line: &str| {
        let stream = std::os::unix::net::UnixStream::connect(stage.socket()).unwrap();
        let json = "host: weir\ncontent-type: application/json\ncontent-length: 2";
        exchange(stream, &format!("{line} HTTP/1.1\n{json}\n\n{{}}"))
    };
    for line in [
        "GET /assets/%FF",
        "GET /api/calls/%FF",
        "GET /api/policies/%FF",
        "GET /api/breakers/%FF",
        "GET /api/analytics/agents/%FF",
        "PUT /api/policies/%FF",
        "PUT /api/breakers/%FF",
        "PUT /api/frozen/%FF",
        "PUT /api/escalations/%FF",
        "PUT /api/webhooks/%FF/test",
    ] {
        let (status, body) = over_socket(line);
        assert!(status == 400 && body.contains("UTF-8"), "{line}: {status} {body}");
        assert!(body.starts_with("{\"type\":\"about:blank\""), "{line}: {body}");
    }
}

#[test]
fn an_export_ends_now_where_it_is_not_told() {
    let stage = Stage::new();
    let export = |query: &str| {
        let stream = std::os::unix::net::UnixStream::connect(stage.socket()).unwrap();
        let (status, body) =
            exchange(stream, &format!("GET /api/analytics/export{query} HTTP/1.1\nhost: weir"));
        assert_eq!(status, 200, "{body}");
        body.matches("\"call_id\"").count()
    };
    // For the made-up agent it is a few hours before its calls.
    assert_eq!(export(""), 0);
    assert_eq!(export("?since=2019-01-01T00:00:00Z"), 0);
    assert_eq!(export("?until=2020-01-03T00:00:00Z"), 4);
}

#[test]
fn metrics_can_be_guarded_by_a_token() {
    let stage = Stage::with_token(Some("s3cret\n"));
    let request = "GET /metrics HTTP/1.1\nhost: 127.0.0.1";
    assert_eq!(http(&stage, request).0, 401);
    assert_eq!(http(&stage, &format!("{request}\nauthorization: Bearer wrong")).0, 401);
    assert_eq!(http(&stage, &format!("{request}\nauthorization: Bearer s3cret")).0, 200);
    assert_eq!(http(&stage, "GET /healthz HTTP/1.1\nhost: localhost").0, 200);
}
