//! The live table: spend by workload, redrawn in place on a terminal.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use serde_json::Value;

/// How often a line is printed where nothing can be redrawn.
const EVERY: u32 = 5;

/// Draws what `weir spend --by workload --json` answered.
#[derive(Debug, Default)]
pub(super) struct Table {
    drawn: usize,
    updates: u32,
}

impl Table {
    /// Shows the present state: in place of the last one on a terminal, as a short line now and
    /// then elsewhere.
    pub(super) fn update(&mut self, spend: &Value) -> io::Result<()> {
        let mut out = io::stdout().lock();
        self.updates += 1;
        if !out.is_terminal() {
            let total = &spend["total"];
            if self.updates.is_multiple_of(EVERY) {
                writeln!(out, "  … {} calls, ${}", count(total, "calls"), dollars(total))?;
            }
            return out.flush();
        }
        self.erase(&mut out)?;
        let text = render(spend);
        self.drawn = text.lines().count();
        write!(out, "{text}")?;
        out.flush()
    }

    /// Shows the last state, to stay.
    pub(super) fn last(&mut self, spend: &Value) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if out.is_terminal() {
            self.erase(&mut out)?;
        }
        write!(out, "{}", render(spend))?;
        out.flush()
    }

    fn erase(&self, out: &mut impl Write) -> io::Result<()> {
        // Up to the table's first line, then clear to the end of the screen.
        if self.drawn > 0 { write!(out, "\x1b[{}A\x1b[J", self.drawn) } else { Ok(()) }
    }
}

/// At most 80 columns.
fn render(spend: &Value) -> String {
    let mut text =
        line("WORKLOAD", ["CALLS", "TOKENS IN", "TOKENS OUT", "COST"].map(str::to_owned));
    for row in spend["rows"].as_array().into_iter().flatten() {
        text += &line(row["workload"].as_str().unwrap_or("?"), figures(row));
    }
    text + &line("total", figures(&spend["total"]))
}

fn figures(row: &Value) -> [String; 4] {
    let sum = |keys: &[&str]| keys.iter().map(|key| count(row, key)).sum::<u64>();
    let sent = sum(&[
        "input_tokens",
        "cache_read_tokens",
        "cache_write_5m_tokens",
        "cache_write_1h_tokens",
    ]);
    let received = sum(&["output_tokens", "reasoning_tokens"]);
    [grouped(count(row, "calls")), grouped(sent), grouped(received), format!("${}", dollars(row))]
}

fn line(name: &str, [calls, sent, received, cost]: [String; 4]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _infallible =
        writeln!(text, "  {name:<32.32} {calls:>7} {sent:>11} {received:>11} {cost:>12.12}");
    text
}

pub(super) fn count(row: &Value, key: &str) -> u64 {
    row[key].as_u64().unwrap_or(0)
}

pub(super) fn dollars(row: &Value) -> &str {
    row["cost_usd"].as_str().unwrap_or("?")
}

/// `12345` is `12,345`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_sums_disjoint_counters_and_fits_the_screen() {
        let row = json!({
            "workload": "exe:python3:a_script_with_a_rather_long_name.py", "calls": 1234,
            "input_tokens": 1_000_000, "cache_read_tokens": 234_567, "output_tokens": 12,
            "reasoning_tokens": 30, "cost_usd": "1.06376125",
        });
        let text = render(&json!({"rows": [row], "total": row}));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        let row = text.lines().nth(1).unwrap();
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words[1..], ["1,234", "1,234,567", "42", "$1.06376125"]);
    }
}
