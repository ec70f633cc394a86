//! Finds the model in a request's body while it arrives, so that nothing behind it has to be read.
//! Pure.

use std::sync::Arc;

use memchr::memchr2;

/// Names longer than this are no model's.
const MAX_NAME: usize = 256;
/// Room for such a name when every character of it is escaped.
const MAX_TEXT: usize = 6 * MAX_NAME;

/// What a body has told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing yet.
    More,
    /// The model.
    Model(Arc<str>),
    /// That it names none: it is no JSON object, or one without a model.
    Nothing,
}

/// Looks for the member `model` of a JSON object that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Objects and arrays that are open.
    depth: usize,
    text: Option<Text>,
    /// Whether a value comes next, rather than the name of a member.
    at_value: bool,
    /// Whether that value is the model.
    is_model: bool,
}

/// A string that is open.
#[derive(Debug, Default)]
struct Text {
    escaped: bool,
    /// What it holds, as it is written; not kept where it does not matter, or is too long.
    kept: Vec<u8>,
    too_long: bool,
}

impl Search {
    /// Takes the next piece. After anything but [`Told::More`] there is no use in another.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Told {
        while let Some((&byte, rest)) = bytes.split_first() {
            if let Some(text) = &mut self.text {
                let Some(after) = text.take(bytes, self.depth == 1) else { return Told::More };
                bytes = after;
                let text = self.text.take().unwrap_or_default();
                if self.depth == 1 && self.at_value && self.is_model {
                    return text.decode().map_or(Told::Nothing, |name| Told::Model(name.into()));
                }
                if self.depth == 1 && !self.at_value {
                    self.is_model = text.decode().is_some_and(|name| name == "model");
                }
                continue;
            }
            bytes = rest;
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {}
                b'{' => self.depth += 1,
                _ if self.depth == 0 => return Told::Nothing,
                b'"' => self.text = Some(Text::default()),
                b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Told::Nothing;
                    }
                }
                b':' if self.depth == 1 => self.at_value = true,
                b',' if self.depth == 1 => self.at_value = false,
                _ => {}
            }
        }
        Told::More
    }
}

impl Text {
    /// Takes in bytes up to the closing quote; returns what comes behind it.
    fn take<'a>(&mut self, mut bytes: &'a [u8], keep: bool) -> Option<&'a [u8]> {
        loop {
            if self.escaped {
                let (&byte, rest) = bytes.split_first()?;
                self.escaped = false;
                self.keep(&[byte], keep);
                bytes = rest;
            }
            let Some(at) = memchr2(b'"', b'\\', bytes) else {
                self.keep(bytes, keep);
                return None;
            };
            self.keep(&bytes[..at], keep);
            if bytes[at] == b'"' {
                return Some(&bytes[at + 1..]);
            }
            self.keep(b"\\", keep);
            self.escaped = true;
            bytes = &bytes[at + 1..];
        }
    }

    fn keep(&mut self, bytes: &[u8], keep: bool) {
        self.too_long |= self.kept.len() + bytes.len() > MAX_TEXT;
        if keep && !self.too_long {
            self.kept.extend_from_slice(bytes);
        }
    }

    /// The string meant, where it may be a name.
    fn decode(&self) -> Option<String> {
        if self.too_long {
            return None;
        }
        let quoted = [b"\"", &self.kept[..], b"\""].concat();
        let text: String = serde_json::from_slice(&quoted).ok()?;
        (!text.is_empty() && text.len() <= MAX_NAME).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(body: &str) -> Told {
        Search::default().feed(body.as_bytes())
    }

    fn model(name: &str) -> Told {
        Told::Model(name.into())
    }

    #[test]
    fn the_member_of_the_object_itself_counts() {
        for (body, expected) in [
            (r#"{"model":"gpt-5","#, model("gpt-5")),
            (r#" {"stream" : true , "model" : "o3" }"#, model("o3")),
            (r#"{"messages":[{"model":"not this","content":"\"model\":\"nor this\""}],"model":"x"#, Told::More),
            (r#"{"messages":[{"model":"not this"}],"model":"claude-opus-5"}"#, model("claude-opus-5")),
            (r#"{"tag":"model","model":"a"}"#, model("a")),
            (r#"{"m\u006fdel":"\u0067pt-5"}"#, model("gpt-5")),
            (r#"{"model":7,"n":1}"#, Told::Nothing),
            (r#"{"model":"","n":"#, Told::Nothing),
            (r#"{"model":null,"user":"gpt-5"}"#, Told::Nothing),
            (r#"{"metadata":{"model":"no"},"n":1}"#, Told::Nothing),
            ("{}", Told::Nothing),
            ("[1]", Told::Nothing),
            ("--boundary", Told::Nothing),
            ("", Told::More),
            (r#"{"messages":["#, Told::More),
        ] {
            assert_eq!(told(body), expected, "{body}");
        }
    }

    #[test]
    fn a_name_that_is_too_long_is_none() {
        let body = format!(r#"{{"model":"{}","n":1}}"#, "x".repeat(MAX_TEXT + 1));
        assert_eq!(told(&body), Told::Nothing);
        let escaped = format!(r#"{{"model":"{}"}}"#, r"\u0078".repeat(MAX_NAME));
        assert_eq!(told(&escaped), model(&"x".repeat(MAX_NAME)));
    }

    proptest! {
        #[test]
        fn split_anywhere_gives_the_same(
            before in prop::collection::vec(("[a-z\\\\\"é{},:]{0,8}", "[a-z\\\\\"é{},:]{0,8}"), 0..4),
            name in "[a-z\\\\\"é]{1,12}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut body = serde_json::Map::new();
            for (key, value) in before {
                body.insert(format!("_{key}"), serde_json::json!([value, {"model": value}]));
            }
            let mut body = serde_json::to_string(&body).unwrap();
            body.pop();
            let comma = if body.len() > 1 { "," } else { "" };
            body.push_str(&format!("{comma}\"model\":{}", serde_json::to_string(&name).unwrap()));
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
            at.extend([0, body.len()]);
            at.sort_unstable();
            let mut search = Search::default();
            let mut last = Told::More;
            for pair in at.windows(2) {
                prop_assert_eq!(&last, &Told::More);
                last = search.feed(&body.as_bytes()[pair[0]..pair[1]]);
                if last != Told::More {
                    break;
                }
            }
            prop_assert_eq!(last, model(&name));
        }

        #[test]
        fn nothing_makes_it_panic(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let mut search = Search::default();
            for piece in pieces {
                search.feed(&piece);
            }
        }
    }
}
