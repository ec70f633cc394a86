//! What passes over a socket, and what becomes a call.

use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_response_is_a_call() {
    let mut talk = talk(RESPONSES).await;
    assert!(!talk.seen.headers().contains_key("sec-websocket-extensions"));
    assert_eq!(talk.seen.headers()[header::AUTHORIZATION], "Bearer sk-test");
    talk.asks(&create("gpt-4o-mini")).await;
    assert_eq!(talk.asked().await, create("gpt-4o-mini"));
    assert_eq!(talk.scene.records.opened.lock().len(), 1, "announced before it is sent");
    talk.hears_all(&[begun("r1")]).await;
    tokio::time::advance(Duration::from_millis(300)).await;
    talk.hears_all(&[delta("hello"), completed("r1")]).await;
    assert_eq!(talk.calls().len(), 1, "settled before the client hears of its end");

    talk.client.close(None).await.unwrap();
    while talk.provider.next().await.is_some_and(|message| message.is_ok()) {}
    let (calls, socket) = talk.over().await;
    let [call] = &calls[..] else { panic!("{calls:#?}") };
    assert_eq!((call.outcome, call.usage_source), (Outcome::Ok, UsageSource::Reported));
    assert_eq!(call.cost.map(|cost| cost.0), Some(ANSWER_COST));
    assert_eq!(call.model.as_deref(), Some("gpt-4o-mini"));
    assert_eq!(call.model_served.as_deref(), Some("gpt-4o-mini-2024-07-18"));
    assert_eq!((&*call.operation, &*call.path, call.status), ("responses", RESPONSES, Some(200)));
    assert!(call.stream && call.account.is_some());
    assert_eq!(call.ttft, Some(Duration::from_millis(300)));
    assert!(call.bytes_in > 0 && call.bytes_out > 0);
    assert_eq!((socket.outcome, socket.status), (Outcome::Ok, Some(101)));
    assert_eq!(socket.kind, Kind::Request);
}

#[tokio::test(start_paused = true)]
async fn calls_follow_one_another_and_run_side_by_side() {
    let mut talk = talk(RESPONSES).await;
    for id in ["r1", "r2"] {
        talk.asks(&create("gpt-4o-mini")).await;
        talk.asked().await;
        talk.hears_all(&[begun(id), completed(id)]).await;
    }
    for lane in ["a", "b"] {
        talk.asks(&in_lane(lane, create("gpt-4o-mini"))).await;
        talk.asked().await;
    }
    let events = [("b", begun("r4")), ("a", begun("r3")), ("a", delta("x")), ("b", delta("yy"))];
    talk.hears_all(&events.map(|(lane, event)| in_lane(lane, event))).await;
    talk.hears_all(&[in_lane("a", completed("r3"))]).await;
    assert_eq!(talk.calls().len(), 3);
    talk.hears_all(&[in_lane("b", completed("r4"))]).await;
    let (calls, _socket) = talk.over().await;
    let cost: i64 = calls.iter().filter_map(|call| call.cost).map(|cost| cost.0).sum();
    assert_eq!((calls.len(), cost), (4, 4 * ANSWER_COST));
    assert!(calls.iter().all(|call| call.outcome == Outcome::Ok));
}

