//! What stands where in etcd, below the prefix of the store.
//!
//! ```text
//! heads/RUN                  how far the journal reaches, and its hash: what an append compares
//! records/RUN/OFFSET         frames of the journal, by the byte at which they begin
//! writers/RUN                who has the run open
//! machines/RUN               on which machines its receipts are, by record
//! checkpoints/RUN/NUMBER     a line each
//! chunks/RUN/HASH
//! letters/RUN/NUMBER         orders and questions for a controller that is elsewhere, for a minute
//! answers/RUN/NUMBER         what it says to them, for a minute, too
//! locks/table                all leases
//! locks/held/FENCE           there while that lease is held: what an append compares, too
//! locks/history/REVISION     what became of leases
//! ```

/// Names of keys below one prefix.
#[derive(Debug, Clone)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// Below that prefix.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    fn below(&self, kind: &str, run: &str) -> String {
        format!("{}/{kind}/{run}", self.prefix)
    }

    /// How far a run reaches.
    pub fn head(&self, run: &str) -> String {
        self.below("heads", run)
    }

    /// The heads of all runs: from and to.
    pub fn heads(&self) -> (String, String) {
        all(&self.below("heads", ""))
    }

    /// A piece of its journal.
    pub fn record(&self, run: &str, offset: u64) -> String {
        format!("{}/{offset:020}", self.below("records", run))
    }

    /// Behind the last piece that there can be.
    pub fn records_end(&self, run: &str) -> String {
        all(&format!("{}/", self.below("records", run))).1
    }

    /// Who has it open.
    pub fn writer(&self, run: &str) -> String {
        self.below("writers", run)
    }

    /// Where its receipts are.
    pub fn machines(&self, run: &str) -> String {
        self.below("machines", run)
    }

    /// A checkpoint.
    pub fn checkpoint(&self, run: &str, number: u64) -> String {
        format!("{}/{number:012}", self.below("checkpoints", run))
    }

    /// Behind the last checkpoint that there can be.
    pub fn checkpoints_end(&self, run: &str) -> String {
        all(&format!("{}/", self.below("checkpoints", run))).1
    }

    /// A chunk.
    pub fn chunk(&self, run: &str, hash: &str) -> String {
        format!("{}/{hash}", self.below("chunks", run))
    }

    /// A letter to whoever has a run open.
    pub fn letter(&self, run: &str, number: &str) -> String {
        format!("{}/{number}", self.below("letters", run))
    }

    /// All letters to it: from and to.
    pub fn letters(&self, run: &str) -> (String, String) {
        all(&format!("{}/", self.below("letters", run)))
    }

    /// What was answered to one.
    pub fn answer(&self, run: &str, number: &str) -> String {
        format!("{}/{number}", self.below("answers", run))
    }

    /// All chunks of a run: from and to.
    pub fn chunks(&self, run: &str) -> (String, String) {
        all(&format!("{}/", self.below("chunks", run)))
    }

    /// The table of leases.
    pub fn table(&self) -> String {
        self.below("locks", "table")
    }

    /// There while that lease is held.
    pub fn held(&self, fence: u64) -> String {
        format!("{}/{fence:020}", self.below("locks", "held"))
    }

    /// A line of the locks' history.
    pub fn happened(&self, after: u64, what: &str) -> String {
        format!("{}/{after:020}-{what}", self.below("locks", "history"))
    }
}

/// This key and no other: from and to.
pub fn only(key: &str) -> (String, String) {
    (key.to_owned(), format!("{key}\0"))
}

/// All keys that begin so: from, and to which none is.
fn all(prefix: &str) -> (String, String) {
    let mut end = prefix.to_owned();
    // Each ends with `/`, and `0` is what follows that.
    end.pop();
    end.push('0');
    (prefix.to_owned(), end)
}
