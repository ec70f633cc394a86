//! Handing an e-mail over: as much of SMTP (RFC 5321), STARTTLS (RFC 3207) and AUTH (RFC 4954) as
//! a client needs that has one message for one server.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::delivery::Failed;
use super::dial::Dial;
use super::mail::host_name;
use super::settings::{Mail, MailTls};
use crate::secret::Secret;
use crate::upstream::{Io, Offer};

/// Bytes of one reply; RFC 5321 §4.5.3.1.5 asks for lines of at most 512.
const REPLY: usize = 16 << 10;

/// Hands a message to the server. It has been taken when this returns; recipients that the server
/// refuses are left out as long as one is taken.
pub(super) async fn send(
    dial: &Dial,
    mail: &Mail<Secret>,
    (message, host): (&str, &str),
) -> Result<(), Failed> {
    // A mail server is named by the configuration and asked for nothing: it may be private.
    let addresses = dial.addresses(&mail.host, mail.port).await?;
    let mut io = dial.connect(&addresses).await?;
    if mail.tls == MailTls::Implicit {
        io = dial.secure(io, &mail.host, Offer::Nothing).await?;
    }
    let mut session = Session { io, read: BytesMut::new() };
    session.answered("the greeting", 220).await?;
    let hello = format!("EHLO {}", host_name(host));
    let mut offers = session.ask(&hello, 250).await?;
    if mail.tls == MailTls::StartTls {
        if !offers.has("STARTTLS") {
            return Err(Failed::never("the server offers no STARTTLS"));
        }
        session.ask("STARTTLS", 220).await?;
        session = session.secured(dial, &mail.host).await?;
        // RFC 3207 §4.2: what was said before TLS counts for nothing.
        offers = session.ask(&hello, 250).await?;
    }
    if let Some((user, password)) = &mail.login {
        session.log_in(&offers, user, password.reveal()).await?;
    }
    session.ask(&format!("MAIL FROM:<{}>", mail.from), 250).await?;
    let mut refused = None;
    let mut taken = 0;
    for to in &mail.to {
        match session.ask(&format!("RCPT TO:<{to}>"), 250).await {
            Ok(_) => taken += 1,
            Err(failed) => refused = Some(failed),
        }
    }
    match refused {
        Some(failed) if taken == 0 => return Err(failed),
        Some(failed) => tracing::warn!(%failed, "a recipient was refused by the mail server"),
        None => {}
    }
    session.ask("DATA", 354).await?;
    session.write(&stuffed(message)).await?;
    session.answered("the message", 250).await?;
    // It is theirs now, whatever becomes of the farewell.
    drop(session.write("QUIT\r\n").await);
    Ok(())
}

/// RFC 5321 §4.5.2: a line that begins with a dot gets another; a line of one dot is the end.
fn stuffed(message: &str) -> String {
    let mut text = message.replace("\r\n.", "\r\n..");
    if text.starts_with('.') {
        text.insert(0, '.');
    }
    text + ".\r\n"
}

struct Session {
    io: Io,
    read: BytesMut,
}

impl Session {
    /// Sends a command and waits for its reply. The command's name alone is told where it fails.
    async fn ask(&mut self, command: &str, expected: u16) -> Result<Reply, Failed> {
        self.write(&format!("{command}\r\n")).await?;
        let name = command.split([' ', ':']).next().unwrap_or_default();
        self.answered(name, expected).await
    }

    async fn write(&mut self, text: &str) -> Result<(), Failed> {
        let lost = |error| Failed::later(format!("the mail server went away: {error}"));
        self.io.write_all(text.as_bytes()).await.map_err(lost)?;
        self.io.flush().await.map_err(lost)
    }

    /// The server's answer to what was sent last; any other than the expected one is a failure.
    async fn answered(&mut self, to: &str, expected: u16) -> Result<Reply, Failed> {
        let reply = self.reply().await?;
        // 251: not local, and forwarded.
        if reply.code == expected || (expected == 250 && reply.code == 251) {
            return Ok(reply);
        }
        let said = reply.lines.first().map(String::as_str).unwrap_or_default();
        let what = format!("the mail server answered {} {said} to {to}", reply.code);
        // RFC 5321 §4.2.1: 4xx may pass, 5xx will not.
        Err(if reply.code / 100 == 4 { Failed::later(what) } else { Failed::never(what) })
    }

