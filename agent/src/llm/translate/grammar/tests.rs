use super::*;

fn sse(events: &[&str]) -> String {
    events.iter().map(|data| format!("data: {data}\n\n")).collect()
}

fn broken(wire: Wire, events: &[&str]) -> &'static str {
    check(wire, sse(events).as_bytes()).unwrap_err().what
}

#[test]
fn a_stream_has_to_end() {
    let chunk = r#"{"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}"#;
    assert_eq!(broken(Wire::Chat, &[chunk]), UNENDED);
    assert_eq!(broken(Wire::Chat, &[chunk, "[DONE]"]), "a choice does not end");
    for wire in [Wire::Chat, Wire::Responses, Wire::Messages, Wire::Gemini] {
        assert_eq!(broken(wire, &[]), UNENDED);
    }
    let cut = check(Wire::Chat, b"data: {}").unwrap_err();
    assert_eq!(cut.what, "the last event is cut off");
}

#[test]
fn blocks_of_a_message_do_not_overlap() {
    let start = r#"{"type":"message_start","message":{"id":"m","role":"assistant","model":"c","content":[],"usage":{"input_tokens":1}}}"#;
    let text =
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    let next =
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#;
    let thought = r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"x"}}"#;
    let end = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}"#;
    assert_eq!(broken(Wire::Messages, &[start, start]), "the message begins twice");
    assert_eq!(broken(Wire::Messages, &[start, text, next]), "a block begins inside another");
    assert_eq!(
        broken(Wire::Messages, &[start, text, thought]),
        "a delta is of another kind than its block"
    );
    assert_eq!(broken(Wire::Messages, &[start, text, end]), "the message ends inside a block");
    assert_eq!(broken(Wire::Messages, &[text]), "the message has not begun");
}

#[test]
fn a_response_is_numbered_and_complete() {
    let created = r#"{"type":"response.created","sequence_number":0,"response":{"id":"r","status":"in_progress"}}"#;
    let item = r#"{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"id":"i","type":"function_call"}}"#;
    let delta = r#"{"type":"response.function_call_arguments.delta","sequence_number":2,"output_index":0,"item_id":"i","delta":"{}"}"#;
    let done = r#"{"type":"response.output_item.done","sequence_number":3,"output_index":0,"item":{"id":"i","type":"function_call","name":"f","call_id":"c","arguments":""}}"#;
    assert_eq!(broken(Wire::Responses, &[created, delta]), "the sequence number is not the next");
    assert_eq!(
        broken(Wire::Responses, &[created, item, delta, done]),
        "the arguments are not what was streamed"
    );
}
