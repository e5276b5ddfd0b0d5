//! The file with the upstreams: what it says of a pool, and the same file with other settings.
//!
//! Pure. Must never change a byte that is not a setting of a member, and gives back the very bytes that were there before once a member has
//! its old setting again: what a line was stands behind it.

use std::fmt::Write as _;
use std::ops::Range;

use crate::model::{Change, Mode};

/// Begins what is put behind a line.
const NOTE: &str = " # migrate: ";
/// Stands between the setting and the line as it was.
const WAS: &str = "; was: ";

/// One `server` of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    /// As it is written: `10.0.0.1:8080`.
    pub name: String,
    pub weight: u16,
    pub mode: Mode,
    /// Its other words: `max_conns=100`, `backup`.
    pub words: Vec<String>,
    /// Where its line is in the file, from `server` to the end of the line.
    line: Range<usize>,
}

/// One upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Upstream {
    pub servers: Vec<Server>,
    /// Its directives that are no servers, each in one line: `least_conn`.
    pub directives: Vec<String>,
}

/// Why the file cannot be used, for people.
pub(super) type Unusable = String;

/// A word of the configuration, or one of `;`, `{` and `}`.
struct Token<'a> {
    text: &'a str,
    at: Range<usize>,
    quoted: bool,
}

impl Token<'_> {
    fn is(&self, sign: &str) -> bool {
        !self.quoted && self.text == sign
    }
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, Unusable> {
    let mut found = Vec::new();
    let mut rest = text.char_indices().peekable();
    let slice = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    while let Some((at, c)) = rest.next() {
        match c {
            c if c.is_whitespace() => {}
            '#' => while rest.next_if(|(_, c)| *c != '\n').is_some() {},
            ';' | '{' | '}' => found.push(Token { text: slice(at, at + 1), at: at..at + 1, quoted: false }),
            '"' | '\'' => {
                let mut end = None;
                while let Some((n, c2)) = rest.next() {
                    match c2 {
                        '\\' => drop(rest.next()),
                        c2 if c2 == c => {
                            end = Some(n);
                            break;
                        }
                        _ => {}
                    }
                }
                let end = end.ok_or("a quoted text in it has no end")?;
                found.push(Token { text: slice(at + 1, end), at: at..end + 1, quoted: true });
            }
            _ => {
                let mut end = at + c.len_utf8();
                let part = |c: char| !c.is_whitespace() && !";{}".contains(c);
                while let Some((n, c)) = rest.next_if(|(_, c)| part(*c)) {
                    end = n + c.len_utf8();
                }
                found.push(Token { text: slice(at, end), at: at..end, quoted: false });
            }
        }
    }
    Ok(found)
}

/// The upstream of that name; `None` where the file has none. Also the names of all that it has.
pub(super) fn upstream(text: &str, name: &str) -> Result<(Option<Upstream>, Vec<String>), Unusable> {
    let tokens = tokens(text)?;
    let (mut all, mut found) = (Vec::new(), None);
    let mut rest = tokens.as_slice();
    while let [first, tail @ ..] = rest {
        let upstream = first.is("upstream");
        let Some(open) = tail.iter().position(|t| t.is("{") || t.is(";")) else { break };
        let (head, tail) = tail.split_at(open);
        let [sign, tail @ ..] = tail else { break };
        if sign.is(";") {
            rest = tail;
            continue;
        }
        let (body, tail) = block(tail)?;
        rest = tail;
        let [called] = head else { continue };
        if upstream {
            all.push(called.text.to_owned());
            if called.text == name && found.replace(servers(text, body)?).is_some() {
                return Err(format!("upstream `{}` stands there twice", called.text));
            }
        }
    }
    Ok((found, all))
}

/// What is in a block that has begun, and what comes after it.
fn block<'a, 't>(tokens: &'a [Token<'t>]) -> Result<(&'a [Token<'t>], &'a [Token<'t>]), Unusable> {
    let mut depth = 1_usize;
    for (n, token) in tokens.iter().enumerate() {
        depth = match () {
            () if token.is("{") => depth + 1,
            () if token.is("}") => depth - 1,
            () => depth,
        };
        if depth == 0 {
            let (body, rest) = tokens.split_at(n);
            return Ok((body, rest.get(1..).unwrap_or_default()));
        }
    }
    Err("a block in it has no end".to_owned())
}