    async fn reply(&mut self) -> Result<Reply, Failed> {
        let strange = || Failed::later("the mail server's reply is none of SMTP");
        let mut lines = Vec::new();
        let mut size = 0;
        loop {
            let line = self.line().await?;
            size += line.len();
            let code = line.get(..3).and_then(|code| code.parse().ok()).ok_or_else(strange)?;
            let text = line.get(4..).unwrap_or_default();
            lines.push(text.chars().filter(|c| !c.is_control()).take(200).collect());
            match line.as_bytes().get(3) {
                Some(b'-') if size < REPLY => {}
                Some(b' ') | None => return Ok(Reply { code, lines }),
                Some(_) => return Err(strange()),
            }
        }
    }

    async fn line(&mut self) -> Result<String, Failed> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.read) {
                let line = self.read.split_to(end);
                self.read.advance(1);
                return Ok(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned());
            }
            if self.read.len() > REPLY {
                return Err(Failed::later("the mail server's reply has no end"));
            }
            match self.io.read_buf(&mut self.read).await {
                Ok(0) => return Err(Failed::later("the mail server closed the connection")),
                Ok(_) => {}
                Err(error) => {
                    return Err(Failed::later(format!("the mail server went away: {error}")));
                }
            }
        }
    }

    /// The same connection under TLS. What was already sent beyond the reply was sent by someone
    /// who wants it taken for what the server says under TLS.
    async fn secured(self, dial: &Dial, host: &Arc<str>) -> Result<Self, Failed> {
        if !self.read.is_empty() {
            return Err(Failed::never("the mail server went on talking before TLS began"));
        }
        let io = dial.secure(self.io, host, Offer::Nothing).await?;
        Ok(Self { io, read: BytesMut::new() })
    }

    async fn log_in(&mut self, offers: &Reply, user: &str, password: &str) -> Result<(), Failed> {
        let encoded = |text: &str| BASE64_STANDARD.encode(text);
        if offers.offers_login("PLAIN") {
            let both = encoded(&format!("\0{user}\0{password}"));
            self.ask(&format!("AUTH PLAIN {both}"), 235).await?;
        } else if offers.offers_login("LOGIN") {
            self.ask("AUTH LOGIN", 334).await?;
            self.write(&format!("{}\r\n", encoded(user))).await?;
            self.answered("the user name", 334).await?;
            self.write(&format!("{}\r\n", encoded(password))).await?;
            self.answered("the password", 235).await?;
        } else {
            return Err(Failed::never("the server takes no password (AUTH PLAIN or LOGIN)"));
        }
        Ok(())
    }
}

struct Reply {
    code: u16,
    lines: Vec<String>,
}

impl Reply {
    fn has(&self, word: &str) -> bool {
        self.words(word).is_some()
    }

    fn offers_login(&self, mechanism: &str) -> bool {
        let mut words = self.words("AUTH").into_iter().flatten();
        words.any(|word| word.eq_ignore_ascii_case(mechanism))
    }

    /// What follows a keyword of EHLO; the first line is a greeting.
    fn words(&self, keyword: &str) -> Option<impl Iterator<Item = &str>> {
        self.lines.iter().skip(1).find_map(|line| {
            let mut words = line.split([' ', '=']);
            words.next().filter(|first| first.eq_ignore_ascii_case(keyword)).map(|_| words)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_of_a_message_ends_it() {
        assert_eq!(stuffed(".\r\n.a\r\nb.\r\n"), "..\r\n..a\r\nb.\r\n.\r\n");
        assert_eq!(stuffed("a\r\n"), "a\r\n.\r\n");
    }

    #[test]
    fn what_a_server_offers() {
        let lines = ["mail.test", "SIZE 1000", "auth PLAIN LOGIN", "STARTTLS"];
        let reply = Reply { code: 250, lines: lines.map(str::to_owned).to_vec() };
        assert!(reply.has("STARTTLS") && reply.offers_login("LOGIN"));
        assert!(!reply.has("mail.test") && !reply.offers_login("CRAM-MD5"));
    }
}
