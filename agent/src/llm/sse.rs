//! Server-sent events: bytes in any pieces to the data of events, with where they stand.

use memchr::{memchr, memchr2};

/// A line longer than this is skipped; its bytes flow all the same.
const MAX_LINE: usize = 16 << 20;

/// What a piece of a stream brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// The data of the event so far, whose last line is complete. Some clients act on a line, not
    /// on the empty one that ends the event, so it is told as soon as it is there; an event whose
    /// data has several lines is told again with each of them.
    Data(&'a [u8]),
    /// The event is over, at this offset of the piece.
    End(usize),
}

/// Splits a stream of events into its parts; pieces may end anywhere.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The line is too long to be kept.
    skipped: bool,
    /// The last byte was a CR: an LF after it belongs to the same line end.
    after_cr: bool,
    /// The first line has begun.
    begun: bool,
    /// The data of the event so far, if it has any; kept only where it may get another line.
    data: Option<Vec<u8>>,
}

impl Events {
    /// Reads the next piece, from `from` on: what stands before has been read already.
    pub(super) fn feed(
        &mut self,
        piece: &[u8],
        from: usize,
        mut each: impl FnMut(Part<'_>) -> Taken,
    ) {
        let mut at = from;
        if self.after_cr && at < piece.len() {
            self.after_cr = false;
            at += usize::from(piece[at] == b'\n');
        }
        while at < piece.len() {
            let rest = &piece[at..];
            let Some(length) = line_end(rest) else {
                self.keep(rest);
                return;
            };
            let end = at + length;
            let mut next = end + 1;
            if piece[end] == b'\r' {
                match piece.get(next) {
                    Some(b'\n') => next += 1,
                    Some(_) => {}
                    None => self.after_cr = true,
                }
            }
            self.end_line(&rest[..length], next, &mut each);
            at = next;
        }
    }

    /// The stream is over: its last line counts even without an end.
    pub(super) fn finish(&mut self, mut each: impl FnMut(Part<'_>) -> Taken) {
        if !self.line.is_empty() {
            self.end_line(b"", 0, &mut each);
        }
    }

    fn keep(&mut self, start: &[u8]) {
        if self.skipped || self.line.len() + start.len() > MAX_LINE {
            self.skipped = true;
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(start);
        }
    }

    fn end_line(&mut self, tail: &[u8], next: usize, each: &mut impl FnMut(Part<'_>) -> Taken) {
        if self.skipped {
            self.skipped = false;
            return;
        }
        let mut line = std::mem::take(&mut self.line);
        if line.is_empty() {
            self.line(tail, next, each);
        } else if line.len() + tail.len() <= MAX_LINE {
            line.extend_from_slice(tail);
            self.line(&line, next, each);
            line.clear();
            // The buffer serves the next split line, unless this one was out of the ordinary.
            if line.capacity() <= 1 << 16 {
                self.line = line;
            }
        }
    }

    fn line(&mut self, line: &[u8], next: usize, each: &mut impl FnMut(Part<'_>) -> Taken) {
        let line =
            if self.begun { line } else { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) };
        self.begun = true;
        if line.is_empty() {
            self.data = None;
            each(Part::End(next));
            return;
        }
        let Some(data) = line.strip_prefix(b"data") else { return };
        let data = match data.first() {
            None => data,
            Some(b':') if data.get(1) == Some(&b' ') => &data[2..],
            Some(b':') => &data[1..],
            Some(_) => return,
        };
        match &mut self.data {
            None => {
                let taken = each(Part::Data(data));
                self.data = Some(if taken == Taken::No { data.to_vec() } else { Vec::new() });
            }
            Some(before) if before.len() + data.len() < MAX_LINE => {
                before.push(b'\n');
                before.extend_from_slice(data);
                each(Part::Data(before));
            }
            Some(_) => {}
        }
    }
}

/// Whether the data told so far made sense. If it did not, it is kept for the lines to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    No,
}

/// Where the line ends. Almost all streams end lines with an LF alone, and JSON holds no raw CR,
/// so one search usually decides.
fn line_end(text: &[u8]) -> Option<usize> {
    match memchr(b'\n', text) {
        Some(end) => memchr(b'\r', &text[..end]).or(Some(end)),
        None => memchr2(b'\r', b'\n', text),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Parts with offsets from the beginning of the stream.
    fn parts(pieces: &[&[u8]]) -> Vec<String> {
        let (mut events, mut parts, mut before) = (Events::default(), Vec::new(), 0);
        for piece in pieces {
            events.feed(piece, 0, |part| note(&mut parts, part, before));
            before += piece.len();
        }
        events.finish(|part| note(&mut parts, part, before));
        parts
    }

    fn note(parts: &mut Vec<String>, part: Part<'_>, before: usize) -> Taken {
        let known = match part {
            Part::Data(data) => {
                parts.push(format!("data {:?}", String::from_utf8_lossy(data)));
                !data.starts_with(b"{") || data.ends_with(b"}")
            }
            Part::End(at) => {
                parts.push(format!("end {}", before + at));
                true
            }
        };
        if known { Taken::Yes } else { Taken::No }
    }

    fn data(stream: &[u8]) -> Vec<String> {
        let mut parts = parts(&[stream]);
        parts.retain(|part| part.starts_with("data"));
        parts
    }

    #[test]
    fn every_line_end_and_field_form_is_read() {
        for stream in
            ["data: a\n\ndata:b\n\n", "data: a\r\n\r\ndata:b\r\n\r\n", "data: a\r\rdata:b\r\r"]
        {
            assert_eq!(data(stream.as_bytes()), ["data \"a\"", "data \"b\""], "{stream:?}");
        }
        assert_eq!(parts(&[b"\xef\xbb\xbfdata: a\n\n"]), ["data \"a\"", "end 12"]);
        assert_eq!(data(b": hi\nevent: x\nid: 1\ndata:  a\nretry: 3\n\n"), ["data \" a\""]);
        assert_eq!(data(b"data\n\ndatas: x\n\n"), ["data \"\""]);
        assert_eq!(data(b"data: a"), ["data \"a\""]);
    }

    #[test]
    fn an_event_of_several_data_lines_is_joined() {
        let stream = b"data: {\"a\":\ndata: 1\ndata: }\n\ndata: b\n\n";
        let expected = [
            "data \"{\\\"a\\\":\"",
            "data \"{\\\"a\\\":\\n1\"",
            "data \"{\\\"a\\\":\\n1\\n}\"",
            "data \"b\"",
        ];
        assert_eq!(data(stream), expected);
    }

    #[test]
    fn a_line_without_end_is_dropped_and_the_next_one_read() {
        let mut events = Events::default();
        let block = vec![b'x'; 1 << 20];
        let mut seen = 0;
        let mut feed = |piece: &[u8]| {
            events.feed(piece, 0, |part| {
                seen += usize::from(matches!(part, Part::Data(_)));
                Taken::Yes
            });
            assert!(events.line.capacity() <= 2 * MAX_LINE);
        };
        feed(b"data: ");
        (0..40).for_each(|_| feed(&block));
        feed(b"\n\ndata: b\n\n");
        assert_eq!(seen, 1);
    }

    proptest! {
        #[test]
        fn a_split_anywhere_gives_the_same_parts(
            stream in "((data: ?[a{}\"]{0,4}|:|event: x|data)?(\n|\r|\r\n)){0,12}",
            cuts in prop::collection::vec(0_usize..80, 0..6),
        ) {
            let stream = stream.as_bytes();
            let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<_> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            let data = |parts: Vec<String>| {
                parts.into_iter().filter(|part| part.starts_with("data")).collect::<Vec<_>>()
            };
            prop_assert_eq!(data(parts(&pieces)), data(parts(&[stream])));
        }
    }
}
