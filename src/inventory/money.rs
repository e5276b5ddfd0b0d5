//! Amounts as APIs write them: text or numbers, sometimes without a zero before the point.

/// Thousandths of an amount: hourly fees have three decimals. More decimals than that are left out.
pub fn thousandths(text: &str) -> Option<u64> {
    let (whole, decimals) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() && decimals.is_empty() || !digits(whole) || !digits(decimals) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let decimals: u64 = format!("{decimals:0<3}").get(..3)?.parse().ok()?;
    whole.checked_mul(1000)?.checked_add(decimals)
}

/// As inventories write it, rounded to cents.
pub fn dollars(thousandths: u64) -> String {
    let cents = thousandths.saturating_add(5) / 10;
    format!("{}.{:02} USD", cents / 100, cents % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_come_in_many_forms() {
        let read = ["1000", ".247", "16.08", "0", "12.", "412.5", "1.2345"].map(thousandths);
        assert_eq!(read, [1_000_000, 247, 16_080, 0, 12_000, 412_500, 1_234].map(Some));
        assert_eq!(["", ".", "-1", "1e3", "None", "1,000"].map(thousandths), [None; 6]);
        assert_eq!(
            [0, 4, 5, 412_500, 180_310].map(dollars),
            ["0.00 USD", "0.00 USD", "0.01 USD", "412.50 USD", "180.31 USD"]
        );
    }
}
