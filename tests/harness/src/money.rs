//! Decimal strings to nano-dollars, exactly: the agent's own conversion is under test.

use anyhow::Context;

/// `"0.0003"` is 300,000.
pub fn nanos(decimal: &str) -> anyhow::Result<i64> {
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    anyhow::ensure!(fraction.len() <= 9, "{decimal} is finer than a nano-dollar");
    let digits = format!("{whole}{fraction:0<9}");
    digits.parse().with_context(|| format!("{decimal} is no decimal number"))
}

#[cfg(test)]
mod tests {
    use super::nanos;

    #[test]
    fn reads_decimals_exactly() {
        assert_eq!(nanos("0.0003").unwrap(), 300_000);
        assert_eq!(nanos("1.06376125").unwrap(), 1_063_761_250);
        assert_eq!(nanos("12").unwrap(), 12_000_000_000);
        assert!(nanos("0.0000000001").is_err());
        assert!(nanos("unknown").is_err());
    }
}
