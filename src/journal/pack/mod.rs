//! A compact encoding of whatever serde knows: every string stands once, in a table, and everywhere else as its number.
//!
//! It describes itself, as JSON does: an inner tag, or a field that is left out, reads back as it does from JSON. That makes graphs,
//! which repeat their names, much smaller than JSON. Must never panic on bytes that are none of its own.

mod read;
mod write;

pub use read::from_bytes;
pub use write::to_bytes;

/// How every encoding begins; the last byte is the version.
const MAGIC: &[u8] = b"mpk\x01";

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const UNSIGNED: u8 = 3;
/// A negative number: its bits, inverted.
const NEGATIVE: u8 = 4;
const FLOAT: u8 = 5;
const STRING: u8 = 6;
const BYTES: u8 = 7;
const SEQUENCE: u8 = 8;
const MAP: u8 = 9;

/// Why something cannot be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PackError(String);

impl serde::ser::Error for PackError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl serde::de::Error for PackError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case", tag = "do")]
    enum Inner {
        Unit,
        Newtype(Fields),
        Struct { host: String, share: Option<u8>, after: Vec<String> },
    }

    #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
    struct Fields {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
        #[serde(flatten)]
        more: BTreeMap<String, i64>,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    enum Outer {
        Unit,
        Newtype(String),
        Tuple(u8, i64, f64),
        Struct { wait: Duration, at: jiff::Timestamp, letter: char, nothing: () },
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct All {
        inner: Vec<Inner>,
        outer: Vec<Outer>,
        by_number: BTreeMap<u32, bool>,
    }

    fn all() -> All {
        let more = [("a".to_owned(), -7), ("b".to_owned(), i64::MIN)].into();
        All {
            inner: vec![
                Inner::Unit,
                Inner::Newtype(Fields { name: "dal-1".into(), limit: Some(u64::MAX), more }),
                Inner::Newtype(Fields::default()),
                Inner::Struct { host: "dal-1".into(), share: Some(25), after: vec!["ä/€".into(), String::new()] },
                Inner::Struct { host: "dal-2".into(), share: None, after: Vec::new() },
            ],
            outer: vec![
                Outer::Unit,
                Outer::Newtype("dal-1".into()),
                Outer::Tuple(255, -1, 0.5),
                Outer::Struct {
                    wait: Duration::from_millis(1500),
                    at: jiff::Timestamp::UNIX_EPOCH,
                    letter: 'ß',
                    nothing: (),
                },
            ],
            by_number: [(3, true), (4, false)].into(),
        }
    }

    #[test]
    fn every_shape_that_serde_knows_is_read_as_it_was_written() {
        let bytes = to_bytes(&all()).unwrap();
        assert_eq!(from_bytes::<All>(&bytes), Ok(all()));
        assert_eq!(bytes.windows(5).filter(|w| w == b"dal-1").count(), 1, "a string stands once");
    }

    #[test]
    fn what_is_cut_or_goes_on_is_an_error() {
        let bytes = to_bytes(&all()).unwrap();
        for cut in 0..bytes.len() {
            assert!(from_bytes::<All>(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(from_bytes::<All>(&[&bytes[..], &[NULL]].concat()).is_err());
        let deep = [MAGIC, &[0], &[SEQUENCE, 1].repeat(100_000)].concat();
        assert!(from_bytes::<serde_json::Value>(&deep).unwrap_err().to_string().contains("too deep"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(at in 0_usize..400, with in any::<u8>(), noise in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = from_bytes::<serde_json::Value>(&[MAGIC, &noise].concat());
            let mut bytes = to_bytes(&all()).unwrap();
            let at = at % bytes.len();
            bytes[at] = with;
            let _ = from_bytes::<All>(&bytes);
        }
    }
}
