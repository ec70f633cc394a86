//! Calls as a file: read from the ledger page by page, as fast as they are taken.

use futures_util::Stream;

use super::super::calls::{CallQuery, CallRow};
use super::super::harmless::inert;
use super::super::routes::{Refusal, Shared, ask};
use super::Format;
use crate::record::CallId;

/// Calls read at a time: what an export holds in memory, however long it is.
const PAGE: u32 = 500;

/// Columns of the CSV; they are named as the JSON's keys are.
const COLUMNS: [&str; 48] = [
    "call_id",
    "started_at",
    "kind",
    "via",
    "workload",
    "app",
    "unit",
    "container",
    "pid",
    "exe",
    "command",
    "uid",
    "user",
    "agent_name",
    "environment",
    "team",
    "account",
    "provider",
    "host",
    "operation",
    "method",
    "path",
    "model",
    "model_served",
    "stream",
    "status",
    "outcome",
    "error",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_input_tokens",
    "audio_output_tokens",
    "usage_source",
    "cost_usd",
    "billing",
    "price_version",
    "attempts",
    "retry_of",
    "ttft_ms",
    "latency_ms",
    "upstream_ms",
    "bytes_in",
    "bytes_out",
    "flags",
];

/// A file that is being written.
pub(super) struct Export {
    shared: Shared,
    calls: CallQuery,
    format: Format,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing has been written.
    Begin,
    /// There may be more after this call.
    After(CallId),
    /// All of it has been written.
    Over,
}

/// The file cannot be gone on with; whoever reads it sees that it breaks off.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Unread(#[from] Refusal),
    #[error(transparent)]
    Csv(#[from] csv::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

impl Export {
    pub(super) fn new(shared: Shared, calls: CallQuery, format: Format) -> Self {
        Self { shared, calls, format, state: State::Begin }
    }

    pub(super) fn stream(self) -> impl Stream<Item = Result<Vec<u8>, Broken>> {
        futures_util::stream::unfold(self, async |mut export| {
            let part = export.part().await;
            if part.is_err() {
                export.state = State::Over;
            }
            part.transpose().map(|part| (part, export))
        })
    }

    /// The next page's part of the file; `None` after the last one.
    async fn part(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        let after = match self.state {
            State::Begin => None,
            State::After(last) => Some(last),
            State::Over => return Ok(None),
        };
        let page = CallQuery { after, limit: Some(PAGE), ..self.calls.clone() };
        let rows = ask(&self.shared, move |agent| agent.page(&page)).await?;
        let full = rows.len() == PAGE as usize;
        let first = after.is_none();
        self.state = match rows.last() {
            Some(last) if full => State::After(last.call_id),
            _ => State::Over,
        };
        let part = match self.format {
            Format::Csv => csv_part(&rows, first)?,
            Format::Json => json_part(&rows, first, !full)?,
        };
        Ok(Some(part))
    }
}

fn json_part(rows: &[CallRow], first: bool, last: bool) -> serde_json::Result<Vec<u8>> {
    let mut part = Vec::with_capacity(rows.len() * 1024);
    for (place, row) in rows.iter().enumerate() {
        part.extend(if first && place == 0 { &b"[\n"[..] } else { &b",\n"[..] });
        serde_json::to_writer(&mut part, row)?;
    }
    if first && rows.is_empty() {
        part.push(b'[');
    }
    if last {
        part.extend(b"\n]\n");
    }
    Ok(part)
}

fn csv_part(rows: &[CallRow], first: bool) -> csv::Result<Vec<u8>> {
    let mut part = Vec::with_capacity(rows.len() * 512);
    let mut out = csv::Writer::from_writer(&mut part);
    if first {
        out.write_record(COLUMNS)?;
    }
    for row in rows {
        out.write_record(cells(row)?.iter().map(String::as_bytes))?;
    }
    out.flush()?;
    drop(out);
    Ok(part)
}

/// A call's cells, by the names of its JSON form. Whatever is text came from a process or a
/// provider: a spreadsheet is not to take it for a formula.
fn cells(row: &CallRow) -> csv::Result<Vec<String>> {
    let value = serde_json::to_value(row).map_err(std::io::Error::from)?;
    let cell = |name: &&str| match value.get(*name) {
        None | Some(serde_json::Value::Null) => String::new(),
        // Its sign is a minus and nothing else.
        Some(serde_json::Value::String(money)) if *name == "cost_usd" => money.clone(),
        Some(serde_json::Value::String(text)) => inert(text).into_owned(),
        Some(serde_json::Value::Array(words)) => {
            words.iter().filter_map(|word| word.as_str()).collect::<Vec<_>>().join(" ")
        }
        Some(other) => other.to_string(),
    };
    Ok(COLUMNS.iter().map(cell).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::admin::sample::sample;

    #[test]
    fn every_key_of_a_call_has_a_column() {
        let value = serde_json::to_value(sample()).unwrap();
        let keys: BTreeSet<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(COLUMNS.into_iter().collect::<BTreeSet<_>>(), keys);
    }

    #[test]
    fn pages_make_one_file_and_no_formula() {
        let call = CallRow { workload: "=cmd|' /C calc'!A0".to_owned(), ..sample() };
        let two = [call.clone(), CallRow { command: "a,\"b\"\nc".to_owned(), ..call.clone() }];
        let of = |lengths: &[usize]| lengths.iter().map(|n| &two[..*n]).collect::<Vec<_>>();
        for (pages, count) in [(of(&[2, 1]), 3), (of(&[2, 0]), 2), (of(&[0]), 0)] {
            let (mut json, mut csv) = (Vec::new(), Vec::new());
            for (place, page) in pages.iter().enumerate() {
                let (first, last) = (place == 0, place + 1 == pages.len());
                json.extend(json_part(page, first, last).unwrap());
                csv.extend(csv_part(page, first).unwrap());
            }
            let read: Vec<CallRow> = serde_json::from_slice(&json).unwrap();
            assert_eq!(read.len(), count);
            assert!(read.iter().all(|row| row.workload == call.workload), "the JSON is exact");
            let mut reader = csv::Reader::from_reader(&csv[..]);
            assert_eq!(reader.headers().unwrap(), &COLUMNS[..]);
            let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
            assert_eq!(rows.len(), count);
            for row in &rows {
                assert_eq!(&row[4], "'=cmd|' /C calc'!A0");
                assert_eq!(&row[37], "0.0145");
            }
            assert!(count < 2 || &rows[1][10] == "a,\"b\"\\u{a}c");
        }
    }
}
