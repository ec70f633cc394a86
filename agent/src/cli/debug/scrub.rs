//! A last look for keys, in texts that hold none by their making: whatever begins like one goes.

/// How keys of providers, of clouds and of the services around them begin.
const BEGINNINGS: [&str; 14] = [
    "sk-",
    "sk_",
    "pk_",
    "rk_",
    "AIza",
    "ya29.",
    "ghp_",
    "gho_",
    "github_pat_",
    "xoxb-",
    "xoxp-",
    "hf_",
    "gsk_",
    "eyJ",
];
/// No key is shorter.
const SHORTEST: usize = 16;
const REDACTED: &str = "[redacted]";

/// The text without them.
pub(super) fn scrubbed(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/');
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    let mut after_scheme = false;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
        let (word, more) = rest.split_at(end);
        let is_key = word.len() >= SHORTEST
            && (after_scheme || BEGINNINGS.iter().any(|begin| word.starts_with(begin)));
        clean.push_str(if is_key { REDACTED } else { word });
        if !word.is_empty() {
            // RFC 9110, 11.4: a scheme, a blank, and the credentials.
            after_scheme = matches!(word, "Bearer" | "bearer" | "Basic" | "basic");
        }
        let between = more.find(is_part).unwrap_or(more.len());
        clean.push_str(&more[..between]);
        rest = &more[between..];
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_key_goes_and_nothing_else() {
        for (text, expected) in [
            ("key: \"sk-ant-api03-AAAA_bbbb-cc\", next", "key: \"[redacted]\", next"),
            ("authorization: Bearer abcdefghijklmnop12\n", "authorization: Bearer [redacted]\n"),
            ("?key=AIzaSyA1234567890abcdef&x=1", "?key=[redacted]&x=1"),
            ("sk-short and /usr/bin/python3.11", "sk-short and /usr/bin/python3.11"),
            ("task-runner-with-a-long-name.service", "task-runner-with-a-long-name.service"),
            ("é sk-0123456789abcdefé", "é [redacted]é"),
            ("", ""),
        ] {
            assert_eq!(scrubbed(text), expected);
        }
    }
}
