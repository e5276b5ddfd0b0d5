//! Lines that fit a terminal: broken between words, with what follows set in; a long path or command is shortened in its middle.
//!
//! Owns where lines break. In a log nothing is broken: a line there is a line.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::format::Style;

/// Narrower than this, nothing can be read anyway.
const LEAST: usize = 40;

/// One line, broken where it has to be; what follows stands at column `hang`. Words that are too long are shortened unless all is told.
pub fn line(line: &str, hang: usize, style: Style) -> String {
    broken(line, hang, style, !style.verbose)
}

/// The same, but no word loses anything: somebody may need it. A command to copy stays in one line.
pub fn whole(line: &str, hang: usize, style: Style) -> String {
    match ["`migrate ", ": migrate ", "(migrate ", ":      migrate "].iter().any(|command| line.contains(command)) {
        true => line.to_owned(),
        false => broken(line, hang, style, false),
    }
}

/// Each line of a text, whole; what follows is set in by four.
pub fn fitted(text: &str, style: Style) -> String {
    let hang = |line: &str| line.len() - line.trim_start_matches(' ').len() + 4;
    text.lines().map(|line| format!("{}\n", whole(line, hang(line), style))).collect()
}

fn broken(line: &str, hang: usize, style: Style, shortens: bool) -> String {
    let Some(room) = style.width.map(|width| width.max(LEAST)) else { return line.to_owned() };
    if width(line) <= room {
        return line.to_owned();
    }
    let hang = hang.min(room / 2);
    let start = line.len() - line.trim_start_matches(' ').len();
    let (indent, text) = line.split_at(start);
    let mut out = indent.to_owned();
    let mut column = start;
    let mut is_first = true;
    for word in text.split(' ') {
        let word = match shortens && width(word) > room - hang && !word.contains('\x1b') {
            true => shorten(word, room - hang),
            false => word.to_owned(),
        };
        let wide = width(&word);
        if !is_first && column + 1 + wide > room && column > hang {
            while out.ends_with(' ') {
                out.pop();
            }
            out.push('\n');
            out.push_str(&" ".repeat(hang));
            column = hang;
        } else if !is_first {
            out.push(' ');
            column += 1;
        }
        out.push_str(&word);
        column += wide;
        is_first = false;
    }
    out
}

/// Columns that a text takes; what sets colours takes none.
pub fn width(text: &str) -> usize {
    let mut parts = text.split("\x1b[");
    let first = parts.next().unwrap_or_default().width();
    first + parts.map(|part| part.split_once('m').map_or(part, |(_, rest)| rest).width()).sum::<usize>()
}

/// A text of at most so many columns: beginning and end, with `…` for what is between.
pub fn shorten(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(1);
    // The end of a path or command tells more than its beginning.
    let (mut ahead, mut behind) = (room * 2 / 5, room - room * 2 / 5);
    let head: String = text.chars().take_while(|c| take(&mut ahead, *c)).collect();
    let tail: Vec<char> = text.chars().rev().take_while(|c| take(&mut behind, *c)).collect();
    format!("{head}…{}", tail.into_iter().rev().collect::<String>())
}

fn take(left: &mut usize, c: char) -> bool {
    let rest = left.checked_sub(c.width().unwrap_or(0));
    rest.inspect(|rest| *left = *rest).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(width: usize) -> Style {
        Style { width: Some(width), ..Style::default() }
    }

    #[test]
    fn a_line_that_fits_and_a_line_of_a_log_stay_as_they_are() {
        let long = "  a ".repeat(100);
        assert_eq!(line(&long, 4, Style::default()), long);
        assert_eq!(line("  two  columns", 4, at(80)), "  two  columns");
    }

    #[test]
    fn lines_break_between_words_and_follow_set_in() {
        let text = "  held: the answer was lost on the way, and nobody knows what became of it";
        assert_eq!(
            line(text, 4, at(44)),
            "  held: the answer was lost on the way, and\n    nobody knows what became of it"
        );
    }

    #[test]
    fn a_long_path_loses_its_middle_and_only_unless_all_is_told() {
        let text = "    ~ seed         /srv/customers/of/the/service/which/has/a/long/name/uploads/data";
        let short = line(text, 19, at(60));
        assert_eq!(short, "    ~ seed         /srv/customers/o…a/long/name/uploads/data");
        assert!(line(text, 19, Style { verbose: true, ..at(60) }).ends_with("/which/has/a/long/name/uploads/data"));
        assert!(whole(text, 19, at(60)).ends_with("/which/has/a/long/name/uploads/data"));
    }

    #[test]
    fn colours_take_no_room_and_wide_letters_two() {
        assert_eq!(width("\x1b[2m[日本]\x1b[0m"), 6);
        assert_eq!(shorten("日本日本日本", 7), "日…日本");
        assert_eq!(shorten("abc", 3), "abc");
    }
}
