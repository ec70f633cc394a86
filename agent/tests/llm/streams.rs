//! A stream cut anywhere says the same and arrives the same; what can't be read arrives too.

use agent::llm::meter::{Encoding, Meter, MeterOptions};
use agent::llm::reading::Unread;
use bytes::Bytes;
use proptest::prelude::*;

use crate::transcript::{forward, golden, options, read, streams};

/// The body in pieces that end at the given places.
fn cut(body: &Bytes, at: &[usize]) -> Vec<Bytes> {
    let mut at: Vec<_> = at.iter().map(|at| at % (body.len() + 1)).collect();
    at.extend([0, body.len()]);
    at.sort_unstable();
    at.windows(2).map(|ends| body.slice(ends[0]..ends[1])).collect()
}

/// A transcript with other line ends.
fn with_line_ends(body: &Bytes, end: &str) -> Bytes {
    String::from_utf8(body.to_vec()).unwrap().replace('\n', end).into()
}

/// The event that `include_usage` adds, as it stands in the transcript.
fn usage_event(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).unwrap();
    let end = if text.contains("\r\n") {
        "\r\n"
    } else if text.contains('\r') {
        "\r"
    } else {
        "\n"
    };
    let blank = end.repeat(2);
    let event = text
        .split_inclusive(&blank)
        .find(|event| event.contains(r#""choices":[]"#) && event.contains(r#""usage":{"#));
    event.map(str::to_owned)
}

#[test]
fn the_last_event_is_held_and_everything_before_it_is_not() {
    for (file, last) in [
        ("chat-plain.sse", "data: [DONE]"),
        ("responses-plain.sse", "event: response.completed"),
        ("responses-incomplete.sse", "event: response.incomplete"),
        ("messages-tools.sse", "event: message_stop"),
        ("messages-error.sse", "event: error"),
    ] {
        let (forwarded, _) = forward(options(file), [golden(file)]);
        let held = String::from_utf8(forwarded.held).unwrap();
        assert!(held.starts_with(last), "{file}: {held}");
        assert_eq!(forwarded.content, 1, "{file}");
    }
}

#[test]
fn pieces_are_slices_of_what_came() {
    let body = golden("chat-plain.sse");
    let fed = Meter::new(options("chat-plain.sse")).feed(body.clone());
    assert_eq!(fed.release.as_ptr(), body.as_ptr());
    assert_eq!(fed.hold.as_ptr(), body[fed.release.len()..].as_ptr());
}

#[test]
fn only_the_chunk_we_caused_is_hidden() {
    for file in streams() {
        let body = golden(&file);
        let hiding = MeterOptions { hide_usage: true, ..options(&file) };
        let (forwarded, reading) = forward(hiding, [body.clone()]);
        let sent = String::from_utf8([forwarded.released, forwarded.held].concat()).unwrap();
        let hidden = usage_event(&body).unwrap_or_default();
        let expected = String::from_utf8(body.to_vec()).unwrap().replacen(&hidden, "", 1);
        assert_eq!(sent, expected, "{file}");
        assert_eq!(reading, read(&file), "{file}");
    }
    assert!(usage_event(&golden("chat-plain.sse")).is_some());
    assert!(usage_event(&golden("chat-usage-with-choice.sse")).is_none());
}

#[test]
fn a_stream_that_is_cut_off_is_estimated() {
    let body = golden("chat-plain.sse");
    let end = body.windows(7).position(|part| part == b"above i").unwrap();
    let (_, reading) = forward(options("chat-plain.sse"), [body.slice(..end)]);
    assert_eq!((reading.usage, reading.terminal), (None, false));
    // "A weir raises the water" has 23 bytes.
    assert_eq!(reading.estimate.output, 6);

    let body = golden("messages-cache.sse");
    let end = body.windows(13).position(|part| part == b"message_delta").unwrap();
    let (_, reading) = forward(options("messages-cache.sse"), [body.slice(..end)]);
    assert_eq!(reading.usage, None);
    // The input is known from the beginning, and how long it is cached; 2 tokens were counted and
    // 11 bytes said.
    let estimate = reading.estimate;
    assert_eq!((estimate.input, estimate.cache_read), (12, 1800));
    assert_eq!((estimate.cache_write_5m, estimate.cache_write_1h), (456, 100));
    assert_eq!(estimate.output, 2 + 3);
}

#[test]
fn what_cannot_be_read_says_why() {
    let unread = |options: MeterOptions, body: &[u8]| {
        let (forwarded, reading) = forward(options, [Bytes::copy_from_slice(body)]);
        assert_eq!(forwarded.released, body);
        assert_eq!(reading.usage, None);
        reading.unread
    };
    let whole = options("chat-plain.json");
    assert_eq!(unread(whole, b"{\"usage\": {\"prompt"), Some(Unread::NotJson));
    assert_eq!(unread(MeterOptions { status: 502, ..whole }, b"<html>"), None);
    assert_eq!(unread(whole, &vec![b' '; (16 << 20) + 1]), Some(Unread::TooLarge));
    let zstd = MeterOptions { encoding: Encoding::Other, ..whole };
    assert_eq!(unread(zstd, b"(\xb5/\xfd"), Some(Unread::Encoding));
    let gzip = MeterOptions { encoding: Encoding::Gzip, ..whole };
    assert_eq!(unread(gzip, b"not gzip at all"), Some(Unread::Corrupt));
}

#[test]
fn counts_that_make_no_sense_count_as_absent() {
    let body = r#"{"id": "x", "model": "gpt-4o", "choices": [], "usage": {
        "prompt_tokens": -5, "completion_tokens": 9223372036854775808, "total_tokens": "12",
        "prompt_tokens_details": {"cached_tokens": 1.5}, "completion_tokens_details": null}}"#;
    let (_, reading) = forward(options("chat-plain.json"), [Bytes::from(body)]);
    assert_eq!((reading.usage, reading.unread), (None, None));
}

