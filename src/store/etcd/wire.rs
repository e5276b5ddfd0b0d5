//! What etcd is asked and what it answers, as its JSON gateway has it: numbers are strings there, and bytes are base64.
//!
//! Everything is one kind of request, the transaction: reads are transactions without conditions, and never come from a server that may be
//! behind.

use serde::Deserialize;
use serde_json::{Value, json};

/// What must be so for a transaction to act.
#[derive(Debug, Clone)]
pub enum If {
    /// A key was written last at that revision; at 0: it is not there.
    Unchanged(String, u64),
    /// A key is there.
    There(String),
}

/// One thing that a transaction does.
#[derive(Debug, Clone)]
pub enum Do {
    /// Writes a key.
    Put(String, Vec<u8>),
    /// Writes one that is gone when that lease of etcd's own ends.
    PutFor(i64, String, Vec<u8>),
    /// Takes one away.
    Delete(String),
    /// Reads one.
    Get(String),
    /// Takes away what lies between two keys.
    DeleteFrom(String, String),
    /// Reads what lies between two keys, at most so many, in order.
    List(String, String, u32),
    /// Reads the last key below the second that is not below the first.
    Last(String, String),
}

/// A transaction.
#[derive(Debug, Clone, Default)]
pub struct Txn {
    /// All of these must be so.
    pub conditions: Vec<If>,
    /// Then this is done.
    pub then: Vec<Do>,
    /// Else this.
    pub otherwise: Vec<Do>,
}

/// A key that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// What it holds.
    pub value: Vec<u8>,
    /// The revision that wrote it last.
    pub modified: u64,
}

/// What a transaction found.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The revision of the whole store that it saw, or made.
    pub revision: u64,
    /// Whether its conditions were met.
    pub met: bool,
    /// What each thing that was done has found.
    pub found: Vec<Vec<Entry>>,
}

impl Outcome {
    /// The one entry that the nth thing has found.
    pub fn one(&self, nth: usize) -> Option<&Entry> {
        self.found.get(nth).and_then(|entries| entries.first())
    }
}

impl Txn {
    /// One that only reads.
    pub fn read(what: Vec<Do>) -> Self {
        Self { then: what, ..Self::default() }
    }

    /// As the gateway takes it.
    pub fn body(&self) -> Vec<u8> {
        let all = |what: &[Do]| Value::Array(what.iter().map(Do::json).collect());
        let conditions: Vec<Value> = self.conditions.iter().map(If::json).collect();
        json!({ "compare": conditions, "success": all(&self.then), "failure": all(&self.otherwise) })
            .to_string()
            .into_bytes()
    }
}

impl If {
    fn json(&self) -> Value {
        match self {
            Self::Unchanged(key, at) => {
                json!({ "key": encode(key.as_bytes()), "target": "MOD", "result": "EQUAL", "mod_revision": at.to_string() })
            }
            Self::There(key) => {
                json!({ "key": encode(key.as_bytes()), "target": "CREATE", "result": "GREATER", "create_revision": "0" })
            }
        }
    }
}