fn servers(text: &str, body: &[Token<'_>]) -> Result<Upstream, Unusable> {
    let mut upstream = Upstream::default();
    for directive in body.split(|t| t.is(";")) {
        let [first, args @ ..] = directive else { continue };
        let words: Vec<&str> = args.iter().map(|t| t.text).collect();
        match first.text {
            "server" => {
                let server = server(text, first, args)?;
                if upstream.servers.iter().any(|other| other.name == server.name) {
                    return Err(format!("`server {}` stands there twice", server.name));
                }
                upstream.servers.push(server);
            }
            "include" => return Err("an `include` in the upstream hides servers from this file".to_owned()),
            name => upstream.directives.push([&[name], words.as_slice()].concat().join(" ")),
        }
    }
    Ok(upstream)
}

fn server(text: &str, first: &Token<'_>, args: &[Token<'_>]) -> Result<Server, Unusable> {
    let [name, words @ ..] = args else { return Err("a `server` in it has no address".to_owned()) };
    let line = line(text, first.at.start, args.last().map_or(first.at.end, |last| last.at.end))
        .ok_or_else(|| format!("`server {}` has no line of its own", name.text))?;
    let words: Vec<String> = words.iter().map(|t| t.text.to_owned()).collect();
    let weight = words.iter().find_map(|w| w.strip_prefix("weight="));
    let weight = weight
        .map_or(Ok(1), str::parse)
        .map_err(|_| format!("the weight of `server {}` is no number up to 65535", name.text))?;
    let down = words.iter().any(|w| w == "down");
    let noted = note(text.get(line.clone()).unwrap_or_default()).and_then(|(setting, _)| setting);
    let (weight, mode) = match (down, noted) {
        (false, _) => (weight, Mode::Ready),
        // `down` alone is what somebody else wrote.
        (true, noted) => noted.unwrap_or((weight, Mode::Maint)),
    };
    let words = words.into_iter().filter(|w| w != "down" && !w.starts_with("weight=")).collect();
    Ok(Server { name: name.text.to_owned(), weight, mode, words, line })
}

/// The directive and all behind it, when it is alone in its line.
fn line(text: &str, start: usize, end: usize) -> Option<Range<usize>> {
    let before = text.get(..start)?.rsplit('\n').next()?;
    let whole = text.get(start..)?.split('\n').next()?;
    let behind = text.get(end..start + whole.len())?.trim_start().strip_prefix(';')?.trim_start();
    let alone = before.trim().is_empty() && (behind.is_empty() || behind.starts_with('#'));
    alone.then_some(start..start + whole.len())
}

/// What stands behind a line of ours: the setting, where `down` hides it, and the line as it was.
fn note(line: &str) -> Option<(Option<(u16, Mode)>, &str)> {
    let (_, note) = line.split_once(NOTE)?;
    let (setting, was) = note.split_once(WAS)?;
    let setting = setting.strip_prefix("weight ").and_then(|s| s.split_once(' ')).and_then(|(weight, mode)| {
        let mode = match mode {
            "ready" => Mode::Ready,
            "drain" => Mode::Drain,
            "maint" => Mode::Maint,
            _ => return None,
        };
        Some((weight.parse().ok()?, mode))
    });
    Some((setting, was))
}

