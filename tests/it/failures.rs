//! What goes wrong at either end reaches the other end as it is, and the record says so.

use std::net::SocketAddr;

use agent::demo::mock::{Ending, Script};
use harness::{BYSTANDER, Manner, Origin, Output, Provider, Route, Stage, curl, on_stage, until};
use serde_json::{Value, json};

/// With the usage asked for: the agent, which would ask for it, changes nothing.
const STREAM: &str = "{\"model\":\"gpt-4o-mini\",\"stream\":true,\
    \"stream_options\":{\"include_usage\":true},\"messages\":\
    [{\"role\":\"user\",\"content\":\"Tell me everything you know.\"}]}";

const UNARY: &str = "{\"model\":\"gpt-4o-mini\",\"messages\":\
    [{\"role\":\"user\",\"content\":\"Tell me everything you know.\"}]}";

#[test]
fn a_provider_that_does_not_listen_looks_like_one() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        stage.provider().listen(false);
        until("a refused connection", async || {
            let direct = stage.run(Route::Direct, &curl(&[])).await?;
            Ok((direct.code == Some(7)).then_some(()))
        })
        .await?;
        let output = stage.run(Route::Redirect, &curl(&[])).await?;
        // Refused, or reset once TLS had begun; 60 would be a certificate that is not accepted.
        assert!(matches!(output.code, Some(7 | 35 | 56)), "{output:?}");
        let process = stage.process(output.pid).await?;
        assert_eq!(process["connections"][0]["reason"], "connect", "{process}");
        assert_eq!(stage.metric::<u64>("weir_tls_trust_failures_total", "").await?, 0);
        Ok(())
    })
}

#[test]
fn a_provider_with_a_foreign_certificate_is_told_nothing() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let other = Provider::start().await?;
        let ca = stage.scratch().join("other-ca.pem");
        std::fs::write(&ca, other.ca_pem())?;
        let config = stage.config().with(&["providers", "openai", "ca_file"], json!(ca));
        stage.start(&config).await?;
        for route in [Route::Redirect, Route::Proxy] {
            let output = stage.run(route, &curl(&[])).await?;
            assert_eq!(output.code, Some(22), "{route:?}");
            assert!(output.stdout.contains("upstream_certificate"), "{}", output.stdout);
            let process = stage.process(output.pid).await?;
            assert_eq!(process["connections"][0]["reason"], "upstream_certificate", "{process}");
        }
        let output = stage.run(Route::Direct, &curl(&[GATEWAY])).await?;
        assert_eq!(output.code, Some(22), "{}", output.stdout);
        assert!(output.stdout.contains("weir"), "it is ours: {}", output.stdout);
        assert_eq!(stage.provider().stats().requests, 0);
        Ok(())
    })
}

#[test]
fn an_answer_that_is_cut_is_cut_at_the_same_byte_for_the_client() -> anyhow::Result<()> {
    on_stage(async |stage| {
        stage.provider().standing(ending(Ending::Cut { after: 3 }));
        let config = stage.config();
        stage.start(&config).await?;
        for (flag, code) in [("--http1.1", 18), ("--http2", 92)] {
            for body in [STREAM, UNARY] {
                let words = curl(&[flag, "-d", body]);
                let direct = stage.run(Route::Direct, &words).await?;
                let output = stage.run(Route::Redirect, &words).await?;
                assert_eq!((direct.code, output.code), (Some(code), Some(code)), "{output:?}");
                let (came, sent) = (output.stdout.len(), direct.stdout.len());
                assert!(came == sent && sent > 0, "{flag}: {came} of {sent} bytes");
            }
        }
        for call in stage.settled(4).await? {
            assert_eq!(call["outcome"], "upstream_cut");
            assert_eq!(call["usage_source"], "estimated");
            assert!(call["output_tokens"].as_u64() > Some(0), "{call}");
            assert!(call["cost_usd"].is_string(), "{call}");
        }
        assert_eq!(stage.metric::<u64>("weir_estimated_settlements_total", "").await?, 4);
        Ok(())
    })
}

#[test]
fn a_client_that_leaves_ends_the_call_at_the_provider_too() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let slow = Script { pace: MOMENT, chunks: 10_000, ..Script::default() };
        stage.provider().standing(slow);
        let config = stage.config();
        stage.start(&config).await?;
        let words = curl(&["--http1.1", "-N", "-d", STREAM]);
        let mut client = stage.command(Route::Redirect, &words)?.spawn()?;
        until("the stream", async || Ok((stage.provider().stats().billed == 1).then_some(())))
            .await?;
        client.kill().await?;
        let calls = stage.settled(1).await?;
        assert_eq!(calls[0]["outcome"], "client_abort");
        assert_eq!(calls[0]["usage_source"], "estimated");
        until("the end of the connection", async || Ok((established(443)? == 0).then_some(())))
            .await
    })
}

