//! Text for people and shells: escaping of remote bytes, sizes, rates, durations, names, quoting.
//!
//! Owns how a number reads. Must never pass on a control character, and never know what a migration is.

pub mod name;
mod natural;
pub mod shell;
pub mod suggest;
pub mod units;

use std::fmt::Write as _;
use std::time::Duration;

pub use natural::natural_cmp;

/// Makes remote bytes safe for a terminal: control characters, bidirectional overrides and invalid UTF-8 become escapes; newlines
/// become `⏎`, and what is longer than `limit` characters is cut with `…`.
pub fn escape(bytes: &[u8], limit: usize) -> String {
    let mut out = String::new();
    let text = String::from_utf8_lossy(bytes);
    for (n, c) in text.trim_end().chars().enumerate() {
        if n == limit {
            out.push('…');
            break;
        }
        match c {
            '\n' => out.push('⏎'),
            '\t' => out.push(' '),
            c if is_unsafe(c) => {
                let _ = write!(out, "\\u{{{:x}}}", c as u32);
            }
            c => out.push(c),
        }
    }
    out
}

/// The same of a command, which loses its middle where it is longer: what it ends with tells as much as how it begins.
pub fn command(text: &str, limit: usize) -> String {
    let whole = escape(text.as_bytes(), usize::MAX);
    let count = whole.chars().count();
    if count <= limit {
        return whole;
    }
    let (ahead, behind) = (limit * 3 / 5, limit - limit * 3 / 5);
    let head: String = whole.chars().take(ahead).collect();
    let tail: String = whole.chars().skip(count - behind).collect();
    format!("{}…{}", head.trim_end(), tail.trim_start())
}

fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// `512 B`, `1.5 KiB`, `2.0 GiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut value = n as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().copied().unwrap_or("KiB");
    for next in units {
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// `340 ms`, `4.2 s`, `1m 30s`, `2h 05m`, `3d 04h`.
pub fn duration(d: Duration) -> String {
    let ms = d.as_millis();
    let secs = d.as_secs();
    match secs {
        0 => format!("{ms} ms"),
        1..=59 if ms.is_multiple_of(1000) => format!("{secs} s"),
        1..=59 => format!("{:.1} s", d.as_secs_f64()),
        60..=3599 => format!("{}m {:02}s", secs / 60, secs % 60),
        3600..=86_399 => format!("{}h {:02}m", secs / 3600, secs % 3600 / 60),
        _ => format!("{}d {:02}h", secs / 86_400, secs % 86_400 / 3600),
    }
}

/// `1 file`, `2 files`.
pub fn count(n: u64, noun: &str) -> String {
    match n {
        1 => format!("1 {noun}"),
        _ => format!("{} {noun}s", grouped(n)),
    }
}

/// `1 entry`, `2 entries`.
pub fn entries(n: u64) -> String {
    if n == 1 { "1 entry".to_owned() } else { format!("{} entries", grouped(n)) }
}

/// `12,345`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// `00ff12`.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |n: u8| char::from_digit(n.into(), 16).unwrap_or('0');
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect()
}

/// The bytes behind `00ff12`; `None` when it is anything else than pairs of lowercase digits.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: &u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

/// `a, b and c`.
pub fn list<S: AsRef<str>>(items: &[S]) -> String {
    match items {
        [] => String::new(),
        [one] => one.as_ref().to_owned(),
        [init @ .., last] => {
            let init: Vec<&str> = init.iter().map(AsRef::as_ref).collect();
            format!("{} and {}", init.join(", "), last.as_ref())
        }
    }
}

/// `a, b and 7 more`, where there are more than `most`.
pub fn some<S: AsRef<str>>(items: &[S], most: usize) -> String {
    match items.len().checked_sub(most).filter(|more| *more > 1) {
        None => list(items),
        Some(more) => {
            let first = items.iter().take(most).map(AsRef::as_ref).map(str::to_owned);
            list(&first.chain([format!("{more} more")]).collect::<Vec<_>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_the_first_are_named() {
        let names: Vec<String> = (1..=5).map(|n| n.to_string()).collect();
        assert_eq!(some(&names, 4), "1, 2, 3, 4 and 5");
        assert_eq!(some(&names, 3), "1, 2, 3 and 2 more");
    }

    #[test]
    fn remote_bytes_cannot_move_the_cursor() {
        assert_eq!(escape(b"ok\x1b[2Jgone\r\n\xff", 80), "ok\\u{1b}[2Jgone\\u{d}⏎\u{fffd}");
        assert_eq!(escape("a\u{202e}b".as_bytes(), 80), "a\\u{202e}b");
        assert_eq!(escape(b"abcdef", 3), "abc…");
    }

    #[test]
    fn a_long_command_loses_its_middle() {
        assert_eq!(command("systemctl stop web", 20), "systemctl stop web");
        assert_eq!(command("cd /srv/web && ./stop --gracefully web.service", 20), "cd /srv/web….service");
        assert_eq!(command("a\nb", 9), "a⏎b");
    }

    #[test]
    fn hex_digits_come_back_and_nothing_else_does() {
        assert_eq!(hex(&[0x00, 0xff, 0x12]), "00ff12");
        assert_eq!(unhex("00ff12"), Some(vec![0x00, 0xff, 0x12]));
        assert_eq!((unhex("0"), unhex("0G"), unhex("FF")), (None, None, None));
    }

    #[test]
    fn numbers_read_well_at_their_edges() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1024), "1.0 KiB");
        assert_eq!(bytes(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(duration(Duration::from_millis(999)), "999 ms");
        assert_eq!(duration(Duration::from_secs(60)), "1m 00s");
        assert_eq!(duration(Duration::from_secs(3661)), "1h 01m");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
    }
}
