//! haproxy.cfg is changed so that the next start of HAProxy keeps what was set: only the words that say otherwise.
//!
//! A copy is made beside the file, read back, checked by `haproxy -c` and renamed over it. Must never write over a change that it has not
//! seen, and never reload HAProxy.

use std::time::Duration;

use super::config::{Config, Server};
use super::files::{self, Machine};
use super::{Haproxy, keep, refused};
use crate::host::{Command, Output};
use crate::model::{Change, Edit, Mode, Rewrite, is_as_set};
use crate::outside::{Certainty, Error, Kind};
use crate::text::{self, escape};

/// How long a check of a configuration may take: names may be looked up.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Makes copies of `$1` beside it, and changes one: the rest are offsets, lengths and texts. Says where the copy is.
/// A controller that died may have left the same script at work there: one waits for the other.
const PREPARE: &str = r#"set -e
LC_ALL=C; export LC_ALL
src=$(readlink -f -- "$1") || exit 4
[ -f "$src" ] || exit 4
shift
if command -v flock >/dev/null 2>&1; then exec 9<"${src%/*}/" && flock -w 20 9 || exit 9; fi
new=$src.migrate-new; old=$src.migrate-old
rm -f -- "$new" "$old"
cp -a -- "$src" "$new"; cp -a -- "$src" "$old"
[ "$(stat -c '%u:%g:%a' -- "$src")" = "$(stat -c '%u:%g:%a' -- "$new")" ] || { rm -f -- "$new" "$old"; exit 6; }
at=0
{ while [ $# -gt 0 ]; do
    if [ "$1" -gt "$at" ]; then tail -c +$((at + 1)) "$old" | head -c $(($1 - at)); fi
    printf %s "$3"; at=$(($1 + $2)); shift 3
  done
  tail -c +$((at + 1)) "$old"; } > "$new"
sync "$new" 2>/dev/null || sync
printf '%s\n' "$src"
"#;

/// Checks the files together.
const CHECK: &str = r#"PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export PATH
command -v haproxy >/dev/null || exit 7
cd /
haproxy -c "$@" 2>&1
"#;

/// Puts the copy in the place of `$1`, unless that is not what was copied any more.
const COMMIT: &str = r#"cmp -s -- "$1" "$1.migrate-old" || exit 5
mv -f -- "$1.migrate-new" "$1" || exit 8
rm -f -- "$1.migrate-old"
sync "$1" 2>/dev/null || sync
"#;

/// Takes the copies away.
const FORGET: &str = r#"rm -f -- "$1.migrate-new" "$1.migrate-old""#;

impl Haproxy {
    /// What has to change in every haproxy.cfg so that a start makes servers what they are set to.
    pub(super) async fn needed(&self, pool: &str, wanted: &[Change]) -> Result<Vec<Rewrite>, Error> {
        let mut all = Vec::new();
        for machine in files::read(&self.settings, self.commands.as_ref()).await {
            let config = machine.config().map_err(|why| self.cannot(&machine.at, &format!("was not read: {why}")))?;
            let stored = self.stored_on(&machine, Ok(&config), pool).await;
            let open = |set: &&Change| match stored.members.get(&set.member) {
                Some(there) => !is_as_set(there.weight, there.mode, set) || there.by_hand.is_some(),
                None => set.mode == Mode::Ready && set.weight > 0,
            };
            let open: Vec<&Change> = wanted.iter().filter(open).collect();
            let mut rewrites =
                rewrites(&machine, &config, pool, &open).map_err(|why| self.cannot(&machine.at, &why))?;
            all.append(&mut rewrites);
        }
        Ok(all)
    }

    /// Makes the changes, all of them or none; those that are made already stay.
    pub(super) async fn make(&self, rewrites: &[Rewrite], back: bool) -> Result<String, Error> {
        let mut ready = Vec::new();
        for rewrite in rewrites {
            let prepared = match self.prepare(rewrite, back).await {
                Ok(prepared) => prepared,
                Err(e) => {
                    self.forget(&ready).await;
                    return Err(e.nothing_changed());
                }
            };
            ready.extend(prepared.map(|path| (rewrite, path)));
        }
        for (n, (rewrite, path)) in ready.iter().enumerate() {
            if let Err(e) = self.commit(rewrite, path).await {
                self.forget(ready.get(n..).unwrap_or_default()).await;
                let others = text::count(n as u64, "file");
                return Err(match n {
                    0 => e,
                    _ => Error { what: format!("{}; {others} before it changed", e.what), ..e }
                        .certainty(Certainty::Unknown),
                });
            }
        }
        let files = rewrites.iter().map(|r| label(r.host.as_deref(), &r.path)).collect::<Vec<_>>();
        let lines = rewrites.iter().map(|r| r.edits.len() as u64).sum();
        Ok(match files.as_slice() {
            [] => "nothing had to change".to_owned(),
            files => format!("{} of {} changed and read back", text::count(lines, "place"), text::list(files)),
        })
    }

    /// Makes and checks the copy; `None` where the file is already as it has to be.
    async fn prepare(&self, rewrite: &Rewrite, back: bool) -> Result<Option<String>, Error> {
        let at = label(rewrite.host.as_deref(), &rewrite.path);
        let now = self.bytes(rewrite, &rewrite.path).await?;
        let digest = hex(&now);
        if digest == rewrite.after {
            return Ok(None);
        }
        let new = rewrite.applied(&now).filter(|new| digest == rewrite.before && hex(new) == rewrite.after);
        let Some(new) = new else {
            let what = format!("somebody else has changed it in between: {}", self.both(rewrite, &now));
            let hint = format!("put these words into {at} by hand, and say so with `migrate resolve … --done`");
            return Err(Error::new(format!("{} ({at})", self.name), Kind::Conflict, what).hint(hint));
        };
        let mut args = vec![rewrite.path.clone()];
        for edit in &rewrite.edits {
            args.extend([edit.at.to_string(), edit.from.len().to_string(), edit.to.clone()]);
        }
        let said = self.run(rewrite, PREPARE, args).await?;
        let path = String::from_utf8_lossy(&said).trim_end_matches('\n').to_owned();
        let copied = self.checked(rewrite, &path, &new, back).await;
        if copied.is_err() {
            self.forget(&[(rewrite, path.clone())]).await;
        }
        copied.map(|()| Some(path))
    }

    async fn checked(&self, rewrite: &Rewrite, path: &str, new: &[u8], back: bool) -> Result<(), Error> {
        let copy = format!("{path}.migrate-new");
        if self.bytes(rewrite, &copy).await? != new {
            return Err(self.cannot(&copy, "reads back otherwise than it was written"));
        }
        // What was there before is put back whatever HAProxy makes of it.
        if back {
            return Ok(());
        }
        let files = rewrite.together.iter().map(|file| if *file == rewrite.path { copy.clone() } else { file.clone() });
        let args = files.flat_map(|file| ["-f".to_owned(), file]).collect();
        self.run(rewrite, CHECK, args).await.map(drop)
    }

    async fn commit(&self, rewrite: &Rewrite, path: &str) -> Result<(), Error> {
        self.run(rewrite, COMMIT, vec![path.to_owned()]).await?;
        match hex(&self.bytes(rewrite, path).await?) == rewrite.after {
            true => Ok(()),
            false => Err(Error::new(self.name.as_str(), Kind::Disagrees, format!("{path} reads back otherwise"))),
        }
    }

    async fn forget(&self, prepared: &[(&Rewrite, String)]) {
        for (rewrite, path) in prepared {
            // What stays behind is no haproxy.cfg, and gone with the next try.
            let _ = self.run(rewrite, FORGET, vec![path.clone()]).await;
        }
    }

    /// What the file should say, and what it says.
    fn both(&self, rewrite: &Rewrite, now: &[u8]) -> String {
        let text = String::from_utf8_lossy(now);
        let shown = rewrite.edits.iter().map(|edit| {
            let line = text.lines().nth(edit.line.saturating_sub(1)).unwrap_or_default();
            let is = if line.contains(&edit.member) { "has other words now" } else { "is another line now" };
            let word = |text: &str| if text.is_empty() { "nothing".to_owned() } else { format!("`{}`", text.trim()) };
            let (from, to) = (word(&edit.from), word(&edit.to));
            format!("line {} ({}) was to go from {from} to {to}, and {is}", edit.line, edit.member)
        });
        let digest = hex(now);
        let (is, was) = (digest.get(..12).unwrap_or_default(), rewrite.before.get(..12).unwrap_or_default());
        format!("{}; its BLAKE3 is {is}… and was {was}…", shown.collect::<Vec<_>>().join(", "))
    }

    async fn bytes(&self, rewrite: &Rewrite, path: &str) -> Result<Vec<u8>, Error> {
        let read = files::one(rewrite.host.as_deref(), path, self.commands.as_ref()).await;
        let at = label(rewrite.host.as_deref(), path);
        read.map_err(|why| Error::new(format!("{} ({at})", self.name), Kind::Refused, format!("cannot be read: {why}")))
    }

    async fn run(&self, rewrite: &Rewrite, script: &str, args: Vec<String>) -> Result<Vec<u8>, Error> {
        let at = label(rewrite.host.as_deref(), &rewrite.path);
        let command = Command { script: script.to_owned(), args, timeout: Some(TIMEOUT), ..Command::default() };
        let output = match &rewrite.host {
            Some(host) => self.commands.run(host, &command).await?,
            None => self.commands.here(&command).await?,
        };
        let Output { status, stdout, stderr, .. } = output;
        let said = escape(if stderr.is_empty() { stdout.trim_ascii() } else { stderr.trim_ascii() }, 400);
        let refused = |what: &str| Err(self.cannot(&at, what));
        match status {
            0 => Ok(stdout),
            4 if script == PREPARE => refused("is no file"),
            5 if script == COMMIT => refused("was changed while its copy was checked"),
            6 if script == PREPARE => refused("cannot be written with the owner and mode that it has: use `become`"),
            9 if script == PREPARE => refused("cannot be changed: somebody else holds the lock of its directory"),
            7 if script == CHECK => refused("cannot be checked: there is no `haproxy` program"),
            _ if script == CHECK => {
                refused(&format!("would not be taken by HAProxy with the change: {}", alerts(&stdout)))
            }
            n => refused(&format!("cannot be changed: status {n}: {said}")),
        }
    }

    fn cannot(&self, at: &str, what: &str) -> Error {
        refused(&format!("{} ({at})", self.name), what)
    }
}

/// What `haproxy -c` complains of, without what it says besides.
fn alerts(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let alerts: Vec<&str> = text.lines().filter(|line| line.starts_with("[ALERT]")).collect();
    let said = if alerts.is_empty() { text.trim().to_owned() } else { alerts.join("; ") };
    escape(said.as_bytes(), 600)
}

fn label(host: Option<&str>, path: &str) -> String {
    match host {
        None => path.to_owned(),
        Some(host) => format!("{path} on {host}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// What changes in the files of one machine so that servers start as they are set; `Err` tells what only a person can do.
fn rewrites(machine: &Machine, config: &Config, pool: &str, wanted: &[&Change]) -> Result<Vec<Rewrite>, String> {
    let raws = machine.files.as_deref().map_err(|why| why.clone())?;
    let together: Vec<String> = raws.iter().map(|raw| raw.path.clone()).collect();
    let mut edits: Vec<(&str, Edit)> = Vec::new();
    for set in wanted {
        let server = config.backend(pool).and_then(|backend| backend.server(&set.member));
        let Some(server) = server else { return Err(format!("has no server {pool}/{}: add it by hand", set.member)) };
        let raw = raws.iter().find(|raw| raw.path == server.at.file);
        let line = raw.and_then(|raw| line_of(&raw.bytes, server.at.line));
        let Some((begin, line)) = line else { return Err(format!("is not UTF-8 in line {}", server.at.line)) };
        for (at, from, to) in words(server, set)? {
            if line.get(at..at + from.len()) != Some(from.as_str()) {
                return Err(format!("line {} cannot be told apart into words", server.at.line));
            }
            let edit = Edit { line: server.at.line, member: set.member.clone(), at: begin + at, from, to };
            edits.push((&server.at.file, edit));
        }
    }
    let mut rewrites = Vec::new();
    for raw in raws {
        let mut own: Vec<Edit> = edits.iter().filter(|(f, _)| *f == raw.path).map(|(_, e)| e.clone()).collect();
        own.sort_by_key(|edit| edit.at);
        if own.is_empty() {
            continue;
        }
        let (host, path, together) = (machine.host.clone(), raw.path.clone(), together.clone());
        let mut rewrite = Rewrite { host, path, before: hex(&raw.bytes), after: String::new(), edits: own, together };
        let new = rewrite.applied(&raw.bytes).ok_or("cannot be changed: its lines overlap")?;
        rewrite.after = hex(&new);
        rewrites.push(rewrite);
    }
    proved(machine, config, pool, wanted, &rewrites)?;
    Ok(rewrites)
}

/// A line and where it begins.
fn line_of(bytes: &[u8], line: usize) -> Option<(usize, &str)> {
    let mut begin = 0;
    for (text, n) in bytes.split(|b| *b == b'\n').zip(1..) {
        if n == line {
            return Some((begin, std::str::from_utf8(text).ok()?));
        }
        begin += text.len() + 1;
    }
    None
}

/// Words of a server's line that become others: where, from what, to what.
fn words(server: &Server, set: &Change) -> Result<Vec<(usize, String, String)>, String> {
    let Server { name, options, from_template, disabled_by_default, .. } = server;
    if *from_template {
        return Err(format!("makes {name} by a `server-template`, which sets all of its servers alike"));
    }
    if options.unread {
        return Err(format!("has a variable in the line of {name}"));
    }
    let end = server.words.last().map(|word| word.span.end).ok_or("has a line without words")?;
    let (weight, disabled) = keep::written(server);
    let mut edits = Vec::new();
    let mut more = String::new();
    let wanted = match set.mode {
        Mode::Maint => None,
        Mode::Drain => Some(0),
        Mode::Ready => Some(set.weight),
    };
    if let Some(wanted) = wanted.filter(|wanted| *wanted != weight) {
        match server.keywords("weight").last().and_then(|(_, number)| number) {
            Some(number) => {
                let from = server.line.get(number.span.clone()).ok_or("has a line that cannot be cut")?;
                edits.push((number.span.start, from.to_owned(), wanted.to_string()));
            }
            None => more.push_str(&format!(" weight {wanted}")),
        }
    }
    if set.mode == Mode::Maint && !disabled {
        more.push_str(" disabled");
    }
    if set.mode == Mode::Ready && disabled && *disabled_by_default {
        more.push_str(" enabled");
    } else if set.mode == Mode::Ready && disabled {
        for (word, _) in server.keywords("disabled") {
            let before = server.line.get(..word.span.start).unwrap_or_default();
            let begin = before.trim_end().len();
            let from = server.line.get(begin..word.span.end).ok_or("has a line that cannot be cut")?;
            edits.push((begin, from.to_owned(), String::new()));
        }
    }
    if !more.is_empty() {
        edits.push((end, String::new(), more));
    }
    Ok(edits)
}

/// Reads what the files would be: the wanted servers start as they are set, and all others as before.
fn proved(
    machine: &Machine,
    before: &Config,
    pool: &str,
    wanted: &[&Change],
    rewrites: &[Rewrite],
) -> Result<(), String> {
    let raws = machine.files.as_deref().map_err(|why| why.clone())?;
    let new = raws.iter().map(|raw| {
        let rewrite = rewrites.iter().find(|rewrite| rewrite.path == raw.path);
        let bytes = match rewrite {
            Some(rewrite) => rewrite.applied(&raw.bytes).ok_or("cannot be changed: its lines overlap")?,
            None => raw.bytes.clone(),
        };
        Ok(files::Raw { path: raw.path.clone(), bytes })
    });
    let new = Machine { host: None, at: String::new(), files: Ok(new.collect::<Result<Vec<_>, &str>>()?) };
    let after = new.config()?;
    for backend in &before.backends {
        let changed = after.backends.iter().find(|b| b.at == backend.at);
        for server in &backend.servers {
            let now = changed.and_then(|backend| backend.server(&server.name));
            let set = wanted.iter().find(|set| backend.name == pool && set.member == server.name);
            let good = match (now, set) {
                (Some(now), Some(set)) => {
                    let (weight, disabled) = keep::written(now);
                    is_as_set(weight, if disabled { Mode::Maint } else { Mode::Ready }, set)
                }
                (now, None) => now.is_some_and(|now| now.options == server.options),
                (None, Some(_)) => false,
            };
            if !good {
                return Err(format!("cannot be changed for {} without more", server.name));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn machine(text: &[u8]) -> Machine {
        let raw = files::Raw { path: "/h.cfg".into(), bytes: text.to_vec() };
        Machine { host: None, at: "/h.cfg".into(), files: Ok(vec![raw]) }
    }

    fn set(member: &str, weight: u16, mode: Mode) -> Change {
        Change { member: member.into(), weight, mode }
    }

    fn rewritten(text: &[u8], wanted: &[Change]) -> Result<Vec<u8>, String> {
        let machine = machine(text);
        let config = machine.config().unwrap();
        let all = rewrites(&machine, &config, "b", &wanted.iter().collect::<Vec<_>>())?;
        let mut new = text.to_vec();
        for rewrite in &all {
            new = rewrite.applied(text).unwrap();
            assert_eq!(rewrite.reversed().applied(&new).as_deref(), Some(text));
        }
        Ok(new)
    }

    #[test]
    fn only_the_words_that_say_otherwise_change() {
        let text = b"# caf\xe9\r\nbackend b\n\tserver  dal 10.0.0.1:80  check weight '100' # old\n server fra 10.0.0.2:80 disabled cookie disabled\tweight 0 weight 1\n server x 1:1\n";
        let wanted = [set("dal", 100, Mode::Maint), set("fra", 50, Mode::Ready), set("x", 1, Mode::Ready)];
        let new = b"# caf\xe9\r\nbackend b\n\tserver  dal 10.0.0.1:80  check weight '100' disabled # old\n server fra 10.0.0.2:80 cookie disabled\tweight 0 weight 50\n server x 1:1\n";
        assert_eq!(rewritten(text, &wanted[..1]).map(|b| b.len()), Ok(text.len() + 9));
        assert_eq!(rewritten(text, &wanted).unwrap(), new);
        assert_eq!(rewritten(new, &wanted).unwrap(), new, "there is nothing left to change");
    }

    #[test]
    fn what_defaults_say_is_said_otherwise_in_the_line() {
        let text =
            b"backend b\n default-server weight 7 disabled\n server fra 10.0.0.2:80\n server dal 10.0.0.1:80 enabled\n";
        let wanted = [set("fra", 50, Mode::Ready), set("dal", 7, Mode::Maint)];
        let new = b"backend b\n default-server weight 7 disabled\n server fra 10.0.0.2:80 weight 50 enabled\n server dal 10.0.0.1:80 enabled disabled\n";
        assert_eq!(rewritten(text, &wanted).unwrap(), new);
    }

    #[test]
    fn what_a_program_cannot_change_is_said() {
        for (text, why) in [
            (&b"backend b\n server-template fra 3 10.0.0.2:80\n"[..], "makes fra1 by a `server-template`"),
            (b"backend b\n server fra1 10.0.0.2:80 weight \"$W\"\n", "has a variable in the line of fra1"),
            (b"backend b\n server other 10.0.0.2:80\n", "has no server b/fra1"),
            (b"backend b\n server fra1 10.0.0.2:80 # \xff\n", "is not UTF-8 in line 2"),
        ] {
            let said = rewritten(text, &[set("fra1", 50, Mode::Ready)]).unwrap_err();
            assert!(said.starts_with(why), "{said}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_there_only_the_wanted_server_starts_otherwise(
            options in proptest::collection::vec("(weight [0-9]|disabled|enabled|check|cookie (disabled|weight|c)|backup|'disabled'|weight \"3\")", 0..5),
            defaults in "(|disabled|weight 9|enabled)",
            (weight, out) in (0_u16..=256, any::<bool>()),
        ) {
            let text = format!(
                "backend b\n default-server {defaults}\n server a 1:1\n server fra 10.0.0.2:80  {} # x\n server z 1:1 weight 3\n",
                options.join("  ")
            );
            let mode = if out { Mode::Maint } else { Mode::Ready };
            // `rewrites` itself reads what it has made, and says so where it is not what is wanted.
            let new = rewritten(text.as_bytes(), &[set("fra", weight, mode)]).unwrap();
            let config = machine(&new).config().unwrap();
            let fra = config.backend("b").unwrap().server("fra").unwrap();
            let (now, disabled) = keep::written(fra);
            prop_assert_eq!(disabled, out);
            prop_assert!(out || now == weight);
        }
    }
}
