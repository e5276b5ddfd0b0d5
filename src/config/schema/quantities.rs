//! What quantities look like, as patterns: no more than an editor can tell at once, and never stricter than the readers.

use serde_json::{Value as Json, json};

/// By what the readers call it; text or a number, where nothing is known of it.
pub(super) fn schema(wants: &str) -> Json {
    match pattern(wants) {
        Some(pattern) => json!({ "type": "string", "pattern": pattern }),
        None => json!({ "type": ["string", "number"] }),
    }
}

const DURATION: &str = r"^(\d+\s*d)?(\d+\s*h)?(\d+\s*m)?(\d+\s*s)?(\d+\s*ms)?$";

fn pattern(wants: &str) -> Option<&'static str> {
    match wants {
        "a duration with a unit" => Some(DURATION),
        "a size with a unit" => Some(r"^\d+\s*(B|[kMGT]B|[KMGT]iB)$"),
        "a rate with a unit" => Some(r"^\d+\s*(B|[kMGT]B|[KMGT]iB)(/s)?$"),
        "an amount of money" => Some(r"^\d+(\.\d{1,2})? +[A-Z]{3}$"),
        "a number in a second" => Some(r"^\d+\s*/s$"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::units;

    #[test]
    fn patterns_take_what_the_readers_take() {
        let takes = |wants: &str, text: &str| regex::Regex::new(pattern(wants).unwrap()).unwrap().is_match(text);
        for text in ["500ms", "5s", "2m", "1h30m", "1d", "1d2h3m4s5ms", "5 s", "5", "s", "1s1m", "1.5s", "5x"] {
            assert_eq!(takes("a duration with a unit", text), units::duration(text).is_ok(), "{text}");
        }
        for text in ["512B", "64MiB", "1GB", "1 KiB", "5", "5KB", "MiB", "1.5GiB", "5MiB/s"] {
            assert_eq!(takes("a size with a unit", text), units::size(text).is_ok(), "{text}");
            assert_eq!(takes("a rate with a unit", text), units::rate(text).is_ok(), "{text}");
        }
        for text in ["412.50 USD", "412 USD", "412.5  EUR", "412", "412.505 USD", "USD", "412 usd"] {
            assert_eq!(takes("an amount of money", text), units::money(text).is_ok(), "{text}");
        }
        for text in ["100/s", "100 /s", "100", "/s"] {
            assert_eq!(takes("a number in a second", text), units::per_second(text).is_ok(), "{text}");
        }
    }
}
