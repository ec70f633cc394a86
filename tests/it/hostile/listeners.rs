//! Scanners, nonsense, slow and oversized requests, at every door.

use std::io::ErrorKind;
use std::time::Duration;

use anyhow::{Context, ensure};
use harness::{Stage, on_stage, until};
use serde_json::json;
use tokio::net::TcpStream;

use super::raw::{ADMIN, Door, PROXY, drip, end, say, status};
use super::vitals::{Vitals, faults};

const WORK: Duration = Duration::from_secs(20);

/// Starts with limits that a test can wait for.
async fn start(stage: &mut Stage) -> anyhow::Result<Vitals> {
    let config = stage.config().with(&["limits", "header_timeout"], json!("1s"));
    stage.start(&config).await?;
    Vitals::of(stage).await
}

#[test]
fn whoever_connects_and_says_nothing_is_let_go() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let vitals = start(stage).await?;
        for address in [PROXY, ADMIN] {
            for _ in 0..200 {
                drop(TcpStream::connect(address).await?);
            }
        }
        let mut silent = Vec::new();
        for _ in 0..50 {
            silent.push(TcpStream::connect(PROXY).await?);
        }
        vitals.check(stage, WORK).await?;
        for stream in &mut silent {
            assert_eq!(end(stream).await?, b"", "closed without a word");
        }
        ensure!(faults(stage, "proxy", "silent").await? >= 50);
        Vitals::is_quiet(stage).await
    })
}

#[test]
fn whoever_finds_the_intercepting_port_is_reset() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let vitals = start(stage).await?;
        let status = stage.daemon()?.read(&["status"]).await?;
        let listeners = status["listeners"].as_array().context("listeners")?;
        let intercept = listeners.iter().find(|it| it["name"] == "intercept").context("one")?;
        let address: std::net::SocketAddr =
            intercept["address"].as_str().context("an address")?.parse()?;
        for said in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &[0x16, 3, 1, 2, 0, 1]] {
            for _ in 0..50 {
                // It may be over before it is known to have begun.
                let Ok(mut stream) = TcpStream::connect(address).await else { continue };
                assert_eq!(say(&mut stream, said).await?, b"");
            }
        }
        assert_eq!(faults(stage, "intercept", "not_redirected").await?, 150);
        vitals.check(stage, WORK).await
    })
}

#[test]
fn nonsense_is_answered_with_400_or_not_at_all() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let vitals = start(stage).await?;
        let mut random = fastrand::Rng::with_seed(7);
        let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(4096).collect();
        let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 600]].concat();
        for door in Door::ALL {
            for said in [&noise[..], &hello, &[0; 4096], b"\r\n\r\nHELO me\r\n\r\n", b"{}\n\n"] {
                let mut stream = door.open(stage).await?;
                let answer = say(&mut *stream, said).await?;
                let status = status(&answer);
                ensure!(matches!(status, None | Some(400)), "{door:?}: {status:?} to {said:?}");
            }
            ensure!(faults(stage, door.word(), "malformed").await? >= 3, "{door:?}");
        }
        vitals.check(stage, WORK).await?;
        Vitals::is_quiet(stage).await
    })
}

#[test]
fn slow_heads_hold_no_place() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let vitals = start(stage).await?;
        let every = Duration::from_millis(250);
        let mut slow = tokio::task::JoinSet::new();
        for door in [Door::Proxy, Door::Inside] {
            for _ in 0..60 {
                let mut stream = door.open(stage).await?;
                slow.spawn(async move {
                    drip(&mut *stream, b"GET /v1/models HTTP/1.1\r\nx-slow: ", every).await
                });
            }
        }
        // Each of their bytes would buy more time, if time were counted from the last one.
        tokio::time::sleep(Duration::from_millis(500)).await;
        vitals.check(stage, WORK).await?;
        while let Some(took) = slow.join_next().await {
            let took = took??;
            ensure!(took < Duration::from_secs(8), "held for {took:?}");
        }
        ensure!(faults(stage, "proxy", "header_timeout").await? >= 120);
        Vitals::is_quiet(stage).await
    })
}

#[test]
fn the_slow_do_not_keep_others_from_metrics() -> anyhow::Result<()> {
    on_stage(async |stage| {
        start(stage).await?;
        let mut slow = tokio::task::JoinSet::new();
        for _ in 0..200 {
            let mut stream = Door::Admin.open(stage).await?;
            slow.spawn(async move {
                drip(&mut *stream, b"GET /metrics HTTP/1.1\r\nx: ", Duration::from_secs(1)).await
            });
        }
        for _ in 0..20 {
            let mut reader = Door::Admin.open(stage).await?;
            let asked = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
            let answer = say(&mut *reader, asked).await?;
            assert_eq!(status(&answer), Some(200), "{}", String::from_utf8_lossy(&answer));
        }
        ensure!(faults(stage, "admin", "crowded_out").await? >= 130);
        // The rest go when their time for a head is over.
        while let Some(took) = slow.join_next().await {
            ensure!(took?? < Duration::from_secs(18));
        }
        ensure!(faults(stage, "admin", "header_timeout").await? >= 1);
        Vitals::is_quiet(stage).await
    })
}

#[test]
fn what_is_too_large_is_refused() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let vitals = start(stage).await?;
        let long = "a".repeat(2 << 20);
        let many = "x-filler: 1\r\n".repeat(5000);
        let forms = [
            ("target", format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n")),
            ("method", format!("{long} / HTTP/1.1\r\nhost: localhost\r\n\r\n")),
            ("field", format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\n\r\n")),
            ("name", format!("GET / HTTP/1.1\r\nhost: localhost\r\n{long}: x\r\n\r\n")),
            ("fields", format!("GET / HTTP/1.1\r\nhost: localhost\r\n{many}\r\n")),
        ];
        for door in Door::ALL {
            for (what, said) in &forms {
                let mut stream = door.open(stage).await?;
                let answer = say(&mut *stream, said.as_bytes()).await?;
                // Where the answer was overtaken by the reset that follows it, there is none.
                let status = status(&answer);
                ensure!(
                    matches!(status, None | Some(400 | 414 | 431)),
                    "{door:?}, {what}: {status:?}"
                );
            }
            ensure!(faults(stage, door.word(), "too_large").await? >= 3, "{door:?}");
        }
        let before = stage.provider().stats().requests;
        vitals.check(stage, WORK).await?;
        assert_eq!(stage.provider().stats().requests, before + 2, "only what is checked with");
        Ok(())
    })
}

#[test]
fn the_explicit_port_keeps_places_for_other_users() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage
            .config()
            .with(&["limits", "connections"], json!(40))
            .with(&["limits", "header_timeout"], json!("20s"));
        stage.start(&config).await?;
        let mut held = Vec::new();
        for _ in 0..31 {
            held.push(TcpStream::connect(PROXY).await?);
        }
        // They are looked at side by side: any of them may be the one too many.
        let refused = until("a refusal", async || {
            for stream in &held {
                let mut answer = [0; 256];
                match stream.try_read(&mut answer) {
                    Ok(length) => return Ok(status(&answer[..length])),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Ok(None)
        })
        .await?;
        assert_eq!(refused, 503);
        ensure!(faults(stage, "proxy", "user_limit").await? >= 1);
        // Another user's client is served.
        let asked = "curl -s -o /dev/null -w %{http_code} http://127.0.0.1:4180/nowhere";
        let words = ["setpriv", "--reuid=65534", "--clear-groups", "sh", "-c", asked];
        let output = stage.run(harness::Route::Direct, &words).await?;
        assert_eq!(output.stdout, "404", "{output:?}");
        Ok(())
    })
}