#[tokio::test(start_paused = true)]
async fn the_last_event_waits_for_the_record() {
    let records = Records { withhold: true, ..Records::default() };
    let mut talk = talk_under(RESPONSES, records, Vec::new()).await;
    talk.asks(&create("gpt-4o-mini")).await;
    talk.asked().await;
    talk.hears_all(&[begun("r1"), delta("x")]).await;
    talk.answers(&[completed("r1")]).await;
    let early = tokio::time::timeout(Duration::from_millis(40), talk.client.next()).await;
    assert!(early.is_err(), "released before the record was safe");
    for tell in talk.scene.records.withheld.lock().drain(..) {
        tell.send(Durability::Kept).unwrap();
    }
    assert_eq!(talk.hears().await, completed("r1"));
    assert_eq!(talk.scene.records.unconfirmed.load(Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_asked_of_a_model_passes_as_it_is() {
    let mut talk = talk(RESPONSES).await;
    for message in [
        Message::text("no json"),
        Message::text(r#"{"type":"response.steer","input":[]}"#),
        Message::binary(vec![7; 3000]),
        Message::text("x".repeat(700)),
        Message::Ping("a".into()),
    ] {
        talk.client.send(message.clone()).await.unwrap();
        assert_eq!(talk.provider.next().await.unwrap().unwrap(), message);
        if matches!(message, Message::Ping(_)) {
            continue;
        }
        talk.provider.send(message.clone()).await.unwrap();
        let heard = talk.client.next().await.unwrap().unwrap();
        // The provider's library answers the ping by itself.
        let heard =
            if heard.is_pong() { talk.client.next().await.unwrap().unwrap() } else { heard };
        assert_eq!(heard, message);
    }
    let reason = CloseFrame { code: CloseCode::Library(4001), reason: "enough".into() };
    talk.provider.send(Message::Close(Some(reason.clone()))).await.unwrap();
    let closed = loop {
        match talk.client.next().await.unwrap().unwrap() {
            Message::Pong(_) => {}
            other => break other,
        }
    };
    assert_eq!(closed, Message::Close(Some(reason)));
    let (calls, socket) = talk.over().await;
    assert_eq!((calls.len(), socket.outcome), (0, Outcome::Ok));
    assert!(socket.bytes_in > 3000 && socket.bytes_out > 3000);
}

#[tokio::test(start_paused = true)]
async fn an_error_ends_the_call_it_is_about() {
    let mut talk = talk(RESPONSES).await;
    for (status, code) in [(400, "previous_response_not_found"), (429, "rate_limit_exceeded")] {
        talk.asks(&create("gpt-4o-mini")).await;
        talk.asked().await;
        let error = json!({"type": "error", "status": status, "error": {"code": code}});
        talk.hears_all(&[error]).await;
    }
    talk.asks(&create("gpt-4o-mini")).await;
    talk.asked().await;
    let failed = json!({"type": "response.failed",
        "response": {"id": "r3", "status": "failed", "error": {"code": "server_error"}}});
    talk.hears_all(&[begun("r3"), delta("x"), failed]).await;
    let (calls, _socket) = talk.over().await;
    let outcomes: Vec<_> = calls.iter().map(|call| (call.outcome, call.status)).collect();
    let expected = [
        (Outcome::UpstreamError, Some(400)),
        (Outcome::RateLimited, Some(429)),
        (Outcome::StreamError, Some(200)),
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(calls[0].cost.map(|cost| cost.0), Some(0));
    assert_eq!(calls[0].error.as_deref(), Some("previous_response_not_found"));
    assert_eq!(calls[2].usage_source, UsageSource::Estimated);
}

#[tokio::test(start_paused = true)]
async fn other_sockets_are_relayed_unread() {
    let mut talk = talk("/v1/live").await;
    assert!(talk.seen.headers().contains_key("sec-websocket-extensions"), "nothing is changed");
    talk.asks(&create("gpt-4o-mini")).await;
    talk.asked().await;
    talk.hears_all(&[begun("r1"), completed("r1")]).await;
    let (calls, socket) = talk.over().await;
    assert_eq!((calls.len(), socket.kind), (0, Kind::Opaque));
}

#[tokio::test(start_paused = true)]
async fn a_quiet_socket_is_closed_when_the_agent_stops_and_a_busy_one_after_its_call() {
    let mut talk = talk(RESPONSES).await;
    talk.asks(&create("gpt-4o-mini")).await;
    talk.asked().await;
    talk.hears_all(&[begun("r1")]).await;
    talk.scene.context.drain.signal();
    talk.hears_all(&[delta("x"), completed("r1")]).await;
    let Message::Close(Some(why)) = talk.client.next().await.unwrap().unwrap() else {
        panic!("no close frame")
    };
    assert_eq!(why.code, CloseCode::Away);
    let (calls, socket) = until_settled(&talk.scene).await;
    assert_eq!((calls.len(), calls[0].outcome, socket.outcome), (1, Outcome::Ok, Outcome::Ok));
}
