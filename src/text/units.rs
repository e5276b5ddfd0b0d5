//! Durations, sizes, percentages and money as they are written.
//!
//! A number without a unit is never guessed at.

use std::time::Duration;

/// Why a text is no such quantity: goes after "`text`".
#[derive(Debug, PartialEq, Eq)]
pub struct Bad {
    /// The reason.
    pub why: &'static str,
    /// What to write instead, where that can be said.
    pub hint: Option<String>,
}

fn bad<T>(why: &'static str) -> Result<T, Bad> {
    Err(Bad { why, hint: None })
}

/// A year: longer than any wait that makes sense.
pub const YEAR: Duration = Duration::from_secs(365 * 86_400);

const DURATIONS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// `500ms`, `5s`, `2m`, `1h30m`, `1d`.
pub fn duration(text: &str) -> Result<Duration, Bad> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        let hint = format!("write {text}s for seconds, {text}m for minutes");
        return Err(Bad { why: "has no unit", hint: Some(hint) });
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut coarsest = u64::MAX;
    while !rest.is_empty() {
        let (number, tail) = leading_number(rest)?;
        let tail = tail.trim_start();
        let end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let Some(&(_, factor)) = DURATIONS.iter().find(|(name, _)| *name == unit) else {
            return unknown_unit(unit, DURATIONS.iter().map(|(name, _)| *name));
        };
        if factor >= coarsest {
            return bad("does not go from large units to small ones");
        }
        coarsest = factor;
        total = match number.checked_mul(factor).and_then(|ms| total.checked_add(ms)) {
            Some(total) => total,
            None => return bad("is too long"),
        };
        rest = tail;
    }
    Ok(Duration::from_millis(total))
}

/// A duration as it would be written: the inverse of [`duration`].
pub fn show(d: Duration) -> String {
    let mut left = u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let mut out = String::new();
    for (unit, factor) in DURATIONS.iter().rev() {
        if left >= *factor {
            out.push_str(&format!("{}{unit}", left / factor));
            left %= factor;
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

/// `512B`, `64MiB`, `1GB`: bytes.
pub fn size(text: &str) -> Result<u64, Bad> {
    let (number, unit) = leading_number(text)?;
    let unit = unit.trim_start();
    if unit.is_empty() {
        let hint = format!("write {text}MiB, or {text}B for bytes");
        return Err(Bad { why: "has no unit", hint: Some(hint) });
    }
    match SIZES.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => number.checked_mul(*factor).map_or_else(|| bad("is too large"), Ok),
        None => unknown_unit(unit, SIZES.iter().map(|(name, _)| *name)),
    }
}

/// `50MiB/s`, or `50MiB`: bytes per second, more than none.
pub fn rate(text: &str) -> Result<u64, Bad> {
    match size(text.strip_suffix("/s").unwrap_or(text))? {
        0 => bad("is no rate to copy anything at"),
        rate => Ok(rate),
    }
}

/// `100/s`: so many in a second, from 1.
pub fn per_second(text: &str) -> Result<u64, Bad> {
    let (number, unit) = leading_number(text)?;
    match (number, unit.trim_start()) {
        (0, _) => bad("would never come to an end"),
        (_, "") => Err(Bad { why: "has no unit", hint: Some(format!("write {text}/s")) }),
        (number, "/s") => Ok(number),
        (_, unit) => unknown_unit(unit, ["/s"].into_iter()),
    }
}

/// `25%` or `25`: from 1 to 100.
pub fn percent(text: &str) -> Result<u8, Bad> {
    let digits = text.strip_suffix('%').unwrap_or(text).trim_end();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return bad("is not a whole percentage");
    }
    match digits.parse() {
        Ok(0) => bad("moves nothing"),
        Ok(n) if n <= 100 => Ok(n),
        _ => bad("is over 100"),
    }
}

/// `412.50 USD`: hundredths, and the currency.
pub fn money(text: &str) -> Result<(u64, String), Bad> {
    let Some((amount, currency)) = text.split_once(' ') else {
        return bad("is not an amount, a space and a currency");
    };
    let currency = currency.trim_start();
    if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_uppercase()) {
        return bad("does not end in a currency of three capital letters");
    }
    let (whole, cents) = amount.split_once('.').unwrap_or((amount, "00"));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(cents) || cents.len() > 2 {
        return bad("does not begin with an amount with at most two decimals");
    }
    let cents: u64 = if cents.len() == 1 { format!("{cents}0") } else { cents.to_owned() }.parse().unwrap_or(0);
    let total = whole.parse::<u64>().ok().and_then(|w| w.checked_mul(100)).and_then(|w| w.checked_add(cents));
    match total {
        Some(cents) => Ok((cents, currency.to_owned())),
        None => bad("is too large"),
    }
}

