//! A `backend` or `listen` section, with what it takes from its `defaults`.

use super::server::{Options, Server};
use super::words::Word;
use super::{ConfigLine, Unread};

/// What `defaults` can say, and hand on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Common {
    /// How servers are chosen; `None` is `roundrobin`.
    pub balance: Option<Balance>,
    /// Whether hashes are `consistent`; else they are `map-based`.
    pub consistent: bool,
    /// The name of the cookie that pins clients.
    pub cookie: Option<String>,
    /// Rules that keep clients at their server, even where it is down: `option persist`, `persist rdp-cookie`, `force-persist if …`.
    pub persist: Vec<String>,
    /// Whether all backup servers are used together.
    pub allbackups: bool,
    /// `load-server-state-from-file`: `global`, `local` or `none`.
    pub state: Option<String>,
    /// `server-state-file-name`; `None` is the backend's own name.
    pub state_name: Option<String>,
    /// What was not understood and may say anything.
    pub unread: Vec<Unread>,
    /// `default-server`, so far.
    server: Options,
}

/// How servers are chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// `roundrobin`, `hdr`, …
    pub algorithm: String,
    /// As it is written, with its arguments.
    pub written: String,
}

/// A `backend` or `listen` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Its first line.
    pub at: ConfigLine,
    /// What it says, and its `defaults` where it says nothing.
    pub common: Common,
    /// Rules that keep clients by stick tables: `stick on src`.
    pub stick: Vec<String>,
    /// Its servers in order, those of `server-template` included.
    pub servers: Vec<Server>,
}

impl Backend {
    pub(super) fn new(name: String, at: ConfigLine, common: Common) -> Self {
        Self { name, at, common, stick: Vec::new(), servers: Vec::new() }
    }

    /// The server of a name.
    pub fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|s| s.name == name)
    }

    /// The tables that its stick rules name; without a name it is its own.
    pub fn stick_tables(&self) -> impl Iterator<Item = &str> {
        self.stick.iter().filter_map(|rule| rule.split_whitespace().skip_while(|word| *word != "table").nth(1))
    }

    pub(super) fn line(&mut self, line: &str, words: &[Word], at: &ConfigLine) {
        let servers = match words.first().and_then(|w| w.text.as_deref()) {
            Some("server") => Server::read(line, words, at, &self.common.server).map(|server| vec![server]),
            Some("server-template") => Server::template(line, words, at, &self.common.server),
            Some("stick") => return self.stick.push(written(words)),
            _ => return self.common.line(words, at),
        };
        match servers {
            Ok(servers) => self.servers.extend(servers),
            Err(why) => self.common.unread.push(Unread { at: at.clone(), why }),
        }
    }
}

impl Common {
    pub(super) fn line(&mut self, words: &[Word], at: &ConfigLine) {
        let (no, words) = match words {
            [no, rest @ ..] if no.is("no") => (true, rest),
            _ => (false, words),
        };
        let [key, rest @ ..] = words else { return };
        let first = rest.first().and_then(|w| w.text.clone());
        let unknown = rest.first().is_some_and(|w| w.text.is_none());
        let matters = ["balance", "hash-type", "cookie", "option", "load-server-state-from-file"];
        if unknown && matters.iter().any(|m| key.is(m)) {
            return self.unread.push(Unread { at: at.clone(), why: "holds a variable" });
        }
        match (key.text.as_deref(), first) {
            (Some("balance"), Some(word)) => {
                let algorithm = word.split('(').next().unwrap_or_default().to_owned();
                self.balance = Some(Balance { algorithm, written: written(rest) });
            }
            (Some("hash-type"), Some(word)) => self.consistent = word == "consistent",
            (Some("cookie"), Some(name)) => self.cookie = Some(name),
            (Some("persist" | "force-persist"), Some(_)) => self.persist.push(written(words)),
            (Some("option"), Some(word)) if word == "persist" => {
                self.persist.retain(|rule| rule != "option persist");
                if !no {
                    self.persist.push("option persist".to_owned());
                }
            }
            (Some("option"), Some(word)) if word == "allbackups" => self.allbackups = !no,
            (Some("load-server-state-from-file"), Some(word)) => self.state = Some(word),
            (Some("server-state-file-name"), name) => self.state_name = name.filter(|name| name != "use-backend-name"),
            (Some("default-server"), _) => self.server.read(rest),
            _ => {}
        }
    }
}

/// Words as they were written, variables as `…`.
fn written(words: &[Word]) -> String {
    let words: Vec<&str> = words.iter().map(|w| w.text.as_deref().unwrap_or("…")).collect();
    words.join(" ")
}
