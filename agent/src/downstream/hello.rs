//! What a connection opens with: the TLS ClientHello, read without consuming it.
//!
//! [`parse`] is pure and total: whatever prefix of a connection it is given, it never panics, and
//! once it has an answer more bytes do not change it. [`peek`] feeds it from a socket and leaves
//! every byte in the caller's buffer, so that the connection can be replayed to either side.
//!
//! Our own parser instead of the TLS library's acceptor, because the decision needs what that one
//! hides (ECH, the versions offered) and must not answer a hello it only looks at.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

/// Longest opening that is waited for. Real hellos are 0.2–2 kB, post-quantum ones included.
pub const LIMIT: usize = 16 * 1024;

/// Largest plaintext record TLS allows (RFC 8446 §5.1).
const MAX_RECORD: usize = 1 << 14;
const RECORD_HEADER: usize = 5;
const HANDSHAKE_HEADER: usize = 4;

const CONTENT_HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

const EXT_SERVER_NAME: u16 = 0;
const EXT_ALPN: u16 = 16;
const EXT_SUPPORTED_VERSIONS: u16 = 43;
const EXT_ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// What the bytes seen so far amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peek {
    /// The start of a hello, or nothing yet.
    NeedMore,
    /// A whole ClientHello.
    Tls(ClientHello),
    /// Another protocol (plain HTTP, SSH, …).
    NotTls,
    /// Claims to be TLS but breaks its rules, or is longer than [`LIMIT`].
    Malformed,
}

/// What a client says in its first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// Host asked for: lower case, without a trailing dot. `None` where none is named, or where
    /// the "name" is an IP literal, which RFC 6066 does not allow there.
    pub server_name: Option<Arc<str>>,
    /// Application protocols offered, in the client's order.
    pub alpn: Vec<Vec<u8>>,
    /// Whether an encrypted hello is present. Browsers send a dummy one too (GREASE), and the two
    /// cannot be told apart: `server_name` may or may not be the real one.
    pub ech: bool,
    /// TLS versions offered (`0x0304` is 1.3), in the client's order, without GREASE.
    pub versions: Vec<u16>,
}

impl ClientHello {
    /// Whether the client can speak TLS 1.2 or newer, the oldest that is terminated here.
    pub fn is_modern(&self) -> bool {
        self.versions.iter().any(|version| matches!(version, 0x0303 | 0x0304))
    }
}

/// How a connection opened, as far as [`peek`] waited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// See [`Peek::Tls`].
    Tls(ClientHello),
    /// See [`Peek::NotTls`].
    NotTls,
    /// See [`Peek::Malformed`].
    Malformed,
    /// The deadline passed before the opening was complete: the server speaks first in this
    /// protocol, or the client is slow. What did arrive is in the buffer.
    Silent,
    /// The client finished sending before the opening was complete.
    Closed,
}

/// Reads from `stream` until its opening is known, `limit` bytes are exceeded or `deadline` passes.
/// All bytes read are appended to `buf`, which may already hold some. Cancel-safe.
pub async fn peek<S>(
    stream: &mut S,
    buf: &mut BytesMut,
    limit: usize,
    deadline: Instant,
) -> io::Result<Opening>
where
    S: AsyncRead + Unpin,
{
    loop {
        match parse(buf) {
            Peek::Tls(hello) => return Ok(Opening::Tls(hello)),
            Peek::NotTls => return Ok(Opening::NotTls),
            Peek::Malformed => return Ok(Opening::Malformed),
            Peek::NeedMore if buf.len() >= limit => return Ok(Opening::Malformed),
            Peek::NeedMore => {}
        }
        // Enough for any usual hello in one read, without a 16 KiB buffer for each connection.
        buf.reserve(2048);
        match tokio::time::timeout_at(deadline, stream.read_buf(buf)).await {
            Ok(Ok(0)) => return Ok(Opening::Closed),
            Ok(Ok(_read)) => {}
            Ok(Err(error)) => return Err(error),
            Err(_elapsed) => return Ok(Opening::Silent),
        }
    }
}