fn leading_number(text: &str) -> Result<(u64, &str), Bad> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return bad("does not begin with a number");
    }
    if rest.starts_with('.') {
        return Err(Bad {
            why: "has a fraction",
            hint: Some("use a smaller unit: 1500ms instead of 1.5s, 1536MiB instead of 1.5GiB".to_owned()),
        });
    }
    digits.parse().map_or_else(|_| bad("is too large"), |n| Ok((n, rest)))
}

fn unknown_unit<'a, T>(unit: &str, units: impl Iterator<Item = &'a str>) -> Result<T, Bad> {
    let units: Vec<&str> = units.collect();
    let hint = match units.iter().find(|known| known.eq_ignore_ascii_case(unit)) {
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("the units are {}", crate::text::list(&units)),
    };
    Err(Bad { why: if unit.is_empty() { "lacks a unit" } else { "has an unknown unit" }, hint: Some(hint) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_a_second_is_written_with_its_unit() {
        assert_eq!(per_second("100/s"), Ok(100));
        assert_eq!(per_second("100").unwrap_err().hint.as_deref(), Some("write 100/s"));
        for text in ["", "0/s", "100/m", "/s", "1.5/s", "99999999999999999999/s"] {
            per_second(text).unwrap_err();
        }
    }

    #[test]
    fn durations_read_and_show_the_same() {
        for (text, ms) in
            [("500ms", 500), ("5s", 5000), ("2m", 120_000), ("1h30m", 5_400_000), ("1d", 86_400_000), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(show(Duration::from_millis(ms)), text);
        }
        for text in [
            "",
            "30",
            "s",
            "-5s",
            "1.5s",
            "5sec",
            "30m1h",
            "99999999999999999999s",
            "18446744073709551615d",
            "5s ",
            "５s",
        ] {
            assert!(text.is_empty() || duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_need_a_unit_and_know_powers_of_two_from_powers_of_ten() {
        assert_eq!(size("64MiB"), Ok(64 << 20));
        assert_eq!(size("64 MB"), Ok(64_000_000));
        assert_eq!(rate("50MiB/s"), Ok(50 << 20));
        assert_eq!(size("64").map_err(|e| e.why), Err("has no unit"));
        assert_eq!(size("64mib").map_err(|e| e.hint), Err(Some("did you mean `MiB`?".to_owned())));
        assert_eq!(size("99999999TiB").map_err(|e| e.why), Err("is too large"));
        assert!(rate("0B").is_err());
    }

    #[test]
    fn percentages_end_at_a_hundred() {
        assert_eq!(percent("25%"), Ok(25));
        assert_eq!(percent("100"), Ok(100));
        assert_eq!(percent("101%").map_err(|e| e.why), Err("is over 100"));
        assert_eq!(percent("99999%").map_err(|e| e.why), Err("is over 100"));
        assert!(percent("0%").is_err() && percent("2.5%").is_err() && percent("%").is_err());
    }

    #[test]
    fn money_is_an_amount_and_a_currency() {
        assert_eq!(money("412.50 USD"), Ok((41_250, "USD".to_owned())));
        assert_eq!(money("412.5 EUR").map(|m| m.0), Ok(41_250));
        assert_eq!(money("7 EUR").map(|m| m.0), Ok(700));
        for text in ["USD 7", "7", "7 usd", "7.123 USD", "-7 USD", "99999999999999999999 USD", "7 €"] {
            assert!(money(text).is_err(), "{text}");
        }
    }
}
