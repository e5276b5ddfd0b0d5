//! What has been edited in a file: which lines are not what they were, and whether it says anything else now.
//!
//! Must never show what a file marks as secret.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::diagnostic::{Sink, place};
use super::node;
use super::source::Source;
use crate::text;

/// The most lines that are shown of one file.
const SHOWN: usize = 12;

/// The difference between what a file said and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// Whether it says anything else: not so when only comments, spaces and line breaks are others.
    pub means_something: bool,
    /// The lines: `- 12: what was there`, `+ 12: what is there`.
    pub lines: Vec<String>,
}

/// What has been edited; `None` when nothing has.
pub fn between(path: &Path, before: &str, now: &str) -> Option<Edited> {
    if before == now {
        return None;
    }
    let read = |text: &str| {
        let source = Source::from_text(path, 0, text.to_owned());
        // What is wrong with it is told where it is used.
        let node = node::parse(&source, &Sink::default());
        (source, node)
    };
    let ((before, was), (now, is)) = (read(before), read(now));
    // What must not be shown is known only of what could be parsed.
    let may_show = was.is_some() && is.is_some();
    let means_something = !matches!((was, is), (Some(was), Some(is)) if was.says_the_same(&is));
    let mut lines = different("-", &before, &now, may_show);
    lines.extend(different("+", &now, &before, may_show));
    if lines.is_empty() {
        lines.push("the same lines have another order, or other line breaks".to_owned());
    }
    let more = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    if more > 0 {
        lines.push(format!("… and {} more", text::grouped(more as u64)));
    }
    Some(Edited { means_something, lines })
}

/// The lines of one text that the other does not have, or not as often.
fn different(sign: &str, of: &Arc<Source>, than: &Source, may_show: bool) -> Vec<String> {
    let mut left: HashMap<&str, usize> = HashMap::new();
    than.text.lines().for_each(|line| *left.entry(line).or_default() += 1);
    let mut found = Vec::new();
    for (number, line) in (1..).zip(of.text.lines()) {
        match left.get_mut(line).filter(|left| **left > 0) {
            Some(left) => *left -= 1,
            None if line.trim().is_empty() => {}
            None if may_show => {
                let start = of.line_range(number).start;
                found.push(format!("{sign} {number}: {}", place(of, start..start).line_text));
            }
            None => found.push(format!("{sign} {number}")),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(before: &str, now: &str) -> Option<(bool, Vec<String>)> {
        between(Path::new("x.yaml"), before, now).map(|e| (e.means_something, e.lines))
    }

    #[test]
    fn comments_and_spaces_mean_nothing_and_values_and_their_order_do() {
        let was = "a: 1\nb: [x, y]  # why\n";
        assert_eq!(edited(was, was), None);
        for same in ["# new\na: 1\nb: [x, y]\n", "a:   1\n\nb: [ x, y ]", "a: 1\r\nb: [x, y]\r\n"] {
            assert!(!edited(was, same).unwrap().0, "{same}");
        }
        for other in ["a: 2\nb: [x, y]", "a: 1\nb: [y, x]", "a: \"1\"\nb: [x, y]", "a: 1", "a: [", ""] {
            assert!(edited(was, other).unwrap().0, "{other}");
        }
    }

    #[test]
    fn lines_are_told_by_their_numbers_and_secrets_are_not_shown() {
        let (was, is) = ("a: 1\nhold: 30s\ntoken: geheim1\n", "# x\na: 1\nhold: 5m\ntoken: geheim2\n");
        let told = edited(was, is).unwrap().1;
        let should = ["- 2: hold: 30s", "- 3: token: •••••••", "+ 1: # x", "+ 3: hold: 5m", "+ 4: token: •••••••"];
        assert_eq!(told, should);
        let broken = edited(was, "a: [\ntoken: geheim2\n").unwrap();
        assert_eq!(broken, (true, ["- 1", "- 2", "- 3", "+ 1", "+ 2"].map(str::to_owned).to_vec()));
        let many: String = (0..40).map(|n| format!("k{n}: 1\n")).collect();
        assert_eq!(edited("a: 1\n", &many).unwrap().1.last().unwrap(), "… and 29 more");
        assert_eq!(edited("a: 1\nb: 2\n", "b: 2\na: 1\n").unwrap().1.len(), 1);
    }
}
