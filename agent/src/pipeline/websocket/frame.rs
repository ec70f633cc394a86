//! From the bytes of one direction to what can be decided on: whole messages of text, and whatever
//! passes as it is (RFC 6455 §5).
//!
//! No byte is changed here, and none is lost: the pieces, in order, are what came, except that a
//! control frame overtakes the text message in whose middle it stands, as it may (§5.4). Text is
//! kept until it is whole, up to a limit; binary messages, longer text, and all that follows
//! something that is no WebSocket frame, pass unread.

use std::io::Cursor;

use bytes::{Buf, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// The longest payload of a control frame (RFC 6455 §5.5).
const CONTROL: u64 = 125;

/// Reads one direction.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes of a text message that are kept, at most.
    limit: usize,
    state: State,
    /// Bytes of the payload that pass unread before the next frame.
    passing: u64,
    /// The frames of the message that is not yet whole, as they came.
    raw: BytesMut,
    /// What they say.
    text: BytesMut,
    mask: Option<[u8; 4]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between two messages.
    Between,
    /// Within a text message that is kept.
    Text,
    /// Within a message that passes unread.
    Unread,
    /// What came is no WebSocket.
    Broken,
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Is not for us: a control frame, a part of something that is not read.
    Pass(Bytes),
    /// The frame that ends the talk of this side.
    Close(Bytes),
    /// A text message.
    Message(Message),
    /// The beginning of a text message that is longer than what is kept; the rest passes.
    Over(Bytes),
    /// The first bytes that are no WebSocket, and what was kept; the rest passes.
    Broken(Bytes),
}

/// A text message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// As it came.
    pub(super) raw: Bytes,
    /// What it says.
    pub(super) text: Bytes,
    /// What its first frame was masked with.
    pub(super) mask: Option<[u8; 4]>,
}

impl Frames {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            state: State::Between,
            passing: 0,
            raw: BytesMut::new(),
            text: BytesMut::new(),
            mask: None,
        }
    }

    /// Whether a message of our own may stand here.
    pub(super) fn is_between(&self) -> bool {
        self.passing == 0 && matches!(self.state, State::Between | State::Text)
    }

    /// Reads messages up to so many bytes from now on.
    pub(super) fn read_up_to(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Bytes kept of a message that is not yet whole.
    pub(super) fn kept(&self) -> usize {
        self.raw.len() + self.text.len()
    }

    /// The next piece of what came; `None` where more has to come first.
    pub(super) fn next(&mut self, came: &mut BytesMut) -> Option<Piece> {
        loop {
            if came.is_empty() {
                return None;
            }
            if self.state == State::Broken {
                return Some(Piece::Pass(came.split().freeze()));
            }
            if self.passing > 0 {
                let here = usize::try_from(self.passing).unwrap_or(usize::MAX).min(came.len());
                self.passing -= here as u64;
                return Some(Piece::Pass(came.split_to(here).freeze()));
            }
            let mut cursor = Cursor::new(&came[..]);
            let (header, length) = match FrameHeader::parse(&mut cursor) {
                Ok(Some(parsed)) => parsed,
                Ok(None) => return None,
                Err(_reserved) => return Some(self.broken(came)),
            };
            let head = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
            // No extension was agreed on, so that none of these bits has a meaning (§5.2).
            if header.rsv1 || header.rsv2 || header.rsv3 {
                return Some(self.broken(came));
            }
            let kind = match header.opcode {
                OpCode::Control(control) => {
                    if !header.is_final || length > CONTROL {
                        return Some(self.broken(came));
                    }
                    let whole = head + usize::try_from(length).unwrap_or(0);
                    if came.len() < whole {
                        return None;
                    }
                    let frame = came.split_to(whole).freeze();
                    let is_close = control == Control::Close;
                    return Some(if is_close { Piece::Close(frame) } else { Piece::Pass(frame) });
                }
                OpCode::Data(kind) => kind,
            };
            let begins = kind != Data::Continue;
            if begins != (self.state == State::Between) {
                return Some(self.broken(came));
            }
            let within = match (self.state, kind) {
                (State::Between, Data::Text) => State::Text,
                (State::Between, _) => State::Unread,
                (state, _) => state,
            };
            let after = if header.is_final { State::Between } else { within };
            if within == State::Unread {
                self.state = after;
                self.passing = length;
                return Some(Piece::Pass(came.split_to(head).freeze()));
            }
            let kept = (self.raw.len() + head) as u64;
            if kept.saturating_add(length) > self.limit as u64 {
                self.state = if header.is_final { State::Between } else { State::Unread };
                self.passing = length;
                self.text.clear();
                return Some(Piece::Over(self.kept_and(came.split_to(head))));
            }
            let whole = head + usize::try_from(length).unwrap_or(usize::MAX);
            if came.len() < whole {
                return None;
            }
            if self.state == State::Between {
                self.mask = header.mask;
            }
            self.state = after;
            let frame = came.split_to(whole);
            if header.is_final && self.raw.is_empty() {
                return Some(Piece::Message(self.single(frame, head, header.mask)));
            }
            let begin = self.text.len();
            self.text.extend_from_slice(&frame[head..]);
            unmask(&mut self.text[begin..], header.mask);
            self.raw.extend_from_slice(&frame);
            if header.is_final {
                let (raw, text) = (self.raw.split().freeze(), self.text.split().freeze());
                return Some(Piece::Message(Message { raw, text, mask: self.mask }));
            }
        }
    }

    /// What was kept when this side stopped talking in the middle.
    pub(super) fn rest(&mut self, came: &mut BytesMut) -> Bytes {
        self.kept_and(came.split())
    }

    /// A message of one frame, as most are: what is not masked is not copied.
    fn single(&self, frame: BytesMut, head: usize, mask: Option<[u8; 4]>) -> Message {
        if mask.is_none() {
            let raw = frame.freeze();
            return Message { text: raw.slice(head..), raw, mask };
        }
        let mut text = BytesMut::from(&frame[head..]);
        unmask(&mut text, mask);
        Message { raw: frame.freeze(), text: text.freeze(), mask: self.mask }
    }

    fn broken(&mut self, came: &mut BytesMut) -> Piece {
        self.state = State::Broken;
        self.text.clear();
        Piece::Broken(self.kept_and(came.split()))
    }

    fn kept_and(&mut self, more: BytesMut) -> Bytes {
        if self.raw.is_empty() {
            return more.freeze();
        }
        let mut all = self.raw.split();
        all.extend_from_slice(&more);
        all.freeze()
    }
}

