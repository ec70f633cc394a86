//! Signatures: who may call a webhook, and what its callbacks carry.
//!
//! Two forms are known. `t.body` is the timestamp's digits, a dot and the raw body; it cannot be
//! played back once the timestamp is old. `body` alone is what senders write that sign no time; a
//! webhook takes it only where its definition says so. The two never mean the same bytes: a body
//! that begins with digits and a dot is not taken under a signature of its own, or what was signed
//! as `t.body` could be sent again as a body without a timestamp.

use std::time::{Duration, SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use http::{HeaderMap, HeaderName};

use crate::secret::Secret;

/// `sha256=` and the hex HMAC-SHA-256.
pub(super) const SIGNATURE: HeaderName = HeaderName::from_static("x-webhook-signature");
/// The same as GitHub and those like it write it.
const HUB_SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");
/// Seconds since the epoch.
pub(super) const TIMESTAMP: HeaderName = HeaderName::from_static("x-webhook-timestamp");
/// More digits are no time.
const DIGITS: usize = 12;

/// What a request is known again by: half of its HMAC, which its sender cannot change without
/// signing anew.
pub(super) type Tag = [u8; 16];

/// A request whose signature is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signed {
    /// By what it is known again.
    pub(super) tag: Tag,
    /// When it says it was made.
    pub(super) at: Option<SystemTime>,
}

/// A key to sign with and to check by.
#[derive(Debug, Clone)]
pub(super) struct Key(hmac::Key);

impl Key {
    pub(super) fn new(secret: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes()))
    }

    /// One that nobody has: what it checks is not taken whatever it finds.
    pub(super) fn nobodys() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &[0; 32]))
    }

    /// Whether a request is signed with this key. Everything that is compared is compared in
    /// constant time.
    pub(super) fn check(
        &self,
        headers: &HeaderMap,
        body: &[u8],
        require_timestamp: bool,
    ) -> Option<Signed> {
        let claimed = signature(headers)?;
        if let Some((digits, at)) = timestamp(headers) {
            let tag = self.mac(Some(digits), body);
            if verify_slices_are_equal(tag.as_ref(), &claimed).is_ok() {
                return Some(Signed { tag: half(&claimed), at: Some(at) });
            }
        }
        if require_timestamp || begins_with_a_time(body) {
            return None;
        }
        let tag = self.mac(None, body);
        verify_slices_are_equal(tag.as_ref(), &claimed).ok()?;
        Some(Signed { tag: half(&claimed), at: None })
    }

    /// The signature of a body and the time it is sent at.
    pub(super) fn sign(&self, seconds: u64, body: &[u8]) -> String {
        format!("sha256={}", hex(self.mac(Some(&seconds.to_string()), body).as_ref()))
    }

    fn mac(&self, timestamp: Option<&str>, body: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        if let Some(timestamp) = timestamp {
            context.update(timestamp.as_bytes());
            context.update(b".");
        }
        context.update(body);
        context.sign()
    }
}

/// Lower-case hex digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
    text
}

/// The bytes that hex digits of any case stand for; `None` where there are not exactly so many.
pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from((digit(pair[0])? << 4) | digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

fn half(signature: &[u8; 32]) -> Tag {
    let mut tag = Tag::default();
    tag.copy_from_slice(&signature[..16]);
    tag
}

/// The one value of a header; `None` where there are several, which could mean different things to
/// different readers.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().map(str::trim),
        _ => None,
    }
}

fn signature(headers: &HeaderMap) -> Option<[u8; 32]> {
    let name = if headers.contains_key(SIGNATURE) { SIGNATURE } else { HUB_SIGNATURE };
    unhex(only(headers, &name)?.strip_prefix("sha256=")?)
}

fn timestamp(headers: &HeaderMap) -> Option<(&str, SystemTime)> {
    let digits = only(headers, &TIMESTAMP)?;
    let fits = (1..=DIGITS).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let seconds: u64 = digits.parse().ok().filter(|_| fits)?;
    Some((digits, SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?))
}

