//! Putting what is at a path aside, where a rollback finds it again.

use serde::{Deserialize, Serialize};

use super::{Class, Kind, Live, Mark, Played, Preview, Step, Undo};

/// Puts what is at a path aside by renaming it, whatever is below; its undo puts it back, and what came there meanwhile beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAsideStep {
    /// Inventory name of the host.
    pub host: String,
    /// The path.
    pub path: String,
}

impl SetAsideStep {
    /// The path without an end that a renamed one would not have.
    pub fn place(&self) -> &str {
        self.path.trim_end_matches('/')
    }

    /// Where it is meanwhile. That something is there says that the way back has not been gone.
    pub fn aside(&self, run: &str) -> String {
        format!("{}.before-{run}", self.place())
    }
}

impl Kind for SetAsideStep {
    fn class(&self) -> Class {
        Class::Probed
    }

    fn phase(&self) -> &'static str {
        "set aside"
    }

    fn describe(&self) -> String {
        format!("{}:{} as it is now, for a rollback to put back", self.host, self.path)
    }

    fn hosts(&self) -> Option<Vec<&str>> {
        Some(vec![&self.host])
    }

    fn undo(&self) -> Undo<'_> {
        Undo::SetAside(self)
    }

    fn preview(&self, _: &Step, live: &dyn Live, _: &mut Played) -> Preview {
        let paths = live.host(&self.host).map(|host| &host.paths);
        match paths.and_then(|paths| paths.iter().find(|p| p.path == self.path)) {
            Some(path) => {
                let seen = if path.exists { "is there" } else { "is not there" };
                Preview { seen: Some(seen.to_owned()), mark: Mark::Verified }
            }
            None => Preview { seen: None, mark: Mark::Assumed },
        }
    }
}
