//! Sessions, whose responses nobody may have asked for.

use super::*;

#[tokio::test(start_paused = true)]
async fn realtime_is_metered_with_its_audio() {
    let mut talk = talk(REALTIME).await;
    let session = json!({"type": "session.created", "session": {"model": "gpt-realtime"}});
    talk.hears_all(&[session]).await;
    let ask = json!({"type": "response.create", "event_id": "e1"});
    talk.asks(&ask).await;
    assert_eq!(talk.asked().await, ask);
    let done = |id: &str| {
        json!({"type": "response.done", "response": {"id": id, "status": "completed", "usage": {
        "total_tokens": 300, "input_tokens": 200, "output_tokens": 100,
        "input_token_details": {"text_tokens": 80, "audio_tokens": 120, "cached_tokens": 50,
            "cached_tokens_details": {"text_tokens": 30, "audio_tokens": 20}},
        "output_token_details": {"text_tokens": 40, "audio_tokens": 60}}}})
    };
    talk.hears_all(&[begun("r1")]).await;
    let audio =
        json!({"type": "response.output_audio.delta", "response_id": "r1", "delta": "AAAA"});
    talk.hears_all(&[audio, done("r1")]).await;
    // What a user says makes the provider answer by itself.
    talk.hears_all(&[begun("r2"), done("r2")]).await;
    let (calls, socket) = talk.over().await;
    assert_eq!(calls.len(), 2);
    for call in &calls {
        assert_eq!((&*call.operation, call.model.as_deref()), ("realtime", Some("gpt-realtime")));
        let usage = call.usage;
        assert_eq!((usage.input, usage.cache_read, usage.audio_input), (50, 50, 100));
        assert_eq!((usage.output, usage.audio_output), (40, 60));
        // 50 × $4 + 50 × $0.40 + 100 × $32 + 40 × $16 + 60 × $64 per million.
        assert_eq!(call.cost.map(|cost| cost.0), Some(7_900_000));
    }
    assert!(calls[1].decisions.iter().any(|decision| &*decision.action == "unasked"));
    assert_eq!(socket.kind, Kind::Request);
}

#[tokio::test(start_paused = true)]
async fn a_realtime_response_that_nobody_asked_for_is_cancelled_where_a_policy_refuses_it() {
    let limit = rule("rate_limits", per_minute(1), OnBreach::Deny);
    let mut talk = talk_under(REALTIME, Records::default(), vec![limit]).await;
    talk.hears_all(&[begun("r1")]).await;
    talk.answers(&[begun("r2")]).await;
    let cancel = talk.asked().await;
    assert_eq!(cancel, json!({"type": "response.cancel", "response_id": "r2"}));
    let (first, second) = (talk.hears().await, talk.hears().await);
    assert_eq!(first, begun("r2"));
    assert_eq!(second["error"]["code"], "rate_limit_exceeded");
    assert!(second["event_id"].is_string());
    let cancelled = json!({"type": "response.done", "response": {"id": "r2",
        "status": "cancelled", "usage": {"input_tokens": 10, "output_tokens": 0}}});
    talk.hears_all(&[cancelled]).await;
    let calls = talk.calls();
    assert_eq!((calls[0].outcome, calls[0].usage.input), (Outcome::Refused, 10));
}

#[tokio::test(start_paused = true)]
async fn transcripts_leave_the_socket_opaque() {
    let mut talk = talk(REALTIME).await;
    let beside = json!({"type": "conversation.item.input_audio_transcription.completed",
        "usage": {"type": "duration", "seconds": 3}});
    talk.hears_all(&[beside]).await;
    let (calls, socket) = talk.over().await;
    assert_eq!((calls.len(), socket.kind), (0, Kind::Opaque));
}
