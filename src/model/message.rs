//! What people are told about a run, and what became of that.

use serde::{Deserialize, Serialize};

/// What people may want to be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Occasion {
    /// The run is held: somebody is needed.
    Hold,
    /// A step has failed, or nobody knows how it ended.
    Failure,
    /// A gate waits.
    Gate,
    /// The run has come to its end, there or back.
    End,
}

impl Occasion {
    /// The words in plans.
    pub const WORDS: [(&str, Self); 4] =
        [("hold", Self::Hold), ("failure", Self::Failure), ("gate", Self::Gate), ("end", Self::End)];

    /// The word in plans.
    pub fn name(self) -> &'static str {
        Self::WORDS.iter().find(|(_, occasion)| *occasion == self).map_or("", |(word, _)| word)
    }
}

/// One thing to tell. All of it is escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Name of the run.
    pub run: String,
    /// Name of the plan.
    pub plan: String,
    /// Why it is told.
    pub occasion: Occasion,
    /// The step that it is about, where it is about one.
    pub step: Option<String>,
    /// What there is to tell, in one sentence.
    pub what: String,
    /// What to do next.
    pub next: Option<String>,
}

impl Message {
    /// `uploads-1 is held at uploads/dal-1/check: …`.
    pub fn sentence(&self) -> String {
        let Self { run, what, .. } = self;
        match (self.occasion, &self.step) {
            (Occasion::Hold, Some(step)) => format!("{run} is held at {step}: {what}"),
            (Occasion::Hold, None) => format!("{run} is held: {what}"),
            (Occasion::Failure, Some(step)) => format!("{run}: {step} {what}"),
            (Occasion::Gate, Some(step)) => format!("{run}: {step} waits for {what}"),
            (Occasion::Failure | Occasion::Gate | Occasion::End, _) => format!("{run} {what}"),
        }
    }
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Delivery {
    /// The other side has taken it.
    Taken {
        /// At which try.
        tries: u32,
    },
    /// It has not, or nobody knows, and it is not tried any more.
    GivenUp {
        /// How often it was tried.
        tries: u32,
        /// Why, in one sentence without any secret.
        why: String,
    },
}

/// What became of a message, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notified {
    /// The kind of the receiver: `slack`.
    pub to: String,
    /// Of what it was to be told.
    pub occasion: Occasion,
    /// The step that it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What became of it.
    pub delivery: Delivery,
}

impl Notified {
    /// Whether the receiver has taken it.
    pub fn was_taken(&self) -> bool {
        matches!(self.delivery, Delivery::Taken { .. })
    }
}

impl std::fmt::Display for Notified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (to, of) = (&self.to, self.occasion.name());
        match &self.delivery {
            Delivery::Taken { tries: 1 } => write!(f, "{to} was told of the {of}"),
            Delivery::Taken { tries } => write!(f, "{to} was told of the {of}, at try {tries}"),
            Delivery::GivenUp { tries: 0, why } => write!(f, "{to} was not told of the {of}: {why}"),
            Delivery::GivenUp { tries, why } => {
                let word = if *tries == 1 { "try" } else { "tries" };
                write!(f, "{to} was not told of the {of}, after {tries} {word}: {why}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_sentence() {
        let about = |occasion, step: Option<&str>, what: &str| {
            let step = step.map(str::to_owned);
            Message { run: "web-1".into(), plan: "web".into(), occasion, step, what: what.into(), next: None }
                .sentence()
        };
        assert_eq!(about(Occasion::Hold, Some("a/b"), "no answer"), "web-1 is held at a/b: no answer");
        assert_eq!(about(Occasion::Hold, None, "aborted"), "web-1 is held: aborted");
        assert_eq!(about(Occasion::Failure, Some("a/b"), "has failed: no"), "web-1: a/b has failed: no");
        assert_eq!(about(Occasion::Gate, Some("a/gate"), "approval"), "web-1: a/gate waits for approval");
        assert_eq!(about(Occasion::End, None, "is done"), "web-1 is done");
    }
}
