//! How fast a copy may go whose limit rises and falls.

use serde::{Deserialize, Serialize};

use crate::text;

/// The limit of a copy that is governed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paced {
    /// Bytes per second; 0 while it stands still.
    pub limit: u64,
    /// What it would be if it did not stand still.
    pub aims: u64,
    /// The most that it may be.
    pub most: u64,
    /// What keeps it from being more, if anything does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
}

impl std::fmt::Display for Paced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (limit, most) = (text::bytes(self.limit), text::bytes(self.most));
        match (self.limit, &self.held_by) {
            (0, None) => return f.write_str("it stands still"),
            (0, Some(why)) => return write!(f, "it stands still: {why}"),
            (limit, _) if limit >= self.most => write!(f, "at most {most}/s")?,
            _ => write!(f, "at most {limit}/s of {most}/s")?,
        }
        self.held_by.as_ref().map_or(Ok(()), |held_by| write!(f, ", held by {held_by}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_told_in_one_line() {
        let paced = Paced { limit: 2 << 20, aims: 2 << 20, most: 8 << 20, held_by: None };
        assert_eq!(paced.to_string(), "at most 2.0 MiB/s of 8.0 MiB/s");
        let held = Paced { held_by: Some("a latency of 9".to_owned()), ..paced.clone() };
        assert_eq!(held.to_string(), "at most 2.0 MiB/s of 8.0 MiB/s, held by a latency of 9");
        assert_eq!(Paced { limit: 0, ..held }.to_string(), "it stands still: a latency of 9");
        assert_eq!(Paced { limit: 8 << 20, ..paced }.to_string(), "at most 8.0 MiB/s");
    }
}