impl Do {
    fn json(&self) -> Value {
        let key = |key: &str| encode(key.as_bytes());
        match self {
            Self::Put(at, value) => json!({ "request_put": { "key": key(at), "value": encode(value) } }),
            Self::PutFor(lease, at, value) => {
                json!({ "request_put": { "key": key(at), "value": encode(value), "lease": lease.to_string() } })
            }
            Self::Delete(at) => json!({ "request_delete_range": { "key": key(at) } }),
            Self::DeleteFrom(from, to) => {
                json!({ "request_delete_range": { "key": key(from), "range_end": key(to) } })
            }
            Self::Get(at) => json!({ "request_range": { "key": key(at) } }),
            Self::List(from, to, most) => {
                json!({ "request_range": { "key": key(from), "range_end": key(to), "limit": most.to_string() } })
            }
            Self::Last(from, to) => json!({ "request_range": {
                "key": key(from), "range_end": key(to), "limit": "1", "sort_order": "DESCEND", "sort_target": "KEY"
            } }),
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    header: Header,
    #[serde(default)]
    succeeded: bool,
    #[serde(default)]
    responses: Vec<Response>,
}

#[derive(Deserialize)]
struct Header {
    revision: String,
}

#[derive(Deserialize)]
struct Response {
    response_range: Option<Range>,
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    kvs: Vec<Kv>,
}

#[derive(Deserialize)]
struct Kv {
    key: String,
    #[serde(default)]
    value: String,
    mod_revision: String,
}

/// Reads the answer to a transaction.
pub fn outcome(bytes: &[u8]) -> Result<Outcome, String> {
    let answer: Answer = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is no revision"));
    let entry = |kv: Kv| {
        let key = String::from_utf8(decode(&kv.key)?).map_err(|e| e.to_string())?;
        Ok(Entry { key, value: decode(&kv.value)?, modified: number(&kv.mod_revision)? })
    };
    let found = answer.responses.into_iter().map(|response| {
        let kvs = response.response_range.map(|range| range.kvs).unwrap_or_default();
        kvs.into_iter().map(entry).collect::<Result<Vec<_>, String>>()
    });
    let revision = number(&answer.header.revision)?;
    Ok(Outcome { revision, met: answer.succeeded, found: found.collect::<Result<_, _>>()? })
}

#[derive(Deserialize)]
struct Granted {
    #[serde(rename = "ID")]
    id: String,
}

/// Asks for a lease of that many seconds.
pub fn grant(seconds: u64) -> Vec<u8> {
    json!({ "TTL": seconds.to_string() }).to_string().into_bytes()
}

/// Reads the answer to that.
pub fn granted(bytes: &[u8]) -> Result<i64, String> {
    let granted: Granted = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    granted.id.parse().map_err(|_| format!("`{}` is no lease", granted.id))
}

/// What a refusal says; `None` when it is none of etcd's.
pub fn refusal(bytes: &[u8]) -> Option<String> {
    let said: Value = serde_json::from_slice(bytes).ok()?;
    said.get("error").or_else(|| said.get("message"))?.as_str().map(str::to_owned)
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64, as JSON has bytes.
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let at = |n: usize| u32::from(part.get(n).copied().unwrap_or_default());
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for n in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * n)) as usize & 63).copied().unwrap_or_default();
            out.push(if n <= part.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

fn decode(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err("what should be base64 is not".to_owned()),
        };
        bits = (bits << 6 | u32::from(digit)) & 0xff_ffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn base64_is_what_everybody_else_writes() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(encode(bytes.as_bytes()), text);
        }
        assert!(decode("a b").is_err());
    }

    #[test]
    fn an_answer_is_read_with_what_is_left_out_of_it() {
        let answer = br#"{"header":{"revision":"7"},"succeeded":true,"responses":[{"response_put":{"header":{"revision":"7"}}},
            {"response_range":{"kvs":[{"key":"YQ==","create_revision":"2","mod_revision":"2","version":"1"}],"count":"1"}},{"response_range":{}}]}"#;
        let outcome = outcome(answer).unwrap();
        assert_eq!((outcome.revision, outcome.met), (7, true));
        let entry = Entry { key: "a".into(), value: Vec::new(), modified: 2 };
        assert_eq!(outcome.found, [vec![], vec![entry], vec![]]);
        assert!(super::outcome(b"{}").is_err() && super::outcome(b"<html>").is_err());
        let refused = br#"{"error":"etcdserver: no leader","message":"etcdserver: no leader","code":14}"#;
        assert_eq!(refusal(refused).unwrap(), "etcdserver: no leader");
        assert_eq!(refusal(b"<html>"), None);
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(decode(&encode(&bytes)).unwrap(), bytes);
        }
    }
}
