//! A `server` line, with what it takes from `default-server`.

use std::time::Duration;

use super::ConfigLine;
use super::words::Word;

/// The largest number of servers that one `server-template` makes here.
const TEMPLATE: u32 = 1024;

/// Keywords with one argument that say nothing of shares. Those of 3.1 are here, so that their arguments are not taken for keywords.
const WITH_ARGUMENT: &[&str] = &[
    "addr",
    "agent-addr",
    "agent-inter",
    "agent-port",
    "agent-send",
    "alpn",
    "ca-file",
    "check-alpn",
    "check-pool-conn-name",
    "check-proto",
    "check-reuse-pool-name",
    "check-sni",
    "ciphers",
    "ciphersuites",
    "client-sigalgs",
    "crl-file",
    "crt",
    "curves",
    "downinter",
    "error-limit",
    "fall",
    "fastinter",
    "guid",
    "hash-key",
    "healthcheck",
    "id",
    "idle-ping",
    "init-addr",
    "init-state",
    "inter",
    "interface",
    "log-bufsize",
    "log-proto",
    "max-reuse",
    "maxqueue",
    "minconn",
    "namespace",
    "npn",
    "observe",
    "on-error",
    "on-marked-down",
    "on-marked-up",
    "pool-conn-name",
    "pool-low-conn",
    "pool-max-conn",
    "pool-purge-delay",
    "port",
    "proto",
    "redir",
    "resolve-net",
    "resolve-opts",
    "resolve-prefer",
    "resolvers",
    "rise",
    "sigalgs",
    "sni",
];

/// A server of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Address or name with the port, as it is written.
    pub address: String,
    /// Where it is written.
    pub at: ConfigLine,
    /// The line as it is written.
    pub line: String,
    /// Its words.
    pub words: Vec<Word>,
    /// Whether a `server-template` makes it, together with others.
    pub from_template: bool,
    /// What it is set to.
    pub options: Options,
    /// Whether it would begin in maintenance if its line said nothing of that.
    pub disabled_by_default: bool,
}

/// What a `server` or `default-server` line sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `None` is 1.
    pub weight: Option<u16>,
    /// Begins in maintenance.
    pub disabled: bool,
    /// Gets traffic only when no other server does.
    pub backup: bool,
    /// The value by which the cookie names it.
    pub cookie: Option<String>,
    /// An agent may change its weight and mode.
    pub agent_check: bool,
    /// Health checks decide whether it gets traffic.
    pub check: bool,
    /// Gets its share little by little.
    pub slowstart: Option<Duration>,
    /// Connections at once; more wait in its queue.
    pub maxconn: Option<u64>,
    /// The server whose health it follows: `BACKEND/SERVER`, or `SERVER`.
    pub track: Option<String>,
    /// Whether a word holds a variable, or is not known: it may set anything.
    pub unread: bool,
}

impl Server {
    pub(super) fn read(line: &str, words: &[Word], at: &ConfigLine, defaults: &Options) -> Result<Self, &'static str> {
        let [_, name, address, rest @ ..] = words else { return Err("is no whole server") };
        let (Some(name), Some(address)) = (&name.text, &address.text) else {
            return Err("holds a variable in the place of a server's name or address");
        };
        Ok(Self::new(name.clone(), address, (line, words, rest), at, defaults))
    }

    pub(super) fn template(
        line: &str,
        words: &[Word],
        at: &ConfigLine,
        defaults: &Options,
    ) -> Result<Vec<Self>, &'static str> {
        let [_, prefix, range, address, rest @ ..] = words else { return Err("is no whole template") };
        let (Some(prefix), Some(range), Some(address)) = (&prefix.text, &range.text, &address.text) else {
            return Err("holds a variable in the place of a template's name, number or address");
        };
        let (low, high) = range.split_once('-').unwrap_or(("1", range));
        let (Ok(low), Ok(high)) = (low.parse::<u32>(), high.parse::<u32>()) else {
            return Err("has a number of servers that cannot be read");
        };
        if high.saturating_sub(low) >= TEMPLATE {
            return Err("makes more servers than are looked at");
        }
        let one = |n: u32| Self {
            from_template: true,
            ..Self::new(format!("{prefix}{n}"), address, (line, words, rest), at, defaults)
        };
        Ok((low..=high).map(one).collect())
    }

    fn new(
        name: String,
        address: &str,
        (line, words, rest): (&str, &[Word], &[Word]),
        at: &ConfigLine,
        defaults: &Options,
    ) -> Self {
        let mut options = defaults.clone();
        options.read(rest);
        Self {
            name,
            address: address.to_owned(),
            at: at.clone(),
            line: line.trim_end_matches('\r').to_owned(),
            words: words.to_vec(),
            from_template: false,
            options,
            disabled_by_default: defaults.disabled,
        }
    }
}

impl Server {
    /// Its keywords of this name and their arguments, which may be words of the same name.
    pub fn keywords<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a Word, Option<&'a Word>)> {
        let mut words = self.words.iter().skip(3);
        let all = std::iter::from_fn(move || {
            let word = words.next()?;
            let argument = if word.text.as_deref().is_some_and(takes_argument) { words.next() } else { None };
            Some((word, argument))
        });
        all.filter(move |(word, _)| word.is(name))
    }
}

/// Whether a keyword is followed by a word that belongs to it.
fn takes_argument(keyword: &str) -> bool {
    WITH_ARGUMENT.contains(&keyword) || ["weight", "maxconn", "cookie", "track", "slowstart"].contains(&keyword)
}

impl Options {
    pub(super) fn read(&mut self, words: &[Word]) {
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(keyword) = word.text.as_deref() else {
                self.unread = true;
                continue;
            };
            match keyword {
                "disabled" => self.disabled = true,
                "enabled" => self.disabled = false,
                "backup" => self.backup = true,
                "no-backup" => self.backup = false,
                "agent-check" => self.agent_check = true,
                "no-agent-check" => self.agent_check = false,
                "check" => self.check = true,
                "no-check" => self.check = false,
                "weight" => self.weight = self.number(words.next()).and_then(|n| u16::try_from(n).ok()),
                "maxconn" => self.maxconn = self.number(words.next()).filter(|n| *n > 0),
                "cookie" => self.cookie = self.argument(words.next()),
                "track" => self.track = self.argument(words.next()),
                "slowstart" => {
                    let text = self.argument(words.next());
                    self.slowstart = text.as_deref().and_then(time).filter(|d| !d.is_zero());
                    self.unread |= text.is_some_and(|t| time(&t).is_none());
                }
                _ if takes_argument(keyword) => drop(words.next()),
                // Flags, and the rest of `source … usesrc …`, set nothing here.
                _ => {}
            }
        }
    }

    fn argument(&mut self, word: Option<&Word>) -> Option<String> {
        let text = word.and_then(|w| w.text.clone());
        self.unread |= text.is_none();
        text
    }

    fn number(&mut self, word: Option<&Word>) -> Option<u64> {
        let number = self.argument(word).and_then(|text| text.parse().ok());
        self.unread |= number.is_none();
        number
    }
}

/// A time as HAProxy writes it: milliseconds without a unit.
fn time(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().ok()?;
    match unit {
        "us" => Some(Duration::from_micros(number)),
        "" | "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        "d" => number.checked_mul(86400).map(Duration::from_secs),
        _ => None,
    }
}
