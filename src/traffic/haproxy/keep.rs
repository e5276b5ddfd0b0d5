//! Whether what was set while HAProxy runs outlasts its next start: haproxy.cfg, and the file that it may restore states from.
//!
//! Pure, as measured with 2.6. Must never take a line for understood that holds a variable, and never hold more of it than settings.

use std::collections::BTreeMap;

use super::config::{Backend, Config, Server};
use super::parse::table;
use crate::model::{Change, Kept, Line, Member, Mode, Stored, StoredMember, is_as_set};

/// A file that `show servers state` was saved to.
pub(super) struct Saved {
    /// Its path.
    pub path: String,
    /// What it says, or why it cannot be read.
    pub text: Result<String, String>,
}

/// What one server was when states were saved.
struct Row {
    line: usize,
    admin: u32,
    weight: u16,
    /// As haproxy.cfg had it then.
    configured: u16,
}

/// Maintenance that somebody has forced.
const FORCED: u32 = 0x01;
/// It was `disabled` in haproxy.cfg then.
const DISABLED: u32 = 0x04;
/// Drain that somebody has forced.
const DRAIN: u32 = 0x08;

/// What a start would make of a backend; `Err` tells why the configuration could not be read.
pub(super) fn stored(at: &str, config: Result<&Config, &String>, backend: &str, saved: Option<&Saved>) -> Stored {
    let mut stored = Stored { at: at.to_owned(), ..Stored::default() };
    let found = match config.map(|config| (config, config.backend(backend))) {
        Err(why) => {
            stored.unclear.push(format!("{at} was not read: {why}"));
            return stored;
        }
        Ok((_, None)) => {
            stored.unclear.push(format!("{at} has no backend `{backend}` that can be read there"));
            return stored;
        }
        Ok((_, Some(found))) => found,
    };
    let rows = match saved.map(|saved| (saved, &saved.text)) {
        None => BTreeMap::new(),
        // Where it cannot be read HAProxy starts without it.
        Some((_, Err(_))) => BTreeMap::new(),
        Some((_, Ok(text))) => rows(text, backend),
    };
    for server in &found.servers {
        let row = rows.get(&server.name).zip(saved);
        stored.members.insert(server.name.clone(), member(server, row));
    }
    let missing = found.common.unread.iter().filter(|unread| unread.why.contains("server"));
    stored.unclear.extend(missing.map(|unread| format!("{} {}", unread.at, unread.why)));
    stored
}

fn member(server: &Server, row: Option<(&Row, &Saved)>) -> StoredMember {
    let (weight, disabled) = written(server);
    let by_hand = match server {
        Server { options, .. } if options.unread => Some("the line holds a variable".to_owned()),
        Server { from_template: true, .. } => Some("a `server-template` sets all of its servers alike".to_owned()),
        _ => None,
    };
    let mode = if disabled { Mode::Maint } else { Mode::Ready };
    let from_file = StoredMember { at: server.at.to_string(), weight, mode, by_hand };
    let Some((row, saved)) = row else { return from_file };
    let mode = match row.admin {
        // Also where haproxy.cfg does not say `disabled` any more: without a check it would stay down.
        admin if admin & FORCED != 0 => Mode::Maint,
        admin if disabled && admin & DISABLED == 0 => Mode::Maint,
        admin if admin & DRAIN != 0 => Mode::Drain,
        _ => Mode::Ready,
    };
    let weight = if row.configured == weight { row.weight } else { weight };
    if (weight, mode) == (from_file.weight, from_file.mode) {
        return from_file;
    }
    let again = "save the states again: `show servers state`".to_owned();
    StoredMember { at: format!("{}:{}", saved.path, row.line), weight, mode, by_hand: Some(again) }
}

/// Weight and `disabled`, by the line and its `default-server`.
pub(super) fn written(server: &Server) -> (u16, bool) {
    (server.options.weight.unwrap_or(1), server.options.disabled)
}