/// Says what `bytes`, the start of a connection, amount to.
pub fn parse(bytes: &[u8]) -> Peek {
    match message(bytes) {
        Ok(Some(body)) => client_hello(&body).map_or(Peek::Malformed, Peek::Tls),
        Ok(None) => Peek::NeedMore,
        Err(Broken::NotTls) => Peek::NotTls,
        Err(Broken::Malformed) => Peek::Malformed,
    }
}

enum Broken {
    NotTls,
    Malformed,
}

/// Joins the first handshake message out of its records; `None` while it is incomplete.
fn message(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
    // Every check needs only the bytes before it, so that an answer never depends on how the
    // network cut them.
    let mut joined = Vec::new();
    let mut first = true;
    loop {
        let foreign = if first { Broken::NotTls } else { Broken::Malformed };
        match bytes {
            [] => return Ok(None),
            [kind, ..] if *kind != CONTENT_HANDSHAKE => return Err(foreign),
            [_, major, ..] if *major != 3 => return Err(foreign),
            [_, _, minor, ..] if *minor > 4 => return Err(foreign),
            _ => {}
        }
        let Some(header) = bytes.get(..RECORD_HEADER) else { return Ok(None) };
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if length == 0 || length > MAX_RECORD {
            return Err(Broken::Malformed);
        }
        let rest = &bytes[RECORD_HEADER..];
        joined.extend_from_slice(&rest[..length.min(rest.len())]);

        if joined.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(Broken::Malformed);
        }
        if let Some(header) = joined.get(..HANDSHAKE_HEADER) {
            let length =
                usize::from(header[1]) << 16 | usize::from(header[2]) << 8 | usize::from(header[3]);
            let whole = HANDSHAKE_HEADER + length;
            if whole > LIMIT - RECORD_HEADER {
                return Err(Broken::Malformed);
            }
            if joined.len() >= whole {
                return Ok(Some(joined[HANDSHAKE_HEADER..whole].to_vec()));
            }
        }
        let Some(next) = rest.get(length..) else { return Ok(None) };
        bytes = next;
        first = false;
    }
}

/// Reads a ClientHello's body (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2); `None` where it is malformed.
fn client_hello(body: &[u8]) -> Option<ClientHello> {
    let mut body = Reader(body);
    let legacy_version = body.u16()?;
    body.take(32)?;
    let session_id = body.vec8()?;
    let cipher_suites = body.vec16()?;
    let compression = body.vec8()?;
    if session_id.0.len() > 32
        || cipher_suites.0.is_empty()
        || cipher_suites.0.len() % 2 != 0
        || compression.0.is_empty()
    {
        return None;
    }

    let mut hello =
        ClientHello { server_name: None, alpn: Vec::new(), ech: false, versions: Vec::new() };
    let mut seen = Vec::new();
    if !body.0.is_empty() {
        let mut extensions = body.vec16()?;
        while !extensions.0.is_empty() {
            let kind = extensions.u16()?;
            let data = extensions.vec16()?;
            if seen.contains(&kind) {
                return None;
            }
            seen.push(kind);
            match kind {
                EXT_SERVER_NAME => hello.server_name = server_name(data)?,
                EXT_ALPN => hello.alpn = alpn(data)?,
                EXT_SUPPORTED_VERSIONS => hello.versions = versions(data)?,
                EXT_ENCRYPTED_CLIENT_HELLO => hello.ech = true,
                _ => {}
            }
        }
    }
    if !body.0.is_empty() {
        return None;
    }
    if hello.versions.is_empty() {
        hello.versions.push(legacy_version);
    }
    Some(hello)
}

/// The one host name of the extension. The outer `None` means malformed.
#[expect(clippy::option_option, reason = "malformed, absent and present are three answers")]
fn server_name(mut data: Reader<'_>) -> Option<Option<Arc<str>>> {
    let mut list = data.vec16()?;
    let kind = list.take(1)?[0];
    if kind != 0 {
        // No other kind is defined, so its length cannot be known: nothing is named for us.
        return Some(None);
    }
    let name = list.vec16()?.0;
    // RFC 6066: not more than one name of a kind, and no other kind exists.
    if !list.0.is_empty() || !data.0.is_empty() {
        return None;
    }
    let name = std::str::from_utf8(name).ok()?;
    if name.parse::<IpAddr>().is_ok() {
        return Some(None);
    }
    Some(Some(normalise(name)?))
}

