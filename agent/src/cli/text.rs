//! Figures and names as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub(super) use crate::admin::harmless::{clean, is_harmful};
use crate::admin::money::{Coverage, Usd};

/// `$18.42`; below ten cents with four decimals, and never `$0.0000` for something.
pub(super) fn usd(amount: Usd) -> String {
    let nanos = amount.0.0;
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let rounded = |unit: u64| nanos.saturating_add(unit / 2) / unit;
    match nanos {
        0 => "$0.00".to_owned(),
        1..50_000 => format!("{sign}<$0.0001"),
        50_000..1_000_000_000 => {
            let units = rounded(100_000);
            format!("{sign}${}.{:04}", units / 10_000, units % 10_000)
        }
        _ => {
            let cents = rounded(10_000_000);
            format!("{sign}${}.{:02}", count(cents / 100), cents % 100)
        }
    }
}

/// As [`usd`]; what is not known is `?`, never 0.
pub(super) fn usd_or_unknown(amount: Option<Usd>) -> String {
    amount.map_or_else(|| "?".to_owned(), usd)
}

/// `1,234,567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 call`, `2 calls`.
pub(super) fn calls(number: u64) -> String {
    format!("{} {}", count(number), if number == 1 { "call" } else { "calls" })
}

/// `830`, `12.3k`, `9.1M`.
pub(super) fn short(number: u64) -> String {
    scaled(number, 1000, ["", "k", "M", "G", "T"])
}

/// `830 B`, `12.3 KiB`.
pub(super) fn bytes(number: u64) -> String {
    scaled(number, 1024, [" B", " KiB", " MiB", " GiB", " TiB"])
}

fn scaled(number: u64, base: u64, units: [&str; 5]) -> String {
    let mut divisor = 1;
    let mut unit = 0;
    // In tenths, so that 999,960 becomes 1.0M and not 1000.0k.
    while unit + 1 < units.len() && tenths(number, divisor) >= base * 10 {
        divisor *= base;
        unit += 1;
    }
    match tenths(number, divisor) {
        _ if unit == 0 => format!("{number}{}", units[0]),
        tenths if tenths < 1000 => format!("{}.{}{}", tenths / 10, tenths % 10, units[unit]),
        tenths => format!("{}{}", tenths / 10, units[unit]),
    }
}

fn tenths(number: u64, divisor: u64) -> u64 {
    let tenths = (u128::from(number) * 10 + u128::from(divisor) / 2) / u128::from(divisor);
    u64::try_from(tenths).unwrap_or(u64::MAX)
}

/// `94%`; `-` where nothing was seen. Rounded down: only everything is 100%.
pub(super) fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.0}%", (ratio * 100.0).floor()))
}

/// `coverage 94% (31 of 33 connections)`.
pub(super) fn coverage(coverage: &Coverage) -> String {
    if coverage.total == 0 {
        return "coverage - (no connections to LLM hosts)".to_owned();
    }
    let share = percent(coverage.ratio());
    let (metered, total) = (count(coverage.metered), count(coverage.total));
    format!("coverage {share} ({metered} of {total} connections)")
}

/// As [`milliseconds`]; what is not known is `?`.
pub(super) fn maybe_milliseconds(span: Option<f64>) -> String {
    span.map_or_else(|| "?".to_owned(), milliseconds)
}

/// `830ms`, `12.4s`, `3m20s`.
pub(super) fn milliseconds(span: f64) -> String {
    match span {
        ..9.95 => format!("{span:.1}ms"),
        ..999.5 => format!("{span:.0}ms"),
        ..59_950.0 => format!("{:.1}s", span / 1e3),
        _ => {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "positive, and a call does not last for ages"
            )]
            let seconds = (span / 1e3) as u64;
            format!("{}m{:02}s", seconds / 60, seconds % 60)
        }
    }
}

/// `6h 3m`, `2d 4h`: the two widest units.
pub(super) fn elapsed(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(since.as_second()).max(0);
    let units = [("d", seconds / 86_400), ("h", seconds / 3600 % 24), ("m", seconds / 60 % 60)];
    let shown: Vec<String> = units
        .into_iter()
        .skip_while(|(_, amount)| *amount == 0)
        .take(2)
        .map(|(unit, amount)| format!("{amount}{unit}"))
        .collect();
    if shown.is_empty() { format!("{seconds}s") } else { shown.join(" ") }
}

/// `in 6h 3m`, `now`; `-` where there is no such time.
pub(super) fn ahead(at: Option<Timestamp>, now: Timestamp) -> String {
    match at {
        None => "-".to_owned(),
        Some(at) if at <= now => "now".to_owned(),
        Some(at) => format!("in {}", elapsed(now, at)),
    }
}

/// `2026-11-22 09:12:03` in the given zone.
pub(super) fn date_time(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::usage::NanoUsd;

    #[test]
    fn nothing_harmful_reaches_the_terminal() {
        assert_eq!(clean("exe:python3:агент.py"), "exe:python3:агент.py");
        let harmful = "a\u{1b}]0;owned\u{7}b\u{9b}2Jc\u{202e}d\ne\u{200b}";
        let cleaned = clean(harmful);
        assert_eq!(cleaned, r"a\u{1b}]0;owned\u{7}b\u{9b}2Jc\u{202e}d\u{a}e\u{200b}");
        assert!(!cleaned.contains(is_harmful));
    }

    #[test]
    fn money() {
        let shown = |nanos| usd(Usd(NanoUsd(nanos)));
        assert_eq!(shown(0), "$0.00");
        assert_eq!(shown(1), "<$0.0001");
        assert_eq!(shown(49_999), "<$0.0001");
        assert_eq!(shown(14_500_000), "$0.0145");
        assert_eq!(shown(999_999_999), "$1.0000");
        assert_eq!(shown(18_424_999_999), "$18.42");
        assert_eq!(shown(1_234_567_890_000_000), "$1,234,567.89");
        assert_eq!(shown(-2_000_000_000), "-$2.00");
        assert_eq!(usd_or_unknown(None), "?");
    }

    #[test]
    fn figures() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
        let shorts = [(830, "830"), (1000, "1.0k"), (12_345, "12.3k"), (310_000, "310k")];
        for (number, expected) in shorts.into_iter().chain([(999_960, "1.0M"), (9_140_000, "9.1M")])
        {
            assert_eq!(short(number), expected);
        }
        assert!(!short(u64::MAX).is_empty());
        assert_eq!(bytes(42_000), "41.0 KiB");
        assert_eq!(percent(Some(0.999)), "99%");
        assert_eq!(percent(None), "-");
    }

    #[test]
    fn spans() {
        let expected =
            [(0.31, "0.3ms"), (830.4, "830ms"), (12_400.0, "12.4s"), (200_000.0, "3m20s")];
        for (span, text) in expected {
            assert_eq!(milliseconds(span), text);
        }
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(elapsed(at(0), at(21_780)), "6h 3m");
        assert_eq!(elapsed(at(0), at(59)), "59s");
        assert_eq!(elapsed(at(9), at(0)), "0s");
        assert_eq!(elapsed(at(0), at(86_400)), "1d 0h");
        assert_eq!(ahead(Some(at(59)), at(0)), "in 59s");
        assert_eq!(ahead(Some(at(0)), at(9)), "now");
        assert_eq!(ahead(None, at(0)), "-");
    }
}