fn begins_with_a_time(body: &[u8]) -> bool {
    let digits = body.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && body.get(digits) == Some(&b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    type Fields<'a> = &'a [(&'static str, &'a str)];

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn plain(key: &Key, body: &[u8]) -> String {
        format!("sha256={}", hex(key.mac(None, body).as_ref()))
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn the_plain_signature_is_rfc_4231s() {
        // RFC 4231, test case 2.
        assert_eq!(
            plain(&Key::new(&Secret::new("Jefe")), b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn who_is_let_in() {
        let key = Key::new(&Secret::new("secret"));
        let other = Key::new(&Secret::new("another"));
        let body = b"{\"x\":1}";
        let timed = key.sign(1_700_000_000, body);
        let upper = timed.to_uppercase().replace("SHA256", "sha256");
        let alone = plain(&key, body);
        let foreign = other.sign(1_700_000_000, body);
        let t = "1700000000";
        let cases: [(&str, Fields<'_>, bool, Option<Option<SystemTime>>); 15] = [
            (
                "timed",
                &[("x-webhook-signature", &timed), ("x-webhook-timestamp", t)],
                true,
                Some(Some(at(1_700_000_000))),
            ),
            (
                "timed, where it need not be",
                &[("x-webhook-signature", &timed), ("x-webhook-timestamp", t)],
                false,
                Some(Some(at(1_700_000_000))),
            ),
            (
                "in capitals",
                &[("x-webhook-signature", &upper), ("x-webhook-timestamp", t)],
                true,
                Some(Some(at(1_700_000_000))),
            ),
            ("no signature", &[("x-webhook-timestamp", t)], false, None),
            ("no timestamp", &[("x-webhook-signature", &timed)], true, None),
            ("no timestamp, allowed", &[("x-webhook-signature", &timed)], false, None),
            (
                "another timestamp",
                &[("x-webhook-signature", &timed), ("x-webhook-timestamp", "1700000001")],
                false,
                None,
            ),
            (
                "the same time in other digits",
                &[("x-webhook-signature", &timed), ("x-webhook-timestamp", "01700000000")],
                true,
                None,
            ),
            (
                "two timestamps",
                &[
                    ("x-webhook-signature", &timed),
                    ("x-webhook-timestamp", t),
                    ("x-webhook-timestamp", "1"),
                ],
                true,
                None,
            ),
            (
                "two signatures",
                &[
                    ("x-webhook-signature", &timed),
                    ("x-webhook-signature", &foreign),
                    ("x-webhook-timestamp", t),
                ],
                true,
                None,
            ),
            (
                "another key",
                &[("x-webhook-signature", &foreign), ("x-webhook-timestamp", t)],
                true,
                None,
            ),
            ("the body alone", &[("x-webhook-signature", &alone)], true, None),
            ("the body alone, allowed", &[("x-webhook-signature", &alone)], false, Some(None)),
            ("as GitHub writes it", &[("x-hub-signature-256", &alone)], false, Some(None)),
            ("without its form", &[("x-webhook-signature", &alone[7..])], false, None),
        ];
        for (what, fields, require, expected) in cases {
            let found = key.check(&headers(fields), body, require);
            assert_eq!(found.map(|signed| signed.at), expected, "{what}");
        }
        let changed = key.check(&headers(cases[0].1), b"{\"x\":2}", false);
        assert_eq!(changed, None, "another body");
    }

    #[test]
    fn what_was_signed_with_a_time_is_not_taken_as_a_body() {
        let key = Key::new(&Secret::new("secret"));
        let signature = key.sign(1_700_000_000, b"x");
        let fields = headers(&[("x-webhook-signature", &signature)]);
        assert_eq!(key.check(&fields, b"1700000000.x", false), None);
        for (body, expected) in [("1.", true), ("12.x", true), (".x", false), ("1x.", false)] {
            assert_eq!(begins_with_a_time(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn letter_case_makes_no_other_request() {
        let key = Key::new(&Secret::new("secret"));
        let lower = key.sign(5, b"x");
        let upper = lower.to_uppercase().replace("SHA256", "sha256");
        let tag = |signature: &str| {
            let fields = [("x-webhook-signature", signature), ("x-webhook-timestamp", "5")];
            key.check(&headers(&fields), b"x", true).unwrap().tag
        };
        assert_eq!(tag(&lower), tag(&upper));
    }

    #[test]
    fn hex_digits_there_and_back() {
        assert_eq!(unhex::<3>(&hex(&[0, 0x9a, 0xff])), Some([0, 0x9a, 0xff]));
        for text in ["", "00", "0000000", "00000g", "+1+1+1", "é0000"] {
            assert_eq!(unhex::<3>(text), None, "{text}");
        }
    }
}