#[test]
fn parts_larger_than_the_whole_are_cut_to_it() {
    let body = r#"{"model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 10,
        "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 30, "audio_tokens": 9},
        "completion_tokens_details": {"reasoning_tokens": 9, "audio_tokens": 1}}}"#;
    let (_, reading) = forward(options("chat-plain.json"), [Bytes::from(body)]);
    let usage = reading.usage.unwrap();
    assert_eq!((usage.input, usage.cache_read, usage.audio_input), (0, 10, 0));
    assert_eq!((usage.output, usage.reasoning, usage.audio_output), (0, 4, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_split_anywhere_says_and_forwards_the_same(
        file in prop::sample::select(streams()),
        end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        at in prop::collection::vec(any::<usize>(), 0..12),
        hide_usage in any::<bool>(),
    ) {
        let body = with_line_ends(&golden(&file), end);
        let options = MeterOptions { hide_usage, ..options(&file) };
        let (whole, expected) = forward(options, [body.clone()]);
        let (pieces, reading) = forward(options, cut(&body, &at));
        prop_assert_eq!(reading, expected);
        prop_assert_eq!(pieces.content, whole.content);
        let (pieces, whole) =
            ([pieces.released, pieces.held].concat(), [whole.released, whole.held].concat());
        prop_assert_eq!(&pieces, &whole);
        if !hide_usage {
            prop_assert_eq!(&pieces, &body);
        }
    }

    #[test]
    fn one_byte_at_a_time_says_and_forwards_the_same(file in prop::sample::select(streams())) {
        let body = golden(&file);
        let (forwarded, reading) = forward(options(&file), body.chunks(1).map(Bytes::copy_from_slice));
        prop_assert_eq!(reading, read(&file));
        prop_assert_eq!([forwarded.released, forwarded.held].concat(), body);
    }

    #[test]
    fn garbage_is_forwarded_and_never_panics(
        pieces in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..60),
                "(data: |event: |\\{|\\}|\"usage\":|\"choices\":\\[\\]|[0-9]{1,20}|,|\n|\r|null|\"){0,20}"
                    .prop_map(String::into_bytes),
            ],
            0..8,
        ),
        file in prop::sample::select(vec!["chat-x.sse", "responses-x.sse", "messages-x.sse", "chat-x.json"]),
        encoding in prop::sample::select(vec![
            Encoding::Identity, Encoding::Gzip, Encoding::Deflate, Encoding::Brotli,
        ]),
        hide_usage in any::<bool>(),
    ) {
        let options = MeterOptions { encoding, hide_usage, ..options(file) };
        let body = pieces.concat();
        let (forwarded, _) = forward(options, pieces.into_iter().map(Bytes::from));
        let sent = [forwarded.released, forwarded.held].concat();
        if !hide_usage || encoding != Encoding::Identity {
            prop_assert_eq!(sent, body);
        } else {
            prop_assert!(sent.len() <= body.len());
        }
    }
}
