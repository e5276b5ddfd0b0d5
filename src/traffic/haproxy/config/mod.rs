//! haproxy.cfg as far as it decides who gets traffic: what the runtime API does not tell, and which lines say it.
//!
//! Pure: whoever reads the files gives their text. Must never guess: what cannot be understood is told as not looked at.

mod backend;
mod server;
mod words;

use std::collections::BTreeMap;
use std::fmt;

pub use backend::{Backend, Balance, Common};
pub use server::{Options, Server};
pub use words::{BadLine, Word, words};

/// The words that begin a section.
const SECTIONS: [&str; 21] = [
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "peers",
    "mailers",
    "resolvers",
    "userlist",
    "program",
    "http-errors",
    "ring",
    "cache",
    "fcgi-app",
    "log-forward",
    "log-profile",
    "crt-store",
    "traces",
    "healthcheck",
    "acme",
    "certificates",
];

/// One file of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path, for people.
    pub path: String,
    /// All of it.
    pub text: String,
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigLine {
    /// The path of the file.
    pub file: String,
    /// From 1.
    pub line: usize,
}

impl fmt::Display for ConfigLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Something that was not understood, and may say anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Where it stands.
    pub at: ConfigLine,
    /// Why it is not known.
    pub why: &'static str,
}

/// A configuration as HAProxy puts it together from its files, in the order in which they are given to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Every `backend` and `listen`.
    pub backends: Vec<Backend>,
    /// What could not be understood outside of them.
    pub unread: Vec<Unread>,
    /// `server-state-file` of `global`: where weights and modes may come from after a reload.
    pub state_file: Option<String>,
    /// `server-state-base` of `global`: where such files are that are named without a directory.
    pub state_base: Option<String>,
}

impl Config {
    /// The backend of a name.
    pub fn backend(&self, name: &str) -> Option<&Backend> {
        self.backends.iter().find(|b| b.name == name)
    }

    /// The file that weights and modes of a backend come from when HAProxy starts, where there is one.
    pub fn state_path(&self, backend: &Backend) -> Option<String> {
        let own = || match backend.common.state_name.as_deref() {
            None => Some(backend.name.clone()),
            Some(name) => Some(name.to_owned()),
        };
        let name = match backend.common.state.as_deref()? {
            "global" => self.state_file.clone(),
            "local" => own(),
            _ => None,
        }?;
        match &self.state_base {
            Some(base) if !name.starts_with('/') => Some(format!("{}/{name}", base.trim_end_matches('/'))),
            _ => Some(name),
        }
    }
}

/// Reads the files.
pub fn parse(files: &[File]) -> Config {
    let mut parser = Parser::default();
    for file in files {
        parser.section = Section::Other;
        parser.conditions = 0;
        for (line, n) in file.text.split('\n').zip(1..) {
            parser.line(line, ConfigLine { file: file.path.clone(), line: n });
        }
    }
    parser.config
}

/// Where the next line belongs.
#[derive(Default)]
enum Section {
    /// Nothing that matters here.
    #[default]
    Other,
    Global,
    Defaults,
    /// The last of the backends.
    Backend,
}

#[derive(Default)]
struct Parser {
    config: Config,
    section: Section,
    /// The `defaults` that sections without `from` follow.
    defaults: Common,
    named: BTreeMap<String, Common>,
    /// The name of the `defaults` that is being read.
    reading: Option<String>,
    /// How many `.if` are open: which branch holds is known to HAProxy alone.
    conditions: usize,
}

impl Parser {
    fn line(&mut self, line: &str, at: ConfigLine) {
        let words = match words(line) {
            Ok(words) => words,
            Err(bad) => return self.unread(at, bad.why()),
        };
        let Some(first) = words.first() else { return };
        match first.text.as_deref() {
            Some(".if") => self.conditions += 1,
            Some(".endif") => self.conditions = self.conditions.saturating_sub(1),
            Some(".elif" | ".else" | ".notice" | ".warning" | ".alert" | ".diag") => {}
            Some(word) if SECTIONS.contains(&word) => self.begin(word, &words, at),
            _ if self.conditions > 0 => self.unread(at, "stands in a conditional block"),
            Some(_) => self.inside(line, &words, at),
            None => self.unread(at, "begins with a variable"),
        }
    }

    fn begin(&mut self, section: &str, words: &[Word], at: ConfigLine) {
        self.end_defaults();
        let text = |n: usize| words.get(n).and_then(|w| w.text.clone());
        let from = words.iter().position(|w| w.is("from")).and_then(|n| text(n + 1));
        let parent = match &from {
            Some(name) => self.named.get(name).cloned(),
            None => Some(self.defaults.clone()),
        };
        match section {
            "global" => self.section = Section::Global,
            "defaults" => {
                self.section = Section::Defaults;
                // A section without `from` begins with what HAProxy has by itself.
                self.defaults = from.and(parent).unwrap_or_default();
                self.reading = text(1).filter(|name| name != "from");
                if self.conditions > 0 {
                    self.defaults.unread.push(Unread { at, why: "stands in a conditional block" });
                }
            }
            "backend" | "listen" => {
                self.section = Section::Backend;
                let mut backend =
                    Backend::new(text(1).unwrap_or_default(), at.clone(), parent.clone().unwrap_or_default());
                if parent.is_none() {
                    backend
                        .common
                        .unread
                        .push(Unread { at: at.clone(), why: "follows a `defaults` that was not read" });
                }
                if self.conditions > 0 {
                    backend.common.unread.push(Unread { at, why: "stands in a conditional block" });
                }
                self.config.backends.push(backend);
            }
            _ => self.section = Section::Other,
        }
    }

    fn end_defaults(&mut self) {
        if let (Section::Defaults, Some(name)) = (&self.section, self.reading.take()) {
            self.named.insert(name, self.defaults.clone());
        }
    }

    fn inside(&mut self, line: &str, words: &[Word], at: ConfigLine) {
        match self.section {
            Section::Other => {}
            Section::Global => match words {
                [key, path, ..] if key.is("server-state-file") => self.config.state_file.clone_from(&path.text),
                [key, path, ..] if key.is("server-state-base") => self.config.state_base.clone_from(&path.text),
                _ => {}
            },
            Section::Defaults => self.defaults.line(words, &at),
            Section::Backend => {
                if let Some(backend) = self.config.backends.last_mut() {
                    backend.line(line, words, &at);
                }
            }
        }
    }

    fn unread(&mut self, at: ConfigLine, why: &'static str) {
        let unread = Unread { at, why };
        match self.section {
            Section::Defaults => self.defaults.unread.push(unread),
            Section::Backend => match self.config.backends.last_mut() {
                Some(backend) => backend.common.unread.push(unread),
                None => self.config.unread.push(unread),
            },
            Section::Global | Section::Other => self.config.unread.push(unread),
        }
    }
}

#[cfg(test)]
mod tests;