#[test]
fn errors_are_passed_on_and_told_apart() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let limited = Ending::Status { code: 429, retry_after: Some(7) };
        for (end, code, outcome, status) in [
            (limited, 22, "rate_limited", 429),
            (Ending::Status { code: 500, retry_after: None }, 22, "upstream_error", 500),
            (Ending::Status { code: 400, retry_after: None }, 22, "upstream_error", 400),
            (Ending::ErrorEvent { after: 2 }, 0, "stream_error", 200),
        ] {
            stage.provider().once(ending(end));
            let output = stage.run(Route::Redirect, &curl(&["-i", "-d", STREAM])).await?;
            assert_eq!(output.code, Some(code), "{outcome}: {}", output.stderr);
            assert!(output.stdout.contains("\"error\""), "{}", output.stdout);
            let has_pause = output.stdout.contains("retry-after: 7");
            assert_eq!(has_pause, end == limited, "{}", output.stdout);
            let call = of(stage, &output).await?;
            assert_eq!((&call["outcome"], &call["status"]), (&json!(outcome), &json!(status)));
        }
        Ok(())
    })
}

#[test]
fn a_body_over_the_limit_is_forwarded_whole_and_unread() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config().with(&["limits", "request_body"], json!("4KiB"));
        stage.start(&config).await?;
        let filler = "x".repeat(10_000);
        let body = json!({"model": "gpt-4o-mini", "messages": [], "user": filler}).to_string();
        let output = stage.succeed(Route::Redirect, &curl(&["-d", &body])).await?;
        let call = of(stage, &output).await?;
        assert_eq!(call["kind"], "opaque", "{call}");
        assert_eq!(call["flags"], json!(["body_unread"]), "{call}");
        let seen = stage.provider().seen();
        assert_eq!(seen.last().map(|seen| &seen.body[..]), Some(body.as_bytes()));
        Ok(())
    })
}

#[test]
fn a_websocket_passes_through() -> anyhow::Result<()> {
    const TALK: &str = "
import socket
with socket.create_connection(('127.0.0.1', 4180)) as s, s.makefile('rw', newline='') as f:
    f.write('GET /local/v1/realtime HTTP/1.1\\r\\nhost: 127.0.0.1:4180\\r\\n'
            'connection: Upgrade\\r\\nupgrade: websocket\\r\\nsec-websocket-version: 13\\r\\n'
            'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n\\r\\n')
    f.flush()
    while (line := f.readline()) != '\\r\\n':
        print(line.strip().lower())
    f.write('anybody there?\\n')
    f.flush()
    print(f.readline().strip())
";
    on_stage(async |stage| {
        let model = Origin::start(SocketAddr::new(BYSTANDER.1, 8080), Manner::Http).await?;
        let local = json!({
            "hosts": [BYSTANDER.0], "format": "openai",
            "base_url": "http://bystander.example:8080/v1",
        });
        let config = stage.config().with(&["providers", "local"], local);
        stage.start(&config).await?;
        let output = stage.succeed(Route::Direct, &["python3", "-c", TALK]).await?;
        assert!(output.stdout.starts_with("http/1.1 101 "), "{}", output.stdout);
        assert!(output.stdout.ends_with("\nanybody there?\n"), "{}", output.stdout);
        let heads = model.heads().concat().to_ascii_lowercase();
        assert!(heads.contains("sec-websocket-key: dghlihnhbxbszsbub25jzq=="), "{heads}");
        let call = of(stage, &output).await?;
        assert_eq!((&call["kind"], &call["status"]), (&json!("opaque"), &json!(101)));
        Ok(())
    })
}

const GATEWAY: &str = "http://127.0.0.1:4180/openai/v1/chat/completions";
const MOMENT: std::time::Duration = std::time::Duration::from_millis(20);

fn ending(ending: Ending) -> Script {
    Script { ending, ..Script::default() }
}

/// The one call that a client made, once it has ended.
async fn of(stage: &Stage, client: &Output) -> anyhow::Result<Value> {
    until("the client's call", async || {
        let calls = stage.calls().await?;
        let ended = |call: &Value| call["pid"] == client.pid && !call["outcome"].is_null();
        Ok(calls.into_iter().find(ended))
    })
    .await
}

/// TCP connections of this namespace whose far end has the port (`/proc/PID/net/tcp`: the third
/// field is the far end, the fourth the state, 01 is established).
fn established(port: u16) -> anyhow::Result<usize> {
    let far = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp")?;
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    Ok(rows.filter(|row| row.len() > 3 && row[2].ends_with(&far) && row[3] == "01").count())
}