/// The same file with other settings of members of one upstream, which all are there. Of several changes to one the last counts.
pub(super) fn changed(text: &str, upstream: &Upstream, changes: &[Change]) -> Result<String, Unusable> {
    let mut out = String::with_capacity(text.len() + 200);
    let mut from = 0;
    for server in &upstream.servers {
        let Some(change) = changes.iter().rev().find(|c| c.member == server.name) else { continue };
        out.push_str(text.get(from..server.line.start).unwrap_or_default());
        let now = text.get(server.line.clone()).unwrap_or_default();
        out.push_str(&rewritten(now, server, change.weight, change.mode)?);
        from = server.line.end;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    Ok(out)
}

fn rewritten(line: &str, server: &Server, weight: u16, mode: Mode) -> Result<String, Unusable> {
    if (server.weight, server.mode) == (weight, mode) {
        return Ok(line.to_owned());
    }
    let was = note(line).map_or(line, |(_, was)| was);
    let (original, _) = upstream(&format!("upstream x {{\n{was}\n}}"), "x")?;
    let original = original.and_then(|o| o.servers.into_iter().next());
    if original.is_some_and(|o| (o.name.as_str(), o.weight, o.mode) == (server.name.as_str(), weight, mode)) {
        return Ok(was.to_owned());
    }
    let mut out = format!("server {}", server.name);
    // NGINX knows no weight 0.
    if weight > 0 {
        let _ = write!(out, " weight={weight}");
    }
    for word in &server.words {
        let _ = write!(out, " {word}");
    }
    if weight == 0 || mode != Mode::Ready {
        out.push_str(" down");
    }
    let word = match mode {
        Mode::Ready => "ready",
        Mode::Drain => "drain",
        Mode::Maint => "maint",
    };
    let _ = write!(out, ";{NOTE}weight {weight} {word}{WAS}{was}");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str = "\
# The edge.\nupstream api { server 10.9.9.9; }\nupstream web {\n    least_conn;\n    server 10.0.0.1:80 max_fails=3 weight=50; # old rack\n\
    \tserver 10.0.0.2:80;\n    server 10.0.1.1:80 down;\n    keepalive 16;\n}\nserver { listen 80; location / { proxy_pass http://web; } }\n";

    fn web(text: &str) -> Upstream {
        upstream(text, "web").unwrap().0.unwrap()
    }

    fn set(text: &str, member: &str, weight: u16, mode: Mode) -> String {
        changed(text, &web(text), &[Change { member: member.to_owned(), weight, mode }]).unwrap()
    }

    fn setting(text: &str, member: &str) -> (u16, Mode) {
        let upstream = web(text);
        let server = upstream.servers.iter().find(|s| s.name == member).unwrap();
        (server.weight, server.mode)
    }

    #[test]
    fn members_and_their_settings_are_read_as_nginx_reads_them() {
        let (found, all) = upstream(FILE, "web").unwrap();
        assert_eq!(all, ["api", "web"]);
        let found = found.unwrap();
        assert_eq!(found.directives, ["least_conn", "keepalive 16"]);
        let told: Vec<_> = found.servers.iter().map(|s| (s.name.as_str(), s.weight, s.mode)).collect();
        let wanted =
            [("10.0.0.1:80", 50, Mode::Ready), ("10.0.0.2:80", 1, Mode::Ready), ("10.0.1.1:80", 1, Mode::Maint)];
        assert_eq!(told, wanted);
        assert_eq!(upstream(FILE, "nothere").unwrap().0, None);
    }

    #[test]
    fn a_setting_changes_one_line_which_keeps_what_it_was() {
        let text = set(FILE, "10.0.0.1:80", 25, Mode::Ready);
        let line = text.lines().nth(4).unwrap();
        let noted = "    server 10.0.0.1:80 weight=25 max_fails=3; # migrate: weight 25 ready; was: server 10.0.0.1:80 max_fails=3 weight=50; # old rack";
        assert_eq!(line, noted);
        let drained = set(&text, "10.0.0.1:80", 25, Mode::Drain);
        assert!(drained.contains("server 10.0.0.1:80 weight=25 max_fails=3 down; # migrate: weight 25 drain; was:"));
        assert_eq!(setting(&drained, "10.0.0.1:80"), (25, Mode::Drain));
        assert_eq!(set(&drained, "10.0.0.1:80", 50, Mode::Ready), FILE);
    }

    #[test]
    fn what_somebody_writes_over_ours_counts_and_not_the_note_behind_it() {
        let drained = set(FILE, "10.0.0.1:80", 50, Mode::Drain);
        let undone = drained.replace("weight=50 max_fails=3 down;", "weight=7 max_fails=3;");
        assert_eq!(setting(&undone, "10.0.0.1:80"), (7, Mode::Ready));
    }

    #[test]
    fn a_file_that_cannot_be_changed_line_by_line_is_refused() {
        for (text, why) in [
            ("upstream web { server a; }", "`server a` has no line of its own"),
            ("upstream web {\n server a; server b;\n}", "`server a` has no line of its own"),
            ("upstream web {\n server\n a;\n}", "`server a` has no line of its own"),
            ("upstream web {\n server a;\n server a;\n}", "`server a` stands there twice"),
            ("upstream web {\n server a weight=x;\n}", "the weight of `server a` is no number up to 65535"),
            ("upstream web {\n include more;\n}", "an `include` in the upstream hides servers from this file"),
            ("upstream web {\n server a;\n", "a block in it has no end"),
            ("upstream web {\n server \"a;\n}", "a quoted text in it has no end"),
        ] {
            assert_eq!(upstream(text, "web").unwrap_err(), why, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_way_through_settings_leads_back_to_the_same_bytes(
            steps in prop::collection::vec((0usize..3, 0u16..4, 0u8..3), 0..12)
        ) {
            let names = ["10.0.0.1:80", "10.0.0.2:80", "10.0.1.1:80"];
            let mut text = FILE.to_owned();
            for (member, weight, mode) in steps {
                let mode = [Mode::Ready, Mode::Drain, Mode::Maint][mode as usize];
                text = set(&text, names[member], weight, mode);
                prop_assert_eq!(setting(&text, names[member]), (weight, mode));
                // One comment behind a line, however often it was changed.
                prop_assert!(text.lines().all(|line| line.matches("# migrate:").count() <= 1));
            }
            for (name, weight, mode) in [(names[0], 50, Mode::Ready), (names[1], 1, Mode::Ready), (names[2], 1, Mode::Maint)] {
                text = set(&text, name, weight, mode);
            }
            prop_assert_eq!(text, FILE);
        }

        #[test]
        fn arbitrary_files_never_panic(text in any::<String>()) {
            let _ = upstream(&text, "web");
            let _ = upstream(&format!("upstream web {{\n{text}\n}}"), "web");
        }
    }
}
