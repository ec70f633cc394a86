//! Asking for the usage of a stream on behalf of a client that did not.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use serde::de::MapAccess;
use serde_json::value::RawValue;

use crate::llm::json::{self, Shape, Value};

/// The body with `stream_options.include_usage` set, byte for byte the same elsewhere.
///
/// `None` where there is nothing to do: no stream is asked for, the client asks for usage itself,
/// or the body is not what it should be (the provider will say so).
pub fn inject_usage(body: &Bytes) -> Option<Bytes> {
    let open = body.iter().position(|byte| !byte.is_ascii_whitespace())?;
    let fields: Fields<'_> = json::read(body).ok()?;
    if fields.stream != Some(true) {
        return None;
    }
    let edit = match fields.options {
        // Before the other members: there are some, as `stream` is one.
        None => Edit::insert(open + 1, r#""stream_options":{"include_usage":true},"#),
        Some(options) => in_options(body, options)?,
    };
    let mut edited = BytesMut::with_capacity(body.len() + edit.text.len());
    edited.extend_from_slice(&body[..edit.at.start]);
    edited.extend_from_slice(edit.text.as_bytes());
    edited.extend_from_slice(&body[edit.at.end..]);
    Some(edited.freeze())
}

/// One replacement in a body.
struct Edit {
    at: Range<usize>,
    text: &'static str,
}

impl Edit {
    fn insert(at: usize, text: &'static str) -> Self {
        Self { at: at..at, text }
    }
}

fn in_options(body: &[u8], options: &RawValue) -> Option<Edit> {
    let at = span(body, options);
    if options.get() == "null" {
        return Some(Edit { at, text: r#"{"include_usage":true}"# });
    }
    let members: Options<'_> = json::read(options.get().as_bytes()).ok()?;
    match members.include_usage {
        Some(flag) if flag.get() == "true" => None,
        Some(flag) if matches!(flag.get(), "false" | "null") => {
            let within = span(options.get().as_bytes(), flag);
            Some(Edit { at: at.start + within.start..at.start + within.end, text: "true" })
        }
        Some(_) => None,
        None if !options.get().starts_with('{') => None,
        None if members.any => Some(Edit::insert(at.start + 1, r#""include_usage":true,"#)),
        None => Some(Edit::insert(at.start + 1, r#""include_usage":true"#)),
    }
}

/// Where a value that was borrowed from `document` stands in it.
fn span(document: &[u8], value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr() as usize - document.as_ptr() as usize;
    start..start + value.get().len()
}

#[derive(Default)]
struct Fields<'de> {
    stream: Option<bool>,
    options: Option<&'de RawValue>,
}

impl<'de> Shape<'de> for Fields<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        match key {
            "stream" => value.into(&mut self.stream),
            "stream_options" => value.raw().map(|raw| self.options = Some(raw)),
            _ => value.skip(),
        }
    }
}

#[derive(Default)]
struct Options<'de> {
    any: bool,
    include_usage: Option<&'de RawValue>,
}

impl<'de> Shape<'de> for Options<'de> {
    fn member<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        value: Value<'_, A>,
    ) -> Result<(), A::Error> {
        self.any = true;
        match key {
            "include_usage" => value.raw().map(|raw| self.include_usage = Some(raw)),
            _ => value.skip(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn injected(body: &str) -> Option<String> {
        let edited = inject_usage(&Bytes::copy_from_slice(body.as_bytes()))?;
        Some(String::from_utf8(edited.to_vec()).unwrap())
    }

    #[test]
    fn the_option_is_added_and_nothing_else_changes() {
        let cases = [
            (
                " {\n \"stream\": true, \"x\": 1.0}\n",
                " {\"stream_options\":{\"include_usage\":true},\n \"stream\": true, \"x\": 1.0}\n",
            ),
            (
                r#"{"stream":true,"stream_options":{}}"#,
                r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
            ),
            (
                r#"{"stream":true,"stream_options":{ "a":1}}"#,
                r#"{"stream":true,"stream_options":{"include_usage":true, "a":1}}"#,
            ),
            (
                r#"{"stream_options": null ,"stream":true}"#,
                r#"{"stream_options": {"include_usage":true} ,"stream":true}"#,
            ),
            (
                r#"{"stream_options":{"include_usage": false},"stream":true}"#,
                r#"{"stream_options":{"include_usage": true},"stream":true}"#,
            ),
            // The last of repeated keys is the one the provider reads.
            (
                r#"{"stream_options":{"include_usage":true},"stream":true,"stream_options":{}}"#,
                r#"{"stream_options":{"include_usage":true},"stream":true,"stream_options":{"include_usage":true}}"#,
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(injected(body).as_deref(), Some(expected));
        }
    }

    #[test]
    fn there_is_often_nothing_to_do() {
        for body in [
            r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
            r#"{"stream":false}"#,
            r#"{"stream":true,"stream":false}"#,
            "{}",
            r#"{"stream":"true"}"#,
            r#"{"stream":true,"stream_options":[]}"#,
            r#"{"stream":true,"stream_options":{"include_usage":"yes"}}"#,
            r#"[{"stream":true}]"#,
            r#"{"stream":true"#,
            "",
            "  ",
        ] {
            assert_eq!(injected(body), None, "{body}");
        }
    }
}
