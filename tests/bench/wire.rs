//! HTTP/1.1 by hand, both ends: just enough for the benchmark, and cheap enough not to be what is
//! measured.

use anyhow::{Context, bail, ensure};
use memchr::memmem;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Read at once; a TLS record is at most this long.
const READ: usize = 16 * 1024;

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    Known(usize),
    Chunked,
}

/// Bytes read and not yet taken.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    taken: usize,
}

impl Buffer {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    fn take(&mut self, count: usize) {
        self.taken += count;
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        }
    }

    /// Reads more; `false` at the end.
    async fn fill(&mut self, from: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<bool> {
        self.bytes.reserve(READ);
        Ok(from.read_buf(&mut self.bytes).await? > 0)
    }

    /// The next head, with its final empty line; `None` if the peer closes instead.
    pub(crate) async fn head(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
    ) -> anyhow::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = memmem::find(self.rest(), b"\r\n\r\n") {
                let head = self.rest()[..end + 4].to_vec();
                self.take(end + 4);
                return Ok(Some(head));
            }
            if !self.fill(from).await? {
                ensure!(self.rest().is_empty(), "closed in the middle of a head");
                return Ok(None);
            }
        }
    }

    /// Reads a body and hands each piece of content to `sink`, as it arrives.
    pub(crate) async fn body(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        length: Length,
        mut sink: impl FnMut(&[u8]),
    ) -> anyhow::Result<()> {
        match length {
            Length::Known(length) => self.exactly(from, length, &mut sink).await,
            Length::Chunked => loop {
                let size = self.chunk_size(from).await?;
                self.exactly(from, size, &mut sink).await?;
                self.exactly(from, 2, &mut |_line_end: &[u8]| {}).await?;
                if size == 0 {
                    return Ok(());
                }
            },
        }
    }

    async fn exactly(
        &mut self,
        from: &mut (impl AsyncRead + Unpin),
        mut length: usize,
        sink: &mut impl FnMut(&[u8]),
    ) -> anyhow::Result<()> {
        while length > 0 {
            if self.rest().is_empty() {
                ensure!(self.fill(from).await?, "closed in the middle of a body");
            }
            let count = length.min(self.rest().len());
            sink(&self.rest()[..count]);
            self.take(count);
            length -= count;
        }
        Ok(())
    }

    async fn chunk_size(&mut self, from: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<usize> {
        loop {
            if let Some(end) = memmem::find(self.rest(), b"\r\n") {
                let line = std::str::from_utf8(&self.rest()[..end])?;
                let digits = line.split(';').next().unwrap_or_default().trim();
                let size = usize::from_str_radix(digits, 16).context("a chunk's size")?;
                self.take(end + 2);
                return Ok(size);
            }
            ensure!(self.fill(from).await?, "closed in the middle of a body");
        }
    }
}

/// The value of a header field, whatever the case of its name.
pub(crate) fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let lines = head.split(|&byte| byte == b'\n');
    let mut lines = lines.filter_map(|line| std::str::from_utf8(line).ok());
    lines.find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// How long the body after a head is; without a word about it there is none.
pub(crate) fn length(head: &[u8]) -> anyhow::Result<Length> {
    if let Some(length) = field(head, "content-length") {
        return Ok(Length::Known(length.parse()?));
    }
    match field(head, "transfer-encoding") {
        Some(coding) if coding.eq_ignore_ascii_case("chunked") => Ok(Length::Chunked),
        Some(coding) => bail!("transfer coding {coding}"),
        None => Ok(Length::Known(0)),
    }
}
