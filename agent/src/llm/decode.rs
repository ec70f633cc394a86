//! Content decoding on the side: what the client gets stays as it came.
//!
//! Data that is broken or expands beyond reason ends the metering of its body, never the body.

use std::io::{self, Write};

use brotli_decompressor::DecompressorWriter;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// A content encoding of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// None.
    Identity,
    /// `gzip` or `x-gzip`.
    Gzip,
    /// `deflate`, with or without its zlib wrapping.
    Deflate,
    /// `br`.
    Brotli,
    /// One that is not decoded, or several.
    Other,
}

impl Encoding {
    /// From a `content-encoding` header's value; none means [`Self::Identity`].
    pub fn from_header(value: Option<&[u8]>) -> Self {
        let name = value.unwrap_or_default().trim_ascii();
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        match name {
            b"" => Self::Identity,
            _ if is("identity") => Self::Identity,
            _ if is("gzip") || is("x-gzip") => Self::Gzip,
            _ if is("deflate") => Self::Deflate,
            _ if is("br") => Self::Brotli,
            _ => Self::Other,
        }
    }
}

/// Decoded bytes beyond this need an input to match.
const FREE: usize = 16 << 20;
/// Decoded bytes allowed per byte of input, beyond [`FREE`].
const MAX_RATIO: usize = 64;
/// The decoder's own output buffer.
const BUFFER: usize = 8 << 10;

/// An incremental decoder.
pub(super) enum Decoder {
    /// Before the first byte, which tells how `deflate` is wrapped.
    Deflate,
    Gzip(MultiGzDecoder<Output>),
    Zlib(ZlibDecoder<Output>),
    Raw(DeflateDecoder<Output>),
    Brotli(Box<DecompressorWriter<Output>>),
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

/// The data is broken or expands beyond reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("broken or exploding compressed data")]
pub(super) struct Corrupt;

/// Decoded bytes not taken yet, and how many there may be in all.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    made: usize,
    allowed: usize,
}

impl Output {
    fn new() -> Self {
        Self { allowed: FREE, ..Self::default() }
    }
}

impl Write for Output {
    fn write(&mut self, decoded: &[u8]) -> io::Result<usize> {
        self.made = self.made.saturating_add(decoded.len());
        if self.made > self.allowed {
            return Err(io::Error::other(Corrupt));
        }
        self.bytes.extend_from_slice(decoded);
        Ok(decoded.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Decoder {
    /// A decoder for an encoding; none where nothing has to be or can be decoded.
    pub(super) fn new(encoding: Encoding) -> Option<Self> {
        match encoding {
            Encoding::Identity | Encoding::Other => None,
            Encoding::Gzip => Some(Self::Gzip(MultiGzDecoder::new(Output::new()))),
            Encoding::Deflate => Some(Self::Deflate),
            Encoding::Brotli => {
                Some(Self::Brotli(Box::new(DecompressorWriter::new(Output::new(), BUFFER))))
            }
        }
    }

    /// Decodes the next piece and returns what came out of it so far.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Result<Vec<u8>, Corrupt> {
        if let (Self::Deflate, Some(first)) = (&*self, piece.first()) {
            // A zlib header begins with its method, 8, in the low half of the first byte; no raw
            // stream of any use begins so (it would be a stored block with odd padding).
            *self = if first & 0x0f == 8 {
                Self::Zlib(ZlibDecoder::new(Output::new()))
            } else {
                Self::Raw(DeflateDecoder::new(Output::new()))
            };
        }
        let more = piece.len().saturating_mul(MAX_RATIO);
        let output = match self {
            Self::Deflate => return Ok(Vec::new()),
            Self::Gzip(decoder) => push(decoder, piece, more, MultiGzDecoder::get_mut),
            Self::Zlib(decoder) => push(decoder, piece, more, ZlibDecoder::get_mut),
            Self::Raw(decoder) => push(decoder, piece, more, DeflateDecoder::get_mut),
            Self::Brotli(decoder) => push(&mut **decoder, piece, more, DecompressorWriter::get_mut),
        };
        output.map_err(|_| Corrupt)
    }
}

/// Pushes a piece through a decoder and takes what it put out.
fn push<D: Write>(
    decoder: &mut D,
    piece: &[u8],
    more: usize,
    output: fn(&mut D) -> &mut Output,
) -> io::Result<Vec<u8>> {
    output(decoder).allowed = output(decoder).allowed.saturating_add(more);
    decoder.write_all(piece)?;
    // Without this the last bytes of an event would wait in the decoder for the next one.
    decoder.flush()?;
    Ok(std::mem::take(&mut output(decoder).bytes))
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    const TEXT: &[u8] = b"data: {\"x\": \"some text, some text, some text\"}\n\n";

    fn decoded(encoding: Encoding, data: &[u8], step: usize) -> Result<Vec<u8>, Corrupt> {
        let mut decoder = Decoder::new(encoding).unwrap();
        let mut all = Vec::new();
        for piece in data.chunks(step) {
            all.extend(decoder.feed(piece)?);
        }
        Ok(all)
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn each_encoding_is_decoded_in_pieces_of_any_size() {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(TEXT).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        raw.write_all(TEXT).unwrap();
        let cases = [
            (Encoding::Gzip, gzip(TEXT)),
            (Encoding::Gzip, [gzip(&TEXT[..9]), gzip(&TEXT[9..])].concat()),
            (Encoding::Deflate, zlib.finish().unwrap()),
            (Encoding::Deflate, raw.finish().unwrap()),
            // A stored block of 48 bytes (47 in the header), then the empty last one.
            (Encoding::Brotli, [b"\x8b\x17\x80".as_slice(), TEXT, b"\x03"].concat()),
        ];
        for (encoding, data) in cases {
            for step in [1, 7, 1000] {
                let decoded = decoded(encoding, &data, step);
                assert_eq!(decoded.as_deref(), Ok(TEXT), "{encoding:?} {step}");
            }
        }
    }

    #[test]
    fn an_event_comes_out_when_it_was_flushed_in() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let mut decoder = Decoder::new(Encoding::Gzip).unwrap();
        for _ in 0..3 {
            encoder.write_all(TEXT).unwrap();
            encoder.flush().unwrap();
            let piece = std::mem::take(encoder.get_mut());
            assert_eq!(decoder.feed(&piece).as_deref(), Ok(TEXT));
        }
    }

    #[test]
    fn bombs_and_garbage_are_refused() {
        let bomb = gzip(&vec![0; 1 << 20]);
        let output = Output { allowed: 1 << 10, ..Output::default() };
        let mut decoder = Decoder::Gzip(MultiGzDecoder::new(output));
        assert!(bomb.len() * MAX_RATIO < 1 << 19);
        assert_eq!(decoder.feed(&bomb), Err(Corrupt));
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            assert!(decoded(encoding, b"\xf7 certainly not compressed data", 8).is_err());
        }
    }

    #[test]
    fn headers_name_encodings() {
        let named = |value: &str| Encoding::from_header(Some(value.as_bytes()));
        assert_eq!(Encoding::from_header(None), Encoding::Identity);
        assert_eq!(named(" GZip "), Encoding::Gzip);
        assert_eq!(named("br"), Encoding::Brotli);
        assert_eq!(named("deflate"), Encoding::Deflate);
        assert_eq!(named("zstd"), Encoding::Other);
        assert_eq!(named("gzip, br"), Encoding::Other);
    }
}
