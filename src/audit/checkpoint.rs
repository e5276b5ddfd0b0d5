//! One checkpoint: a line of JSON that ends with its signature.
//!
//! What is signed are the bytes of the line before the signature, so that no two lines mean the same.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::key::{AuditKey, PublicKey};
use crate::event::Operator;
use crate::journal::format;

/// At most this many records go without a checkpoint.
pub const EVERY: usize = 32;
/// The format written, and the newest read.
const FORMAT: u32 = 1;
/// Hex digits that name a record in [`Checkpoint::links`].
pub(super) const LINK: usize = 8;
/// Signed with every line, so that no signature of another purpose fits.
const PURPOSE: &[u8] = b"migrate checkpoint\n";
const SIGNATURE: &str = ",\"sig\":\"";
/// How every line begins, also inside a line of a system log.
const BEGINNING: &str = "{\"checkpoint\":";

/// What was signed about a run's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Its number in the run, from 0.
    pub checkpoint: u64,
    /// Format of the line.
    pub format: u32,
    /// Name of the run.
    pub run: String,
    /// Number of the last record that it seals.
    pub seq: u64,
    /// SHA-256 of that record, hex; by the chain it stands for all records before it.
    pub head: String,
    /// The first eight digits of the SHA-256 of each record since the checkpoint before, so that a changed one can be named.
    pub links: String,
    /// SHA-256 of the line of the checkpoint before, hex; that of nothing for the first.
    pub prev: String,
    /// When.
    pub at: Timestamp,
    /// Who ran the controller, and where.
    pub by: Operator,
    /// The public key.
    pub key: String,
}

impl Checkpoint {
    /// A checkpoint of this format.
    pub(super) fn new(checkpoint: u64, run: &str, seq: u64, hashes: &[String], prev: &str, by: &Operator) -> Self {
        Self {
            checkpoint,
            format: FORMAT,
            run: run.to_owned(),
            seq,
            head: hashes.last().cloned().unwrap_or_default(),
            links: hashes.iter().filter_map(|h| h.get(..LINK)).collect(),
            prev: prev.to_owned(),
            at: Timestamp::now(),
            by: by.clone(),
            key: String::new(),
        }
    }

    /// The signed line, without a newline.
    pub(super) fn sign(mut self, key: &AuditKey) -> Result<String, std::io::Error> {
        self.key = key.public().to_string();
        let mut body = serde_json::to_string(&self)?;
        let signature = key.sign(&message(&body));
        body.pop();
        Ok(format!("{body}{SIGNATURE}{signature}\"}}"))
    }

    /// Number of the first record that it seals.
    pub(super) fn first(&self) -> u64 {
        (self.seq + 1).saturating_sub((self.links.len() / LINK) as u64)
    }
}

/// A line read back.
pub(super) struct Signed {
    pub checkpoint: Checkpoint,
    pub signed_by: Result<PublicKey, String>,
}

/// Reads a line. An error says why it is none.
pub(super) fn parse(line: &str) -> Result<Signed, String> {
    let (body, rest) = line.rsplit_once(SIGNATURE).ok_or("it has no signature")?;
    let signature = rest.strip_suffix("\"}").ok_or("its end is missing")?;
    let body = format!("{body}}}");
    let checkpoint: Checkpoint = serde_json::from_str(&body).map_err(|e| format!("it cannot be read: {e}"))?;
    if checkpoint.format > FORMAT {
        return Err(format!("it has format {}; this program reads up to {FORMAT}", checkpoint.format));
    }
    let key = checkpoint.key.parse::<PublicKey>();
    let signed_by = key.and_then(|key| match key.signed(&message(&body), signature) {
        true => Ok(key),
        false => Err("its signature does not fit: it was edited".to_owned()),
    });
    Ok(Signed { checkpoint, signed_by })
}

/// The checkpoint in a line of a log, whatever stands before it.
pub(super) fn in_log_line(line: &str) -> Option<&str> {
    line.rfind(BEGINNING).and_then(|at| line.get(at..)).map(str::trim_end)
}

/// What the next checkpoint carries of this line.
pub(super) fn link(line: &str) -> String {
    format::hash(line.as_bytes())
}

fn message(body: &str) -> Vec<u8> {
    [PURPOSE, body.as_bytes()].concat()
}
