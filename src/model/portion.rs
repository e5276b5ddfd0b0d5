//! A part of the pairs of a wave: so many, or so many in a hundred.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::units::{self, Bad};

/// The most pairs that anything may be said of.
pub const MOST_PAIRS: usize = 100_000;

/// So many pairs, or so many percent of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Portion {
    /// A number, from 1.
    Pairs(usize),
    /// From 1 to 100 percent.
    Percent(u8),
}

impl Portion {
    /// Of so many pairs: rounded down, and at least 1.
    pub fn of(self, pairs: usize) -> usize {
        match self {
            Self::Pairs(n) => n,
            Self::Percent(percent) => pairs.saturating_mul(percent.into()) / 100,
        }
        .max(1)
    }
}

impl FromStr for Portion {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        if text.ends_with('%') {
            return units::percent(text).map(Self::Percent);
        }
        match text.parse() {
            Ok(n) if (1..=MOST_PAIRS).contains(&n) && text.bytes().all(|b| b.is_ascii_digit()) => Ok(Self::Pairs(n)),
            _ => Err(Bad { why: "is neither of them", hint: None }),
        }
    }
}

impl fmt::Display for Portion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pairs(n) => write!(f, "{n}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// As journals hold it: a number, as ever, or text.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Number(usize),
    Text(String),
}

impl From<Portion> for Written {
    fn from(portion: Portion) -> Self {
        match portion {
            Portion::Pairs(n) => Self::Number(n),
            Portion::Percent(_) => Self::Text(portion.to_string()),
        }
    }
}

impl TryFrom<Written> for Portion {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::Number(n) => Ok(Self::Pairs(n)),
            Written::Text(text) => text.parse().map_err(|bad: Bad| format!("`{text}` {}", bad.why)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_rounded_down_and_at_least_one() {
        let of = |text: &str, pairs| text.parse::<Portion>().unwrap().of(pairs);
        assert_eq!((of("25%", 400), of("25%", 7), of("25%", 3), of("100%", 9), of("1%", 0)), (100, 1, 1, 9, 1));
        assert_eq!((of("3", 400), of("3", 1)), (3, 3));
    }

    #[test]
    fn neither_nothing_nor_more_than_everything_is_a_portion() {
        for bad in ["0", "0%", "101%", "-1", "+1", "1.5", "2.5%", "", "%", "half", "100001"] {
            assert!(bad.parse::<Portion>().is_err(), "{bad}");
        }
    }

    #[test]
    fn it_is_read_as_it_was_written_and_as_it_was_before_there_were_percentages() {
        for (portion, written) in [(Portion::Pairs(7), "7"), (Portion::Percent(25), "\"25%\"")] {
            assert_eq!(serde_json::to_string(&portion).unwrap(), written);
            assert_eq!(serde_json::from_str::<Portion>(written).unwrap(), portion);
        }
        assert!(serde_json::from_str::<Portion>("\"0%\"").is_err());
    }
}