fn rows(text: &str, backend: &str) -> BTreeMap<String, Row> {
    let mut rows = BTreeMap::new();
    // What was saved may lack the empty line at its end.
    let whole = format!("{text}\n\n");
    let before = whole.lines().take_while(|line| !line.starts_with("# be_id ")).count();
    let Some(table) = table(&whole, "# be_id ") else { return rows };
    let header: Vec<&str> = table.header.split_whitespace().skip(1).collect();
    for (row, n) in table.rows.into_iter().zip(before + 2..) {
        let cells: Vec<&str> = row.split_whitespace().collect();
        let cell = |name: &str| cells.get(header.iter().position(|h| *h == name)?).copied();
        let read = || {
            let number = |name: &str| cell(name)?.parse().ok();
            let (weight, configured) = (number("srv_uweight")?, number("srv_iweight")?);
            Some(Row { line: n, admin: cell("srv_admin_state")?.parse().ok()?, weight, configured })
        };
        if cell("be_name") == Some(backend)
            && let Some((name, row)) = cell("srv_name").zip(read())
        {
            rows.insert(name.to_owned(), row);
        }
    }
    rows
}

/// Whether a start on every machine makes of members what they are set to.
pub(super) fn kept(stored: &[Stored], wanted: &[Change], address: impl Fn(&str) -> Option<String>) -> Kept {
    let mut kept = Kept::default();
    if stored.is_empty() {
        let wanted: Vec<String> = wanted.iter().map(|c| line(&c.member, c.weight, c.mode)).collect();
        return Kept::noted(format!(
            "nobody can tell whether a restart of HAProxy keeps it: the director names no `config`; haproxy.cfg has to say {}",
            crate::text::list(&wanted)
        ));
    }
    for machine in stored {
        kept.unclear.extend(machine.unclear.iter().cloned());
        if machine.members.is_empty() {
            continue;
        }
        let lines = wanted.iter().filter_map(|set| needed(machine, set, &address));
        kept.lines.extend(lines);
        kept.notes.push(format!("{} keeps it", machine.at));
    }
    kept
}

/// The line that has to change so that a start makes a server what it is set to.
fn needed(machine: &Stored, set: &Change, address: impl Fn(&str) -> Option<String>) -> Option<Line> {
    let to = line(&set.member, set.weight, set.mode);
    let Some(there) = machine.members.get(&set.member) else {
        // One that is not there gets nothing.
        if set.mode != Mode::Ready || set.weight == 0 {
            return None;
        }
        let to = match address(&set.member) {
            Some(address) => format!("server {} {address} weight {}", set.member, set.weight),
            None => to,
        };
        let from = format!("no server {}", set.member);
        let by_hand = Some("with the checks and options that it needs".to_owned());
        return Some(Line { at: machine.at.clone(), member: set.member.clone(), from, to, by_hand });
    };
    let unread = there.by_hand.as_deref().is_some_and(|why| why.contains("variable"));
    if is_as_set(there.weight, there.mode, set) && !unread {
        return None;
    }
    let from = if unread { format!("server {} …", set.member) } else { line(&set.member, there.weight, there.mode) };
    Some(Line { at: there.at.clone(), member: set.member.clone(), from, to, by_hand: there.by_hand.clone() })
}

/// A server's line as far as it decides.
pub(super) fn line(server: &str, weight: u16, mode: Mode) -> String {
    match mode {
        Mode::Maint => format!("server {server} … disabled"),
        Mode::Drain => format!("server {server} … weight 0"),
        Mode::Ready => format!("server {server} … weight {weight}"),
    }
}

/// A pool as it runs, as settings that a start should make.
pub(super) fn as_it_runs(members: &[Member], skip: impl Fn(&Member) -> bool) -> Vec<Change> {
    let set = |m: &Member| Change { member: m.name.clone(), weight: m.weight, mode: m.mode };
    members.iter().filter(|m| !skip(m)).map(set).collect()
}

/// The backend of a configuration, and the state file that belongs to it.
pub(super) fn state_path(config: &Config, backend: &str) -> Option<String> {
    let found: &Backend = config.backend(backend)?;
    config.state_path(found)
}

#[cfg(test)]
mod tests {
    use super::super::config::{File, parse};
    use super::*;

    fn set(member: &str, weight: u16, mode: Mode) -> Change {
        Change { member: member.into(), weight, mode }
    }

    fn config(text: &str) -> Config {
        parse(&[File { path: "/h.cfg".into(), text: text.into() }])
    }

    fn told(text: &str, saved: Option<&str>, wanted: &[Change]) -> Vec<String> {
        let saved = saved.map(|text| Saved { path: "/state".into(), text: Ok(text.into()) });
        let stored = stored("/h.cfg", Ok(&config(text)), "b", saved.as_ref());
        let kept = kept(&[stored], wanted, |_| Some("10.0.0.9:80".into()));
        kept.lines.iter().map(Line::to_string).chain(kept.unclear).collect()
    }