/// A text message of our own. A client's frames are masked, with what it chose itself or with
/// random bytes, a server's are not (RFC 6455 §5.3).
pub(super) fn text(message: &[u8], mask: Option<[u8; 4]>) -> Bytes {
    whole(OpCode::Data(Data::Text), message, mask)
}

/// The frame that ends the talk, with its reason (RFC 6455 §7.4).
pub(super) fn close(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Bytes {
    let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
    whole(OpCode::Control(Control::Close), &payload, mask)
}

fn whole(opcode: OpCode, payload: &[u8], mask: Option<[u8; 4]>) -> Bytes {
    let header =
        FrameHeader { is_final: true, rsv1: false, rsv2: false, rsv3: false, opcode, mask };
    let mut frame = Vec::with_capacity(header.len(payload.len() as u64) + payload.len());
    // Writing to memory cannot fail, and the header has no other way to.
    drop(header.format(payload.len() as u64, &mut frame));
    let head = frame.len();
    frame.extend_from_slice(payload);
    unmask(&mut frame[head..], mask);
    frame.into()
}

/// Masks or unmasks (RFC 6455 §5.3).
fn unmask(payload: &mut [u8], mask: Option<[u8; 4]>) {
    let Some(mask) = mask else { return };
    let whole = u32::from_ne_bytes(mask);
    let mut chunks = payload.chunks_exact_mut(4);
    for chunk in &mut chunks {
        let mut four = &chunk[..];
        let word = four.get_u32_ne() ^ whole;
        chunk.copy_from_slice(&word.to_ne_bytes());
    }
    for (byte, mask) in chunks.into_remainder().iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 64;
    const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

    fn frame(opcode: OpCode, is_final: bool, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
        let mut bytes = whole(opcode, payload, mask).to_vec();
        if !is_final {
            bytes[0] &= 0x7f;
        }
        bytes
    }

    const TEXT: OpCode = OpCode::Data(Data::Text);
    const BINARY: OpCode = OpCode::Data(Data::Binary);
    const MORE: OpCode = OpCode::Data(Data::Continue);
    const PING: OpCode = OpCode::Control(Control::Ping);

    /// All pieces of bytes that come in these parts, neighbouring ones that pass put together.
    fn pieces(parts: &[&[u8]]) -> Vec<Piece> {
        let (mut frames, mut came) = (Frames::new(LIMIT), BytesMut::new());
        let mut all: Vec<Piece> = Vec::new();
        for part in parts {
            came.extend_from_slice(part);
            while let Some(piece) = frames.next(&mut came) {
                match (all.last_mut(), piece) {
                    (
                        Some(Piece::Pass(last) | Piece::Over(last) | Piece::Broken(last)),
                        Piece::Pass(more),
                    ) => *last = [&last[..], &more[..]].concat().into(),
                    (_, piece) => all.push(piece),
                }
            }
            assert!(came.len() + frames.kept() <= 3 * LIMIT, "too much is kept");
        }
        all
    }

    fn said(pieces: &[Piece]) -> Vec<String> {
        let texts = pieces.iter().filter_map(|piece| match piece {
            Piece::Message(message) => Some(String::from_utf8_lossy(&message.text).into_owned()),
            _ => None,
        });
        texts.collect()
    }

    fn bytes(pieces: &[Piece]) -> Vec<u8> {
        let raw = pieces.iter().map(|piece| match piece {
            Piece::Message(message) => &message.raw,
            Piece::Pass(raw) | Piece::Close(raw) | Piece::Over(raw) | Piece::Broken(raw) => raw,
        });
        raw.flat_map(|raw| raw.iter().copied()).collect()
    }

    #[test]
    fn text_is_read_whole_and_everything_else_passes() {
        let fragments = [
            frame(TEXT, false, b"he", MASK),
            frame(PING, true, b"p", MASK),
            frame(MORE, false, b"", MASK),
            frame(MORE, true, b"llo", Some([9, 8, 7, 6])),
        ]
        .concat();
        let got = pieces(&[&fragments]);
        assert_eq!(got.len(), 2);
        assert_eq!(got[0], Piece::Pass(frame(PING, true, b"p", MASK).into()), "it overtakes");
        assert_eq!(said(&got), ["hello"]);

        let plain = frame(TEXT, true, b"hi", None);
        let message = Message { raw: plain.clone().into(), text: "hi".into(), mask: None };
        assert_eq!(pieces(&[&plain]), [Piece::Message(message)]);

        let binary =
            [frame(BINARY, false, &[0; 200], MASK), frame(MORE, true, &[1; 200], MASK)].concat();
        let got = pieces(&[&binary, &frame(TEXT, true, b"x", MASK)]);
        assert_eq!(got[0], Piece::Pass(binary.into()));
        assert_eq!(said(&got), ["x"]);

        let close = close(1000, "bye", MASK);
        assert_eq!(pieces(&[&close]), [Piece::Close(close.clone())]);
    }

    #[test]
    fn what_is_too_long_passes_unread_and_the_next_is_read_again() {
        for long in [
            frame(TEXT, true, &[b'x'; 100], MASK),
            [frame(TEXT, false, &[b'x'; 40], MASK), frame(MORE, true, &[b'x'; 40], MASK)].concat(),
            // Headers are kept too: empty fragments without end must not grow anything.
            [vec![frame(TEXT, false, b"", MASK)], vec![frame(MORE, false, b"", MASK); 30]]
                .concat()
                .concat(),
        ] {
            let got = pieces(&[&long]);
            assert_eq!(got, [Piece::Over(long.clone().into())]);
        }
        let two = [frame(TEXT, true, &[b'x'; 100], MASK), frame(TEXT, true, b"y", MASK)].concat();
        assert_eq!(said(&pieces(&[&two])), ["y"]);
    }

    #[test]
    fn what_is_no_websocket_passes_for_good() {
        let text = frame(TEXT, true, b"x", MASK);
        for broken in [
            &b"anybody there?\n"[..],
            &frame(MORE, true, b"x", None),
            &[frame(TEXT, false, b"x", None), frame(TEXT, true, b"x", None)].concat(),
            &[0x83, 0],
            &[0xc1, 1, b'x'],
            &frame(PING, false, b"", None),
            &[0x89, 126, 0, 200],
        ] {
            let all = [broken, &text[..], &text[..]].concat();
            let got = pieces(&[&all]);
            assert_eq!(got.len(), 1, "{broken:?}: {got:?}");
            assert!(matches!(got[0], Piece::Broken(_)), "{got:?}");
            assert_eq!(bytes(&got), all);
        }
    }

    #[test]
    fn ours_may_stand_between_messages_only() {
        let (mut frames, mut came) = (Frames::new(LIMIT), BytesMut::new());
        assert!(frames.is_between());
        came.extend_from_slice(&frame(TEXT, false, b"x", None));
        assert_eq!(frames.next(&mut came), None);
        assert!(frames.is_between(), "nothing of it is out yet");
        came.extend_from_slice(&frame(MORE, false, &[0; 80], None)[..20]);
        assert!(matches!(frames.next(&mut came), Some(Piece::Over(_))));
        assert!(!frames.is_between());
    }

    fn any_frame() -> impl Strategy<Value = Vec<u8>> {
        let payload = prop::collection::vec(any::<u8>(), 0..90);
        let mask = prop::option::of(any::<[u8; 4]>());
        let opcode = prop::sample::select(vec![TEXT, TEXT, MORE, BINARY, PING]);
        (opcode, any::<bool>(), payload, mask)
            .prop_map(|(opcode, is_final, payload, mask)| frame(opcode, is_final, &payload, mask))
    }

    proptest! {
        #[test]
        fn a_split_anywhere_gives_the_same(
            frames in prop::collection::vec(any_frame(), 0..8),
            cuts in prop::collection::vec(0_usize..600, 0..8),
        ) {
            let all = frames.concat();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(all.len())).collect();
            cuts.extend([0, all.len()]);
            cuts.sort_unstable();
            let parts: Vec<_> = cuts.windows(2).map(|cut| &all[cut[0]..cut[1]]).collect();
            prop_assert_eq!(pieces(&parts), pieces(&[&all]));
        }

        #[test]
        fn any_bytes_come_out_as_they_went_in(all in prop::collection::vec(any::<u8>(), 0..300)) {
            let (mut frames, mut came) = (Frames::new(LIMIT), BytesMut::from(&all[..]));
            let mut out = Vec::new();
            while let Some(piece) = frames.next(&mut came) {
                out.push(piece);
            }
            out.push(Piece::Pass(frames.rest(&mut came)));
            let mut out = bytes(&out);
            let mut all = all;
            // A control frame may have overtaken.
            out.sort_unstable();
            all.sort_unstable();
            prop_assert_eq!(out, all);
        }
    }
}