/// Lower-cases a host name and strips the trailing dot; `None` where it is not a DNS name.
pub(super) fn normalise(name: &str) -> Option<Arc<str>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let valid = !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
    valid.then(|| name.to_ascii_lowercase().into())
}

fn alpn(mut data: Reader<'_>) -> Option<Vec<Vec<u8>>> {
    let mut list = data.vec16()?;
    let mut names = Vec::new();
    while !list.0.is_empty() {
        let name = list.vec8()?.0;
        if name.is_empty() {
            return None;
        }
        names.push(name.to_vec());
    }
    (!names.is_empty() && data.0.is_empty()).then_some(names)
}

fn versions(mut data: Reader<'_>) -> Option<Vec<u16>> {
    let mut list = data.vec8()?;
    let mut offered = Vec::new();
    while !list.0.is_empty() {
        let version = list.u16()?;
        // GREASE values (RFC 8701) are 0x?A?A with equal bytes.
        if version & 0x0f0f != 0x0a0a {
            offered.push(version);
        }
    }
    data.0.is_empty().then_some(offered)
}

/// The unread rest of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A field with an 8-bit length before it.
    fn vec8(&mut self) -> Option<Self> {
        let length = usize::from(self.take(1)?[0]);
        self.take(length).map(Reader)
    }

    /// A field with a 16-bit length before it.
    fn vec16(&mut self) -> Option<Self> {
        let length = usize::from(self.u16()?);
        self.take(length).map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;
    use tokio::io::AsyncWriteExt;

    fn record(payload: &[u8]) -> Vec<u8> {
        let mut out = vec![22, 3, 1];
        out.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
        out.extend_from_slice(payload);
        out
    }

    fn handshake(body: &[u8]) -> Vec<u8> {
        let mut out = vec![1];
        out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
        out.extend_from_slice(body);
        out
    }

    fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
        let mut out = kind.to_be_bytes().to_vec();
        out.extend(vec16(data));
        out
    }

    fn vec16(data: &[u8]) -> Vec<u8> {
        let mut out = u16::try_from(data.len()).unwrap().to_be_bytes().to_vec();
        out.extend_from_slice(data);
        out
    }

    fn sni(name: &[u8]) -> Vec<u8> {
        let mut entry = vec![0];
        entry.extend(vec16(name));
        extension(EXT_SERVER_NAME, &vec16(&entry))
    }

    fn body(extensions: &[Vec<u8>]) -> Vec<u8> {
        let mut out = vec![3, 3];
        out.extend([7; 32]);
        out.push(0);
        out.extend([0, 4, 0x5a, 0x5a, 0x13, 0x01]);
        out.extend([1, 0]);
        out.extend(vec16(&extensions.concat()));
        out
    }

    fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
        record(&handshake(&body(extensions)))
    }

    fn parsed(bytes: &[u8]) -> ClientHello {
        match parse(bytes) {
            Peek::Tls(hello) => hello,
            other => panic!("{other:?}"),
        }
    }

    /// A browser's: GREASE first, ECH, ALPN, versions, a post-quantum share's bulk, padding.
    fn browser() -> Vec<u8> {
        hello(&[
            extension(0x1a1a, &[]),
            sni(b"API.OpenAI.com"),
            extension(EXT_ALPN, &vec16(b"\x02h2\x08http/1.1")),
            extension(EXT_SUPPORTED_VERSIONS, &[6, 0x2a, 0x2a, 3, 4, 3, 3]),
            extension(51, &[9; 1216]),
            extension(EXT_ENCRYPTED_CLIENT_HELLO, &[0; 186]),
            extension(21, &[0; 40]),
        ])
    }

    fn real(name: &'static str, post_quantum: bool) -> Vec<u8> {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        if post_quantum {
            provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768];
        }
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut client =
            rustls::ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
        let mut out = Vec::new();
        client.write_tls(&mut out).unwrap();
        out
    }

    #[test]
    fn reads_what_a_browser_offers() {
        let hello = parsed(&browser());
        assert_eq!(hello.server_name.as_deref(), Some("api.openai.com"));
        assert_eq!(hello.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert_eq!(hello.versions, [0x0304, 0x0303]);
        assert!(hello.ech && hello.is_modern());
    }

    #[test]
    fn reads_a_post_quantum_hello_longer_than_a_segment() {
        let bytes = real("api.anthropic.com", true);
        assert!(bytes.len() > 1400, "{}", bytes.len());
        assert_eq!(parse(&bytes[..1400]), Peek::NeedMore);
        let hello = parsed(&bytes);
        assert_eq!(hello.server_name.as_deref(), Some("api.anthropic.com"));
        assert_eq!(hello.alpn, [b"http/1.1".to_vec()]);
        assert!(!hello.ech && hello.is_modern());
    }

    #[test]
    fn a_hello_without_a_name_or_with_an_address_names_nobody() {
        assert_eq!(parsed(&hello(&[])).server_name, None);
        assert_eq!(parsed(&hello(&[sni(b"192.0.2.7")])).server_name, None);
        assert_eq!(parsed(&hello(&[sni(b"2001:db8::1")])).server_name, None);
        assert_eq!(parsed(&real("192.0.2.7", false)).server_name, None);
    }

    #[test]
    fn names_are_normalised() {
        for name in ["api.openai.com.", "API.openai.COM"] {
            let hello = parsed(&hello(&[sni(name.as_bytes())]));
            assert_eq!(hello.server_name.as_deref(), Some("api.openai.com"), "{name}");
        }
        let under = parsed(&hello(&[sni(b"my_host.example")]));
        assert_eq!(under.server_name.as_deref(), Some("my_host.example"));
    }

    #[test]
    fn odd_names_are_malformed_not_guessed() {
        let long = [b"a".repeat(63), b"b".repeat(63), b"c".repeat(63), b"d".repeat(63)].join(&b'.');
        for name in [
            &b"api.openai.com\0.evil.example"[..],
            b"",
            b".",
            b"a..b",
            b"api openai",
            "b\u{fc}cher.example".as_bytes(),
            b"\xff\xfe",
            &long,
            &b"x".repeat(64),
        ] {
            assert_eq!(parse(&hello(&[sni(name)])), Peek::Malformed, "{name:?}");
        }
    }

    #[test]
    fn contradictions_are_malformed() {
        assert_eq!(parse(&hello(&[sni(b"a.example"), sni(b"b.example")])), Peek::Malformed);
        let two = [&[0][..], &vec16(b"a.example"), &[0], &vec16(b"b.example")].concat();
        assert_eq!(parse(&hello(&[extension(EXT_SERVER_NAME, &vec16(&two))])), Peek::Malformed);
        assert_eq!(parse(&hello(&[extension(EXT_ALPN, &vec16(&[0]))])), Peek::Malformed);
        let mut trailing = body(&[]);
        trailing.push(0);
        assert_eq!(parse(&record(&handshake(&trailing))), Peek::Malformed);
        assert_eq!(parse(&record(&[2, 0, 0, 0])), Peek::Malformed, "a ServerHello");
        assert_eq!(parse(&[22, 3, 1, 0, 0]), Peek::Malformed, "an empty record");
        assert_eq!(parse(&[22, 3, 1, 0x40, 1]), Peek::Malformed, "a record too long");
        let mut cut = record(&handshake(&body(&[]))[..20]);
        cut.extend([23, 3, 3, 0, 1, 0]);
        assert_eq!(parse(&cut), Peek::Malformed, "another content type in the middle");
    }

    #[test]
    fn old_hellos_without_extensions_are_read() {
        let mut body = body(&[]);
        body.truncate(body.len() - 2);
        body[1] = 1;
        let hello = parsed(&record(&handshake(&body)));
        assert_eq!(hello.versions, [0x0301]);
        assert!(!hello.is_modern());
    }

    #[test]
    fn a_hello_beyond_the_limit_is_malformed_as_soon_as_it_says_so() {
        assert_eq!(parse(&record(&[1, 0, 0x40, 0])), Peek::Malformed);
        assert_eq!(parse(&record(&[1, 0xff, 0xff, 0xff])), Peek::Malformed);
        assert_eq!(parse(&record(&[1, 0, 0x3f, 0])), Peek::NeedMore);
    }

    #[test]
    fn other_protocols_are_recognised_by_their_first_bytes() {
        for bytes in [
            &b"G"[..],
            b"GET / HTTP/1.1\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"PRI * HTTP/2.0",
            &[21, 3, 1],
            &[0x80, 0x2e, 1, 3, 1],
            &[22, 2],
            &[22, 3, 5],
        ] {
            assert_eq!(parse(bytes), Peek::NotTls, "{bytes:?}");
        }
        assert_eq!(parse(b""), Peek::NeedMore);
        assert_eq!(parse(&[22, 3, 1, 0]), Peek::NeedMore);
    }

    /// The answer of every prefix is either "more" or the final one.
    fn assert_prefix_stable(bytes: &[u8]) {
        let full = parse(bytes);
        for cut in 0..=bytes.len() {
            let answer = parse(&bytes[..cut]);
            assert!(answer == Peek::NeedMore || answer == full, "at {cut}: {answer:?} ≠ {full:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn split_anywhere_gives_the_same(cuts in prop::collection::vec(1usize..700, 0..12)) {
            let whole = browser();
            let message = &whole[RECORD_HEADER..];
            let mut split = Vec::new();
            let mut rest = message;
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len().saturating_sub(1)));
                if !head.is_empty() {
                    split.extend(record(head));
                }
                rest = tail;
            }
            split.extend(record(rest));
            split.extend_from_slice(b"what follows does not matter");
            prop_assert_eq!(parse(&split), parse(&whole));
            assert_prefix_stable(&split);
        }

        #[test]
        fn garbage_never_panics_and_is_stable(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            assert_prefix_stable(&bytes);
            assert_prefix_stable(&record(&[&[1, 0, 0, 60], &bytes[..]].concat()));
        }

        #[test]
        fn a_damaged_hello_never_panics_and_is_stable(at in 0usize..1500, value in any::<u8>()) {
            let mut bytes = browser();
            let at = at % bytes.len();
            bytes[at] = value;
            assert_prefix_stable(&bytes);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn peek_waits_for_the_last_byte_and_keeps_them_all() {
        let (mut client, mut agent) = tokio::io::duplex(100);
        let sent = browser();
        let copy = sent.clone();
        let mut buf = BytesMut::new();
        let deadline = Instant::now() + Duration::from_secs(5);
        let (opening, ()) = tokio::join!(peek(&mut agent, &mut buf, LIMIT, deadline), async {
            for piece in copy.chunks(77) {
                client.write_all(piece).await.unwrap();
            }
        });
        assert!(matches!(opening.unwrap(), Opening::Tls(_)));
        assert_eq!(buf, sent);
    }

    #[tokio::test(start_paused = true)]
    async fn peek_ends_on_silence_on_eof_and_at_the_limit() {
        let deadline = || Instant::now() + Duration::from_secs(5);

        let (_silent, mut agent) = tokio::io::duplex(100);
        let mut buf = BytesMut::new();
        let opening = peek(&mut agent, &mut buf, LIMIT, deadline()).await.unwrap();
        assert_eq!(opening, Opening::Silent);

        let (mut client, mut agent) = tokio::io::duplex(100);
        client.write_all(&[22, 3, 1]).await.unwrap();
        drop(client);
        let opening = peek(&mut agent, &mut buf, LIMIT, deadline()).await.unwrap();
        assert_eq!(opening, Opening::Closed);
        assert_eq!(&buf[..], [22, 3, 1]);

        let (mut client, mut agent) = tokio::io::duplex(1 << 16);
        let drip: Vec<u8> = handshake(&[0; 10_000]).iter().flat_map(|b| record(&[*b])).collect();
        client.write_all(&drip).await.unwrap();
        let opening = peek(&mut agent, &mut BytesMut::new(), LIMIT, deadline()).await.unwrap();
        assert_eq!(opening, Opening::Malformed);
    }
}
