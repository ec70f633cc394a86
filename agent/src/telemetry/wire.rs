//! Protobuf messages written field by field, from texts that stay where they are. Spans and log
//! lines come by the thousand a second, and as values of their own each would be some fifty strings
//! to make and to free.
//!
//! The format: <https://protobuf.dev/programming-guides/encoding/>. Tests read what is written here
//! by the official types.

use prost::Message;
use prost::encoding::{self, WireType};

/// A message being written.
#[derive(Debug, Default)]
pub(super) struct Wire(Vec<u8>);

impl Wire {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    pub(super) fn done(self) -> Vec<u8> {
        self.0
    }

    /// A message in a field of this one.
    pub(super) fn within(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        encoding::encode_key(field, WireType::LengthDelimited, &mut self.0);
        let start = self.0.len();
        // Its length, known when it is over: one byte is enough for most.
        self.0.push(0);
        write(self);
        let length = (self.0.len() - start - 1) as u64;
        if let Ok(short @ 0..0x80) = u8::try_from(length) {
            self.0[start] = short;
        } else {
            let mut prefix = Vec::with_capacity(encoding::encoded_len_varint(length));
            encoding::encode_varint(length, &mut prefix);
            self.0.splice(start..=start, prefix);
        }
    }

    /// A message that there is as a value.
    pub(super) fn message(&mut self, field: u32, message: &impl Message) {
        encoding::message::encode(field, message, &mut self.0);
    }

    pub(super) fn bytes(&mut self, field: u32, bytes: &[u8]) {
        encoding::encode_key(field, WireType::LengthDelimited, &mut self.0);
        encoding::encode_varint(bytes.len() as u64, &mut self.0);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn text(&mut self, field: u32, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    /// One text, in parts.
    pub(super) fn joined(&mut self, field: u32, parts: &[&str]) {
        encoding::encode_key(field, WireType::LengthDelimited, &mut self.0);
        encoding::encode_varint(parts.iter().map(|part| part.len() as u64).sum(), &mut self.0);
        for part in parts {
            self.0.extend_from_slice(part.as_bytes());
        }
    }

    /// `bool`.
    pub(super) fn flag(&mut self, field: u32, flag: bool) {
        encoding::bool::encode(field, &flag, &mut self.0);
    }

    /// `int32`, or one of an enumeration.
    pub(super) fn int32(&mut self, field: u32, number: i32) {
        encoding::int32::encode(field, &number, &mut self.0);
    }

    /// `uint32`.
    pub(super) fn uint32(&mut self, field: u32, number: u32) {
        encoding::uint32::encode(field, &number, &mut self.0);
    }

    /// `int64`.
    pub(super) fn int64(&mut self, field: u32, number: i64) {
        encoding::int64::encode(field, &number, &mut self.0);
    }

    /// `fixed32`.
    pub(super) fn fixed32(&mut self, field: u32, number: u32) {
        encoding::fixed32::encode(field, &number, &mut self.0);
    }

    /// `fixed64`.
    pub(super) fn fixed64(&mut self, field: u32, number: u64) {
        encoding::fixed64::encode(field, &number, &mut self.0);
    }

    /// `double`.
    pub(super) fn double(&mut self, field: u32, number: f64) {
        encoding::double::encode(field, &number, &mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::{Status, span::Event};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_of_every_size_come_out_as_the_library_writes_them() {
        for length in [0, 1, 117, 118, 119, 120, 127, 128, 16_370, 16_383, 16_384, 3_000_000] {
            let name = "x".repeat(length);
            let mut wire = Wire::default();
            wire.within(11, |event| event.text(2, &name));
            let mut expected = Vec::new();
            let event = Event { name, ..Event::default() };
            // The library leaves out what is empty.
            let inner = if length == 0 { vec![0x12, 0] } else { event.encode_to_vec() };
            encoding::bytes::encode(11, &inner, &mut expected);
            assert!(wire.done() == expected, "{length}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_by_the_official_types(
            (message, parts) in (".{0,300}", prop::collection::vec(".{0,90}", 0..5)),
            (code, at, dropped) in (any::<i32>(), any::<u64>(), any::<u32>()),
        ) {
            let mut wire = Wire::default();
            wire.text(2, &message);
            wire.int32(3, code);
            prop_assert_eq!(Status::decode(&*wire.done()).unwrap(), Status { message, code });
            let mut wire = Wire::default();
            wire.fixed64(1, at);
            wire.joined(2, &parts.iter().map(|part| &**part).collect::<Vec<_>>());
            wire.uint32(4, dropped);
            let event = Event {
                time_unix_nano: at,
                name: parts.concat(),
                dropped_attributes_count: dropped,
                ..Event::default()
            };
            prop_assert_eq!(Event::decode(&*wire.done()).unwrap(), event);
        }
    }
}
