//! What a plain (unquoted) scalar means, and which ones mean different things to different YAML readers.

/// The meaning of a plain scalar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plain {
    /// Nothing: empty, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A decimal integer without sign or leading zero.
    Integer(u64),
    /// Any other decimal number: negative, with a fraction, or too large.
    Number,
    /// Something that one reader takes for text and another for something else.
    Ambiguous(Reading),
    /// Text.
    Text,
}

/// What another reader would make of an ambiguous scalar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// `yes`, `on`, `y` or `no`, `off`, `n`.
    Bool(bool),
    /// `0x1f`, `010`, `1_000`, `1e3`: a number, with its value where that is one thing only.
    Number(Option<u64>),
    /// `12:30:00`: a number to base 60, or a time.
    Sexagesimal,
}

/// Says what a plain scalar means.
pub fn classify(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "true" | "True" | "TRUE" => return Plain::Bool(true),
        "false" | "False" | "FALSE" => return Plain::Bool(false),
        _ => {}
    }
    match text.to_ascii_lowercase().as_str() {
        "yes" | "on" | "y" => return Plain::Ambiguous(Reading::Bool(true)),
        "no" | "off" | "n" => return Plain::Ambiguous(Reading::Bool(false)),
        ".nan" | ".inf" | "-.inf" | "+.inf" => return Plain::Ambiguous(Reading::Number(None)),
        _ => {}
    }
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let canonical = digits(whole) && (whole == "0" || !whole.starts_with('0'));
    if canonical && digits(fraction) {
        return text.parse().map_or(Plain::Number, Plain::Integer);
    }
    odd_number(text).map_or(Plain::Text, Plain::Ambiguous)
}

fn odd_number(text: &str) -> Option<Reading> {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let first = body.bytes().next()?;
    if !(first.is_ascii_digit() || first == b'.') {
        return None;
    }
    let plain: String = body.chars().filter(|&c| c != '_').collect();
    if let Some((prefix, rest)) = plain.split_at_checked(2)
        && let Some(radix) = radix(prefix)
        && let Ok(value) = u64::from_str_radix(rest, radix)
    {
        return Some(Reading::Number(Some(value)));
    }
    if plain.split(':').count() > 1 && plain.split(':').all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
    {
        return Some(Reading::Sexagesimal);
    }
    // Not what Rust calls a float, but what YAML does: no `inf`, no `infinity`.
    let numeric = plain.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    if !numeric || plain.parse::<f64>().is_err() {
        return None;
    }
    let leading_zero = plain.len() > 1 && plain.starts_with('0') && !plain.starts_with("0.");
    Some(Reading::Number(if leading_zero { None } else { plain.parse().ok() }))
}

fn radix(prefix: &str) -> Option<u32> {
    match prefix {
        "0x" | "0X" => Some(16),
        "0o" | "0O" => Some(8),
        "0b" | "0B" => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_every_yaml_reader_agrees_on_is_a_number_or_a_boolean() {
        assert_eq!(classify("8080"), Plain::Integer(8080));
        assert_eq!(classify("0"), Plain::Integer(0));
        assert_eq!(classify("-5"), Plain::Number);
        assert_eq!(classify("1.50"), Plain::Number);
        assert_eq!(classify("99999999999999999999999"), Plain::Number);
        assert_eq!(classify("true"), Plain::Bool(true));
        assert_eq!(classify("~"), Plain::Null);
    }

    #[test]
    fn what_readers_disagree_on_is_ambiguous() {
        for (text, reading) in [
            ("yes", Reading::Bool(true)),
            ("Off", Reading::Bool(false)),
            ("n", Reading::Bool(false)),
            ("010", Reading::Number(None)),
            ("0x1f", Reading::Number(Some(31))),
            ("0o17", Reading::Number(Some(15))),
            ("1_000", Reading::Number(Some(1000))),
            ("1e3", Reading::Number(None)),
            ("+5", Reading::Number(Some(5))),
            (".5", Reading::Number(None)),
            (".inf", Reading::Number(None)),
            ("12:30:00", Reading::Sexagesimal),
        ] {
            assert_eq!(classify(text), Plain::Ambiguous(reading), "{text}");
        }
    }

    #[test]
    fn names_addresses_and_durations_are_text() {
        for text in [
            "web-1",
            "10.0.0.1",
            "::1",
            "fe80::1",
            "10.0.0.53:53",
            "5s",
            "1h30m",
            "25%",
            "64MiB",
            "2026-08-01",
            "infinity",
            "0xyz",
            "-",
            "é",
        ] {
            assert_eq!(classify(text), Plain::Text, "{text}");
        }
    }
}
