//! HTTP/2 towards clients: who leaves is heard of at once, and who does not read fills nothing.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::dialled::Dialled;
use super::*;
use crate::record::{Outcome, UsageSource};

type Sender = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

/// A client's connection, and the provider's side of those it leads to.
async fn connected() -> (Sender, mpsc::UnboundedReceiver<DuplexStream>, Scene) {
    let (tell, dialled) = mpsc::unbounded_channel();
    let scene = scene(Dialled(tell), Records::default());
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (context, drain) = (Arc::clone(&scene.context), Drain::new());
    let serving = drain.clone();
    drain.spawn(async move {
        let service = service_fn(|request: Request<Incoming>| {
            let answer = handle(Arc::clone(&context), request.map(Outgoing::through));
            async move { Ok::<_, std::convert::Infallible>(answer.await) }
        });
        let http = hyper::server::conn::http2::Builder::new(serving);
        drop(http.serve_connection(TokioIo::new(far), service).await);
    });
    let (sender, connection) =
        hyper::client::conn::http2::handshake(drain.clone(), TokioIo::new(near)).await.unwrap();
    drain.spawn(connection);
    (sender, dialled, scene)
}

fn ask() -> Request<Full<Bytes>> {
    Request::post("https://api.openai.com/v1/chat/completions")
        .body(Full::new(Bytes::from_static(ASK_STREAM.as_bytes())))
        .unwrap()
}

/// Reads the request, and begins to answer it with a stream.
async fn begin_answer(provider: &mut DuplexStream) {
    let mut came = Vec::new();
    while !came.ends_with(ASK_STREAM.as_bytes()) {
        assert!(provider.read_buf(&mut came).await.unwrap() > 0, "the request is not whole");
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    provider.write_all(head.as_bytes()).await.unwrap();
}

async fn settled(scene: &Scene) -> Arc<Record> {
    for _ in 0..1_000 {
        if let Some(record) = scene.records.settled.lock().first() {
            return Arc::clone(record);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("the call was never settled")
}

#[tokio::test]
async fn a_reset_by_the_client_ends_the_call_at_the_provider() {
    let (mut sender, mut dialled, scene) = connected().await;
    let asking = sender.send_request(ask());
    let playing = async {
        let mut provider = dialled.recv().await.unwrap();
        begin_answer(&mut provider).await;
        provider.write_all(CHUNK.as_bytes()).await.unwrap();
        provider
    };
    let (response, mut provider) = tokio::join!(asking, playing);
    let mut body = response.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), CHUNK);
    // hyper tells the server by RST_STREAM.
    drop(body);
    let ended = tokio::time::timeout(Duration::from_secs(5), provider.read_u8()).await;
    assert!(ended.expect("told at once").is_err(), "the provider's connection is closed");
    let record = settled(&scene).await;
    assert_eq!(
        (record.outcome, record.usage_source),
        (Outcome::ClientAbort, UsageSource::Estimated)
    );
}

#[tokio::test]
async fn a_reset_before_the_answer_ends_the_call_too() {
    let (mut sender, mut dialled, scene) = connected().await;
    let asking = sender.send_request(ask());
    let mut provider = {
        let asking = std::pin::pin!(asking);
        let reached = async {
            let mut provider = dialled.recv().await.unwrap();
            let mut came = Vec::new();
            while !came.ends_with(ASK_STREAM.as_bytes()) {
                assert!(provider.read_buf(&mut came).await.unwrap() > 0);
            }
            provider
        };
        tokio::select! {
            answer = asking => panic!("{answer:?}"),
            provider = reached => provider,
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(5), provider.read_u8()).await;
    assert!(ended.expect("told at once").is_err());
    assert_eq!(settled(&scene).await.outcome, Outcome::ClientAbort);
}

/// What a client does not read stays with the provider, but for what the windows and buffers on
/// the way hold.
#[tokio::test]
async fn an_answer_that_is_not_read_fills_no_memory() {
    // The client's own window is two of these.
    const MOST: usize = 4 << 20;
    let (mut sender, mut dialled, scene) = connected().await;
    let asking = sender.send_request(ask());
    let playing = async {
        let mut provider = dialled.recv().await.unwrap();
        begin_answer(&mut provider).await;
        provider
    };
    let (response, mut provider) = tokio::join!(asking, playing);
    let response = response.unwrap();
    let event = format!("data: {{\"x\":\"{}\"}}\n\n", "y".repeat(16 * 1024));
    let mut taken = 0;
    for _ in 0..(100 << 20) / event.len() {
        let write = provider.write_all(event.as_bytes());
        match tokio::time::timeout(Duration::from_millis(500), write).await {
            Ok(written) => written.unwrap(),
            Err(_nothing_is_taken_any_more) => break,
        }
        taken += event.len();
    }
    assert!(taken < MOST, "{taken} bytes were taken for a client that reads nothing");
    drop(response);
    assert_eq!(settled(&scene).await.outcome, Outcome::ClientAbort);
}
