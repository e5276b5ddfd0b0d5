//! What there is to say of places in files, as systems show it that people review changes in.
//!
//! Must never let what is said begin a command of its own in a log.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One thing to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// How much it matters.
    pub level: Level,
    /// Where.
    pub spot: Spot,
    /// What it is about, in a few words.
    pub about: String,
    /// What is to be said.
    pub what: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// The file, as seen from where the program was started.
    pub file: PathBuf,
    /// Line, from 1; `None` when it is about all of the file.
    pub line: Option<usize>,
    /// Column, from 1.
    pub column: Option<usize>,
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// It keeps things from being done.
    Error,
    /// It may go wrong.
    Warning,
    /// It is good to know.
    Notice,
}

impl Remark {
    /// What is said, with advice.
    pub fn text(&self) -> String {
        let hint = self.hint.as_ref().map(|hint| format!("\nhelp: {hint}")).unwrap_or_default();
        format!("{}{hint}", self.what)
    }
}

impl Spot {
    /// The file; from the root of the project, where it was named from there.
    pub fn path(&self) -> String {
        plain(&self.file).display().to_string()
    }
}

/// Without `./` and `..`: a file is found by the path that the project knows it by.
fn plain(path: &Path) -> PathBuf {
    use std::path::Component::{CurDir, Normal, ParentDir};
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            CurDir => {}
            ParentDir if matches!(plain.components().next_back(), Some(Normal(_))) => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

/// Workflow commands of GitHub, one a line.
pub fn github(remarks: &[Remark]) -> String {
    let mut out = String::new();
    for remark in remarks {
        let level = match remark.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Notice => "notice",
        };
        let line = remark.spot.line.map(|line| format!(",line={line}")).unwrap_or_default();
        let column = remark.spot.column.map(|column| format!(",col={column}")).unwrap_or_default();
        let (file, title, text) = (property(&remark.spot.path()), property(&remark.about), data(&remark.text()));
        let _ = writeln!(out, "::{level} file={file}{line}{column},title={title}::{text}");
    }
    out
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// An entry of a code quality report.
#[derive(Serialize)]
struct Issue {
    description: String,
    check_name: &'static str,
    fingerprint: String,
    severity: &'static str,
    location: Location,
}

#[derive(Serialize)]
struct Location {
    path: String,
    lines: Lines,
}

#[derive(Serialize)]
struct Lines {
    begin: usize,
}

/// A code quality report of GitLab.
pub fn gitlab(remarks: &[Remark]) -> Result<String, serde_json::Error> {
    let mut before = std::collections::HashMap::new();
    let issue = |remark: &Remark| {
        let (severity, check_name) = match remark.level {
            Level::Error => ("critical", "migrate-error"),
            Level::Warning => ("minor", "migrate-warning"),
            Level::Notice => ("info", "migrate-note"),
        };
        let description = format!("{}: {}", remark.about, remark.text());
        let path = remark.spot.path();
        // Lines move when others are edited: what is said tells whether it is the same as before the change.
        let said = format!("{check_name}\n{path}\n{description}");
        let nth: &mut u32 = before.entry(said.clone()).or_default();
        *nth += 1;
        let fingerprint = blake3::hash(format!("{said}\n{nth}").as_bytes()).to_hex().to_string();
        let lines = Lines { begin: remark.spot.line.unwrap_or(1) };
        Issue { description, check_name, fingerprint, severity, location: Location { path, lines } }
    };
    let issues: Vec<Issue> = remarks.iter().map(issue).collect();
    Ok(format!("{}\n", serde_json::to_string_pretty(&issues)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remark(what: &str, file: &str) -> Remark {
        let spot = Spot { file: file.into(), line: Some(3), column: Some(7) };
        Remark { level: Level::Error, spot, about: "a,b: c".into(), what: what.into(), hint: Some("mend it".into()) }
    }

    #[test]
    fn what_is_said_cannot_begin_a_command() {
        let said = github(&[remark("100 % wrong\r\n::add-mask::x", "./plans/../inventories/lab.yaml")]);
        assert_eq!(
            said,
            "::error file=inventories/lab.yaml,line=3,col=7,title=a%2Cb%3A c::100 %25 wrong%0D%0A::add-mask::x%0Ahelp: mend it\n"
        );
        assert_eq!(said.lines().count(), 1);
    }

    #[test]
    fn what_is_said_twice_is_told_apart_and_what_has_only_moved_is_not() {
        let issues =
            |remarks: &[Remark]| -> Vec<serde_json::Value> { serde_json::from_str(&gitlab(remarks).unwrap()).unwrap() };
        let same = remark("wrong", "plan.yaml");
        let two = issues(&[same.clone(), same.clone()]);
        assert_ne!(two[0]["fingerprint"], two[1]["fingerprint"]);
        let mut moved = same;
        moved.spot.line = Some(30);
        assert_eq!(issues(&[moved])[0]["fingerprint"], two[0]["fingerprint"]);
        assert_eq!(gitlab(&[]).unwrap(), "[]\n");
    }

    #[test]
    fn paths_are_those_that_the_project_knows() {
        for (path, known) in [("./a/../b.yaml", "b.yaml"), ("../b.yaml", "../b.yaml"), ("/a/./b/../c", "/a/c")] {
            assert_eq!(plain(Path::new(path)), Path::new(known));
        }
    }
}
