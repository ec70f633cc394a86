//! Sockets over HTTP/2 (RFC 8441), where the provider is asked over HTTP/1.1.

use hyper::ext::Protocol;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;

#[tokio::test]
async fn a_socket_over_http2_is_metered_too() {
    let (tell, mut dialled) = mpsc::unbounded_channel();
    let scene = scene(Dialled(tell), Records::default());
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (context, drain) = (Arc::clone(&scene.context), Drain::new());
    let serving = drain.clone();
    drain.spawn(async move {
        let service = service_fn(|request: Request<Incoming>| {
            let answer = handle(Arc::clone(&context), request.map(Outgoing::through));
            async move { Ok::<_, std::convert::Infallible>(answer.await) }
        });
        let mut http = hyper::server::conn::http2::Builder::new(serving);
        http.enable_connect_protocol();
        drop(http.serve_connection(TokioIo::new(far), service).await);
    });
    let io = TokioIo::new(near);
    let (mut sender, mut connection) =
        hyper::client::conn::http2::handshake(drain.clone(), io).await.unwrap();
    // The server's settings have to come first.
    for _ in 0..1_000 {
        if connection.is_extended_connect_protocol_enabled() {
            break;
        }
        tokio::select! {
            ended = &mut connection => panic!("{ended:?}"),
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
    }
    drain.spawn(connection);
    let mut request = Request::new(http_body_util::Empty::<Bytes>::new());
    *request.method_mut() = hyper::Method::CONNECT;
    *request.uri_mut() = "https://api.openai.com/v1/responses".parse().unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, "Bearer sk-test".parse().unwrap());
    request.headers_mut().insert("sec-websocket-version", "13".parse().unwrap());
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    let provider = async { accepted(dialled.recv().await.unwrap()).await };
    let (response, (mut provider, seen)) = tokio::join!(sender.send_request(request), provider);
    let response = response.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key("sec-websocket-accept"));
    assert_eq!((seen.method(), seen.uri().path()), (&hyper::Method::GET, RESPONSES));
    assert_eq!(seen.headers()[header::HOST], "api.openai.com");
    let upgraded = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut client = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
    client.send(Message::text(create("gpt-4o-mini").to_string())).await.unwrap();
    provider.next().await.unwrap().unwrap();
    for event in [begun("r1"), completed("r1")] {
        provider.send(Message::text(event.to_string())).await.unwrap();
        assert_eq!(text(&client.next().await.unwrap().unwrap()), event);
    }
    client.close(None).await.unwrap();
    while provider.next().await.is_some_and(|message| message.is_ok()) {}
    drop(provider);
    let (calls, socket) = until_settled(&scene).await;
    assert_eq!(calls[0].cost.map(|cost| cost.0), Some(ANSWER_COST));
    assert_eq!((&*socket.method, socket.status), ("CONNECT", Some(101)));
}