    const MOVED: [(&str, u16, Mode); 2] = [("dal", 100, Mode::Maint), ("fra", 100, Mode::Ready)];

    fn moved() -> Vec<Change> {
        MOVED.map(|(member, weight, mode)| set(member, weight, mode)).into()
    }

    #[test]
    fn every_line_that_would_undo_a_move_is_told_with_what_it_has_to_say() {
        let text = "backend b\n default-server weight 7\n server dal 10.0.0.1:80 weight 100\n server fra 10.0.0.2:80 disabled\n";
        assert_eq!(
            told(text, None, &moved()),
            [
                "/h.cfg:3: `server dal … weight 100` → `server dal … disabled`",
                "/h.cfg:4: `server fra … disabled` → `server fra … weight 100`"
            ]
        );
        let done = "backend b\n server dal 10.0.0.1:80 weight 100 disabled\n server fra 10.0.0.2:80 weight 100\n";
        assert_eq!(told(done, None, &moved()), Vec::<String>::new());
        let gone = "backend b\n server fra 10.0.0.2:80 weight 100\n";
        assert_eq!(told(gone, None, &moved()), Vec::<String>::new(), "who is not there gets nothing");
        let new = "backend b\n server dal 10.0.0.1:80 disabled\n";
        assert_eq!(
            told(new, None, &moved()),
            [
                "/h.cfg: `no server fra` → `server fra 10.0.0.9:80 weight 100` (with the checks and options that it needs)"
            ]
        );
    }

    #[test]
    fn what_cannot_be_understood_is_not_taken_for_kept() {
        let text = "backend b\n server dal 10.0.0.1:80 disabled\n server fra 10.0.0.2:80 weight \"$W\"\n";
        assert_eq!(
            told(text, None, &moved()),
            ["/h.cfg:3: `server fra …` → `server fra … weight 100` (the line holds a variable)"]
        );
        let text = "backend b\n server-template fra 1 10.0.0.2:80\n server dal 10.0.0.1:80 disabled\n";
        let line = told(text, None, &[set("fra1", 100, Mode::Ready)]);
        assert!(line[0].ends_with("(a `server-template` sets all of its servers alike)"), "{line:?}");
        assert_eq!(told("backend c\n", None, &moved()), ["/h.cfg has no backend `b` that can be read there"]);
        assert_eq!(
            told(
                "backend b\n server \"$N\" 10.0.0.1:80\n server dal 1:1 disabled\n server fra 1:1 weight 100\n",
                None,
                &moved()
            ),
            ["/h.cfg:2 holds a variable in the place of a server's name or address"]
        );
    }

    #[test]
    fn a_state_file_keeps_what_haproxy_restores_from_it() {
        let state = |rows: &str| {
            format!("1\n# be_id be_name srv_id srv_name srv_addr srv_admin_state srv_uweight srv_iweight\n{rows}")
        };
        let text = "backend b\n server dal 10.0.0.1:80 weight 100\n server fra 10.0.0.2:80 weight 0\n";
        let saved = state("3 b 1 dal 10.0.0.1 1 100 100\n3 b 2 fra 10.0.0.2 0 100 0\n");
        assert_eq!(told(text, Some(&saved), &moved()), Vec::<String>::new());
        // Saved before the move, and haproxy.cfg is as it has to be.
        let done = "backend b\n server dal 10.0.0.1:80 weight 100 disabled\n server fra 10.0.0.2:80 weight 100\n";
        let old = state("3 b 1 dal 10.0.0.1 0 100 100\n3 b 2 fra 10.0.0.2 0 0 0\n");
        assert_eq!(told(done, Some(&old), &moved()), Vec::<String>::new(), "another weight than then counts");
        // It was in maintenance when states were saved: it starts down.
        let down = state("3 b 1 dal 10.0.0.1 0 100 100\n3 b 2 fra 10.0.0.2 5 100 100");
        assert_eq!(
            told(done, Some(&down), &moved()),
            [
                "/state:4: `server fra … disabled` → `server fra … weight 100` (save the states again: `show servers state`)"
            ]
        );
        // `disabled` in the file, and made ready while it ran.
        let text = "backend b\n server dal 10.0.0.1:80 disabled\n server fra 10.0.0.2:80 disabled\n";
        let saved = state("3 b 1 dal 10.0.0.1 5 1 1\n3 b 2 fra 10.0.0.2 4 100 1\n");
        assert_eq!(told(text, Some(&saved), &moved()), Vec::<String>::new());
    }
}
