//! What a number is compared with.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::units::Bad;
use crate::yaml::map::Map;

/// A comparison with a number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// How it is compared.
    pub is: Comparison,
    /// With what.
    pub than: f64,
}

/// How a number is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// It is larger.
    Above,
    /// It is as large or larger.
    AtLeast,
    /// It is smaller.
    Below,
    /// It is as small or smaller.
    AtMost,
}

const WORDS: [(&str, Comparison); 4] = [
    ("above", Comparison::Above),
    ("at_least", Comparison::AtLeast),
    ("below", Comparison::Below),
    ("at_most", Comparison::AtMost),
];

impl Bound {
    /// Reads the one comparison that is given in a mapping.
    pub fn read(map: &Map<'_>) -> Option<Self> {
        let given: Vec<_> = WORDS.iter().filter_map(|(word, is)| Some((map.get(word)?, *is))).collect();
        match given.as_slice() {
            [] => {
                // Reports that it is missing, unless something like it is there.
                map.need("below", "0.01");
                None
            }
            [(value, is)] => value.unit("a number", "0.01", number).map(|than| Self { is: *is, than }),
            [_, (second, _), ..] => {
                second.error(
                    "a number is compared in one way",
                    "make two of it, or write the query so that it says yes or no: `(…) > bool 5`",
                );
                None
            }
        }
    }

    /// Whether a number is as it should be.
    pub fn holds(&self, number: f64) -> bool {
        match self.is {
            Comparison::Above => number > self.than,
            Comparison::AtLeast => number >= self.than,
            Comparison::Below => number < self.than,
            Comparison::AtMost => number <= self.than,
        }
    }

    /// The number of several that is furthest from what it should be.
    pub fn worst(&self, numbers: impl Iterator<Item = f64>) -> Option<f64> {
        match self.is {
            Comparison::Above | Comparison::AtLeast => numbers.reduce(f64::min),
            Comparison::Below | Comparison::AtMost => numbers.reduce(f64::max),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.is {
            Comparison::Above => "above",
            Comparison::AtLeast => "at least",
            Comparison::Below => "below",
            Comparison::AtMost => "at most",
        };
        write!(f, "{word} {}", self.than)
    }
}

/// A number as people write it.
pub fn number(text: &str) -> Result<f64, Bad> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
    match text.parse::<f64>() {
        Ok(number) if plain && number.is_finite() => Ok(number),
        _ => Err(Bad { why: "is not a number", hint: None }),
    }
}

/// A measured number for people: six digits that count.
pub fn shown(number: f64) -> String {
    if number != 0.0 && !(1e-6..1e15).contains(&number.abs()) {
        return format!("{number:.3e}");
    }
    format!("{number:.5e}").parse::<f64>().unwrap_or(number).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_on_its_bound_is_not_beyond_it() {
        let holds = |is, number| Bound { is, than: 5.0 }.holds(number);
        assert!(!holds(Comparison::Above, 5.0) && holds(Comparison::Above, 5.1));
        assert!(holds(Comparison::AtLeast, 5.0) && !holds(Comparison::AtLeast, 4.9));
        assert!(!holds(Comparison::Below, 5.0) && holds(Comparison::Below, 4.9));
        assert!(holds(Comparison::AtMost, 5.0) && !holds(Comparison::AtMost, 5.1));
        for (_, is) in WORDS {
            assert!(!holds(is, f64::NAN), "{is:?}");
        }
    }

    #[test]
    fn numbers_are_shown_with_the_digits_that_count() {
        for (number, text) in
            [(0.1 + 0.2, "0.3"), (0.0, "0"), (-12.5, "-12.5"), (1234567.0, "1234570"), (1.5e-9, "1.500e-9")]
        {
            assert_eq!(shown(number), text);
        }
        assert_eq!(number("-1.5e3").ok(), Some(-1500.0));
        for text in ["inf", "NaN", "5%", "", "1_000", "1e999"] {
            assert!(number(text).is_err(), "{text}");
        }
    }
}
