//! TLS as nobody should speak it: what can be understood is served, all else ends, and soon.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::ensure;
use harness::{Route, on_stage, until};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::raw::{say, status, trusting, tunnel};
use super::vitals::{Vitals, faults};

const WORK: Duration = Duration::from_secs(20);

/// Cuts the first record (the hello) into many small ones, each sent in pieces.
struct Shredded {
    stream: TcpStream,
    pending: Option<(Vec<u8>, usize)>,
    begun: bool,
}

impl AsyncRead for Shredded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Shredded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.begun {
            self.begun = true;
            let mut records = Vec::new();
            for piece in data[5..].chunks(29) {
                records.extend([data[0], data[1], data[2], 0, u8::try_from(piece.len()).unwrap()]);
                records.extend(piece);
            }
            self.pending = Some((records, 0));
        }
        while let Some((records, sent)) = self.pending.take() {
            let until = records.len().min(sent + 7);
            match Pin::new(&mut self.stream).poll_write(cx, &records[sent..until]) {
                Poll::Ready(Ok(count)) if sent + count < records.len() => {
                    self.pending = Some((records, sent + count));
                }
                Poll::Ready(Ok(_)) => return Poll::Ready(Ok(data.len())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.pending = Some((records, sent));
                    return Poll::Pending;
                }
            }
        }
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[test]
fn a_hello_in_many_pieces_is_a_hello() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let stream = Shredded { stream: tunnel().await?, pending: None, begun: false };
        let config = trusting(&stage.daemon()?.root(), "http/1.1")?;
        let name = ServerName::try_from("api.openai.com")?;
        let mut tls = TlsConnector::from(config).connect(name, stream).await?;
        let asked = b"GET /v1/models HTTP/1.1\r\nhost: api.openai.com\r\n\
            authorization: Bearer sk-t\r\nconnection: close\r\n\r\n";
        let answer = say(&mut tls, asked).await?;
        assert_eq!(status(&answer), Some(200), "{}", String::from_utf8_lossy(&answer));
        assert_eq!(stage.settled(1).await?[0]["outcome"], "ok");
        Ok(())
    })
}

#[test]
fn what_is_no_hello_ends() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let vitals = Vitals::of(stage).await?;
        let huge = [&[22, 3, 1, 0x40, 0, 1, 0, 0x7f, 0xff, 3, 3][..], &vec![1; 40_000]].concat();
        let version = [&[22, 3, 9, 0, 100, 1, 0, 0, 96, 3, 9][..], &[1; 100]].concat();
        for (what, said) in [
            ("huge", &huge[..]),
            (
                "SSLv2",
                b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80\x02\x00\x80\x03\x00\x80",
            ),
            ("an unknown version", &version),
            ("an alert", b"\x15\x03\x01\x00\x02\x02\x28"),
            ("half a hello", &huge[..200]),
            ("a record of nothing", b"\x16\x03\x01\x00\x00"),
            ("another handshake", b"\x16\x03\x01\x00\x04\x02\x00\x00\x00"),
            ("nothing", b""),
        ] {
            for _ in 0..20 {
                let mut stream = tunnel().await?;
                drop(stream.write_all(said).await);
                drop(stream.shutdown().await);
                say(&mut stream, b"").await.map_err(|error| error.context(what))?;
            }
        }
        vitals.check(stage, WORK).await?;
        Vitals::is_quiet(stage).await
    })
}

#[test]
fn a_handshake_that_stops_is_given_up() -> anyhow::Result<()> {
    on_stage(async |stage| {
        let config = stage.config().with(&["limits", "handshake_timeout"], serde_json::json!("1s"));
        stage.start(&config).await?;
        let vitals = Vitals::of(stage).await?;
        // A whole hello, and never anything after it.
        let root = trusting(&stage.daemon()?.root(), "http/1.1")?;
        let mut hello = Vec::new();
        rustls::ClientConnection::new(root, ServerName::try_from("api.openai.com")?)?
            .write_tls(&mut hello)?;
        let mut held = Vec::new();
        for _ in 0..50 {
            let mut stream = tunnel().await?;
            stream.write_all(&hello).await?;
            held.push(stream);
        }
        vitals.check(stage, WORK).await?;
        until("the end of all of them", async || {
            Ok((faults(stage, "proxy", "handshake_timeout").await? == 50).then_some(()))
        })
        .await?;
        for stream in &mut held {
            ensure!(!say(stream, b"").await?.is_empty(), "our half of the handshake");
        }
        Vitals::is_quiet(stage).await
    })
}

#[test]
fn a_handshake_is_not_begun_anew_in_the_middle() -> anyhow::Result<()> {
    // `R` in a line of its own asks for a renegotiation.
    const TALK: &str = "(sleep 0.5; printf 'R\\n'; sleep 1; printf 'R\\n'; sleep 0.5) | \
        timeout 10 openssl s_client -tls1_2 -proxy 127.0.0.1:4180 -connect api.openai.com:443 \
        -servername api.openai.com 2>&1; true";
    on_stage(async |stage| {
        let config = stage.config();
        stage.start(&config).await?;
        let vitals = Vitals::of(stage).await?;
        let output = stage.succeed(Route::Direct, &["sh", "-c", TALK]).await?;
        ensure!(output.stdout.contains("RENEGOTIATING"), "{}", output.stdout);
        ensure!(output.stdout.contains("no renegotiation"), "{}", output.stdout);
        vitals.check(stage, WORK).await
    })
}
