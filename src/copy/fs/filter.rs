//! What stays behind: patterns with the meaning they have in rsync.
//!
//! Owns the translation of patterns into regular expressions over raw bytes. The first pattern that matches decides.

use regex::bytes::{RegexSet, RegexSetBuilder};

/// Compiled patterns.
#[derive(Debug, Clone)]
pub struct Filter {
    set: RegexSet,
    rules: Vec<Rule>,
    source: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Rule {
    keep: bool,
    directories_only: bool,
}

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("exclude pattern `{pattern}`: {why}")]
pub struct BadPattern {
    /// As written.
    pub pattern: String,
    /// The reason.
    pub why: &'static str,
}

impl Filter {
    /// Compiles patterns. `+ pattern` keeps what a later one would leave out, `- pattern` is the same as `pattern`.
    pub fn new(patterns: &[String]) -> Result<Self, BadPattern> {
        let mut rules = Vec::new();
        let mut expressions = Vec::new();
        for pattern in patterns {
            let (rule, expression) = translate(pattern).map_err(|why| BadPattern { pattern: pattern.clone(), why })?;
            rules.push(rule);
            expressions.push(expression);
        }
        let set = RegexSetBuilder::new(&expressions)
            .unicode(false)
            .dot_matches_new_line(true)
            .build()
            .map_err(|_| BadPattern { pattern: patterns.join(", "), why: "too complex" })?;
        Ok(Self { set, rules, source: patterns.to_vec() })
    }

    /// Whether an entry stays behind; everything below an excluded directory does, too.
    pub fn excludes(&self, path: &[u8], is_dir: bool) -> bool {
        if self.rules.is_empty() {
            return false;
        }
        let hits = self.set.matches(path);
        let first =
            self.rules.iter().enumerate().find(|(n, rule)| hits.matched(*n) && (is_dir || !rule.directories_only));
        first.is_some_and(|(_, rule)| !rule.keep)
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The patterns as written.
    pub fn patterns(&self) -> &[String] {
        &self.source
    }
}

/// One pattern as a regular expression over the path relative to the root.
fn translate(pattern: &str) -> Result<(Rule, String), &'static str> {
    let (keep, body) = match pattern.split_at_checked(2) {
        Some(("+ ", rest)) => (true, rest),
        Some(("- ", rest)) => (false, rest),
        _ => (false, pattern),
    };
    if body.is_empty() || body == "/" {
        return Err("is empty");
    }
    if body.contains('\0') {
        return Err("holds a NUL byte");
    }
    let anchored = body.starts_with('/');
    let body = body.strip_prefix('/').unwrap_or(body);
    // `dir/***` means the directory and everything in it; the walk never looks into an excluded directory anyway.
    let (body, whole_dir) = match body.strip_suffix("/***") {
        Some(dir) => (dir, true),
        None => (body, false),
    };
    let directories_only = body.ends_with('/');
    let body = body.strip_suffix('/').unwrap_or(body);
    let mut expression = String::from(if anchored { "^" } else { "^(?:.*/)?" });
    push_wildcards(body, &mut expression)?;
    expression.push_str(if whole_dir { "(?:/.*)?$" } else { "$" });
    Ok((Rule { keep, directories_only }, expression))
}

fn push_wildcards(body: &str, out: &mut String) -> Result<(), &'static str> {
    let mut rest = body.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '*' if rest.next_if_eq(&'*').is_some() => {
                while rest.next_if_eq(&'*').is_some() {}
                out.push_str(".*");
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '[' => push_class(&mut rest, out)?,
            '\\' => push_literal(rest.next().ok_or("ends with a backslash")?, out),
            c => push_literal(c, out),
        }
    }
    Ok(())
}

/// A character class up to its `]`, which is an ordinary character when it comes first.
fn push_class(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) -> Result<(), &'static str> {
    out.push('[');
    if rest.next_if(|c| matches!(c, '!' | '^')).is_some() {
        // A class never matches a slash.
        out.push_str("^/");
    }
    let mut first = true;
    loop {
        match rest.next().ok_or("has a `[` without its `]`")? {
            ']' if !first => break,
            '[' if rest.peek() == Some(&':') => push_posix(rest, out)?,
            '\\' => push_in_class(rest.next().ok_or("ends with a backslash")?, out)?,
            '-' if !first && rest.peek().is_some_and(|c| *c != ']') => out.push('-'),
            c => push_in_class(c, out)?,
        }
        first = false;
    }
    out.push(']');
    Ok(())
}

fn push_posix(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) -> Result<(), &'static str> {
    let name: String = rest.by_ref().skip(1).take_while(|c| *c != ':').collect();
    if rest.next() != Some(']') || !name.chars().all(|c| c.is_ascii_lowercase()) {
        return Err("has a broken `[:class:]`");
    }
    out.push_str(&format!("[:{name}:]"));
    Ok(())
}

fn push_in_class(c: char, out: &mut String) -> Result<(), &'static str> {
    if !c.is_ascii() {
        return Err("has a character outside ASCII in `[…]`: spell the alternatives out as several patterns");
    }
    out.push_str(&format!("\\x{:02x}", c as u32));
    Ok(())
}

fn push_literal(c: char, out: &mut String) {
    let mut bytes = [0; 4];
    for byte in c.encode_utf8(&mut bytes).bytes() {
        out.push_str(&format!("\\x{byte:02x}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excludes(pattern: &str, path: &str, is_dir: bool) -> bool {
        Filter::new(&[pattern.to_owned()]).unwrap().excludes(path.as_bytes(), is_dir)
    }

    /// Each row was checked against `rsync -n -i --exclude`.
    #[test]
    fn patterns_mean_what_they_mean_in_rsync() {
        let rows = [
            ("*.log", "a.log", false, true),
            ("*.log", "deep/down/a.log", false, true),
            ("*.log", "a.log.gz", false, false),
            ("/tmp", "tmp", true, true),
            ("/tmp", "var/tmp", true, false),
            ("cache/", "x/cache", true, true),
            ("cache/", "x/cache", false, false),
            ("a/b", "x/a/b", false, true),
            ("a/b", "xa/b", false, false),
            ("/a/*/c", "a/b/c", false, true),
            ("/a/*/c", "a/b/b/c", false, false),
            ("/a/**/c", "a/b/b/c", false, true),
            ("foo**bar", "foo/x/bar", false, true),
            ("file?", "file1", false, true),
            ("file?", "file12", false, false),
            ("file[0-9]", "file7", false, true),
            ("file[!0-9]", "file7", false, false),
            ("file[]x]", "file]", false, true),
            ("a[[:digit:]]", "a5", false, true),
            ("\\*", "*", false, true),
            ("\\*", "a", false, false),
            ("a.c", "abc", false, false),
            ("dir/***", "dir", true, true),
            ("naïve", "naïve", false, true),
        ];
        for (pattern, path, is_dir, expected) in rows {
            assert_eq!(excludes(pattern, path, is_dir), expected, "{pattern} on {path}");
        }
    }

    #[test]
    fn the_first_match_decides() {
        let f = Filter::new(&["+ keep.log".into(), "*.log".into()]).unwrap();
        assert!(!f.excludes(b"keep.log", false));
        assert!(f.excludes(b"other.log", false));
    }

    #[test]
    fn names_that_are_not_utf8_can_match() {
        let f = Filter::new(&["*.tmp".into()]).unwrap();
        assert!(f.excludes(b"\xff\xfe\n.tmp", false));
    }

    #[test]
    fn broken_patterns_are_named() {
        for bad in ["", "/", "[a", "a\\", "[[:x"] {
            assert!(Filter::new(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
