//! An e-mail as text: RFC 5322, with RFC 2047 words where a header is not ASCII.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::delivery::Delivery;
use super::settings::Mail;
use super::shape::shortened;
use crate::record::Notice;

/// Octets that one RFC 2047 word may carry before base64: its whole is at most 75 characters.
const WORD: usize = 42;

/// The message with its headers, lines ended by CRLF.
pub(super) fn message<S>(mail: &Mail<S>, delivery: &Delivery, text: &str, host: &str) -> String {
    let Notice { policy, message, .. } = &delivery.notice;
    let subject = format!("[weir] {}", shortened(message, 120));
    let at = jiff::Timestamp::try_from(delivery.at).unwrap_or_default();
    let date = jiff::fmt::rfc2822::to_string(&at.to_zoned(jiff::tz::TimeZone::UTC));
    let to: Vec<&str> = mail.to.iter().map(|to| &**to).collect();
    let mut lines = vec![
        format!("From: {}", mail.from),
        format!("To: {}", to.join(",\r\n ")),
        format!("Subject: {}", header(&subject)),
    ];
    lines.extend(date.ok().map(|date| format!("Date: {date}")));
    lines.extend([
        format!("Message-ID: <{}@{}>", delivery.id, host_name(host)),
        "MIME-Version: 1.0".to_owned(),
        "Content-Type: text/plain; charset=utf-8".to_owned(),
        "Content-Transfer-Encoding: base64".to_owned(),
        // RFC 3834: no answering machine is to answer.
        "Auto-Submitted: auto-generated".to_owned(),
        String::new(),
    ]);
    let body = format!("{text}\n\n-- \n{}, {policy}\nweir on {host}\n", delivery.topic());
    let encoded = BASE64_STANDARD.encode(body.replace('\n', "\r\n"));
    // RFC 2045 §6.8: lines of at most 76 characters.
    let whole = encoded.as_bytes().chunks(76);
    lines.extend(whole.map(|line| String::from_utf8_lossy(line).into_owned()));
    lines.join("\r\n") + "\r\n"
}

/// What this host calls itself to mail servers.
pub(super) fn host_name(host: &str) -> &str {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    if !host.is_empty() && host.bytes().all(fits) { host } else { "localhost" }
}

/// A header's text. Control characters, which could begin another header, become blanks.
fn header(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // A long line would have to be folded: words are.
    if text.is_ascii() && text.len() < 200 && !text.contains("=?") {
        return text;
    }
    let mut words = vec![String::new()];
    for c in text.chars() {
        if words.last().is_some_and(|word| word.len() + c.len_utf8() > WORD) {
            words.push(String::new());
        }
        words.last_mut().into_iter().for_each(|word| word.push(c));
    }
    let words = words.iter().map(|word| format!("=?UTF-8?B?{}?=", BASE64_STANDARD.encode(word)));
    words.collect::<Vec<_>>().join("\r\n ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::alerts::sample;
    use crate::alerts::settings::MailTls;

    fn text(notice: Notice, body: &str) -> String {
        let mail: Mail<String> = Mail {
            host: Arc::from("mail.test"),
            port: 25,
            tls: MailTls::Clear,
            login: None,
            from: Arc::from("weir@a.test"),
            to: vec![Arc::from("one@a.test"), Arc::from("two@a.test")],
        };
        message(
            &mail,
            &Delivery::new(ulid::Ulid::from_parts(1, 1), sample::at(), &Arc::from("m"), notice),
            body,
            "h",
        )
    }

    #[test]
    fn a_message_is_whole() {
        let text = text(sample::budget(), "Grüße\n.\n");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(
                "From: weir@a.test\r\nTo: one@a.test,\r\n two@a.test\r\n\
             Subject: [weir] 82% of the daily budget is spent\r\n\
             Date: Sun, 22 Nov 2026 09:00:00 +0000\r\nMessage-ID: <"
            ),
            "{head}"
        );
        let body = BASE64_STANDARD.decode(body.replace("\r\n", "")).unwrap();
        let body = String::from_utf8(body).unwrap();
        assert!(body.starts_with("Grüße\r\n.\r\n\r\n\r\n-- \r\nbudget_threshold, "), "{body}");
        assert!(text.split("\r\n").all(|line| line.len() <= 200 && !line.contains(['\r', '\n'])));
    }

    #[test]
    fn a_message_cannot_begin_another_header() {
        let message = "a\r\nBcc: all@a.test\u{85}".to_owned();
        let text = text(Notice { message, ..sample::budget() }, "");
        assert!(text.contains("Subject: [weir] a  Bcc: all@a.test \r\n"), "{text}");
    }

    #[test]
    fn other_letters_are_words_of_their_own() {
        let encoded = header(&"ä".repeat(60));
        assert!(encoded.split("\r\n ").all(|word| word.len() <= 75 && word.is_ascii()));
        let decoded: String = encoded
            .split("\r\n ")
            .map(|word| {
                let word = word.strip_prefix("=?UTF-8?B?").unwrap().strip_suffix("?=").unwrap();
                String::from_utf8(BASE64_STANDARD.decode(word).unwrap()).unwrap()
            })
            .collect();
        assert_eq!(decoded, "ä".repeat(60));
    }
}
