//! What both sides of a cluster say before a plan is made, and what of that speaks against carrying it.
//!
//! Each side prints lines: a word, and what belongs to it. `refused`, `risk` and `note` are findings; the others are compared.

use std::collections::BTreeSet;

use crate::model::finding::Finding;
use crate::step::{Answer, Live, Replica};
use crate::text;

/// Everything that speaks against it.
pub(super) fn of(replica: &Replica, live: &dyn Live) -> Vec<Finding> {
    let answer = |host: &str| live.answer(host, &replica.job);
    let (from, to) = (answer(&replica.from), answer(&replica.to));
    let mut findings: Vec<Finding> = [(&replica.from, from), (&replica.to, to)]
        .into_iter()
        .filter_map(|(host, answer)| Some(said(host, answer?)))
        .flatten()
        .collect();
    if let (Some(from), Some(to)) = (from, to) {
        findings.extend(compared(replica, &Side(from), &Side(to)));
    }
    findings
}

/// What a side says of itself.
fn said(host: &str, answer: &Answer) -> Vec<Finding> {
    let lines = answer.stdout.lines().chain(answer.stderr.lines());
    let escaped = |what: &str| text::escape(what.as_bytes(), 500);
    let mut findings: Vec<Finding> = lines
        .filter_map(|line| match line.split_once(' ')? {
            ("refused", what) => Some(Finding::refused(host, escaped(what))),
            ("risk", what) => Some(Finding::risk(host, escaped(what))),
            ("note", what) => Some(Finding::note(host, escaped(what))),
            _ => None,
        })
        .collect();
    let refused = answer.stdout.lines().chain(answer.stderr.lines()).any(|line| line.starts_with("refused "));
    if answer.status != 0 && !refused {
        let said = if answer.stderr.is_empty() { &answer.stdout } else { &answer.stderr };
        let what = format!("PostgreSQL cannot be looked at: {}", escaped(said.trim()));
        findings.push(Finding::refused(host, what));
    }
    findings
}

/// What one side has printed.
struct Side<'a>(&'a Answer);

impl Side<'_> {
    fn all(&self, word: &str) -> BTreeSet<&str> {
        let lines = self.0.stdout.lines().filter_map(|line| line.split_once(' '));
        lines.filter(|(first, _)| *first == word).map(|(_, rest)| rest.trim()).collect()
    }

    fn value(&self, word: &str) -> Option<&str> {
        self.all(word).first().copied()
    }

    fn number(&self, word: &str) -> Option<u64> {
        self.value(word)?.parse().ok()
    }
}

fn compared(replica: &Replica, from: &Side<'_>, to: &Side<'_>) -> Vec<Finding> {
    let (source, target) = (&replica.from, &replica.to);
    let refused = |what: String| Finding::refused(target, what);
    let differ = |word: &str| from.value(word).zip(to.value(word)).filter(|(here, there)| here != there);
    let shown = |value: &str| text::escape(value.as_bytes(), 80);
    let mut findings = Vec::new();
    if let Some((here, there)) = differ("version") {
        let what = format!("has PostgreSQL {} and {source} has {}", shown(there), shown(here));
        let hint = "install the same major version there: a physical copy is of no use to another one";
        findings.push(refused(what).hint(hint));
    }
    if let Some((here, there)) = differ("arch") {
        findings.push(refused(format!("is {} and {source} is {}", shown(there), shown(here))));
    }
    let sorts = from.number("collations").unwrap_or(1) > 0;
    if let (Some((here, there)), true) = (differ("libc"), sorts) {
        let what = format!(
            "has {} and {source} has {}, and databases sort by its rules: indexes would not find what is there",
            shown(there),
            shown(here)
        );
        findings.push(refused(what).hint("use the same release of the system there, or collation C"));
    }
    if let Some((here, there)) = differ("system") {
        let what = format!("reaches the cluster {} by its link, and that of {source} is {}", shown(there), shown(here));
        findings.push(refused(what).hint("correct `link`, or the port"));
    }
    if let (Some(bytes), Some(free)) = (from.number("bytes"), to.number("free"))
        && free < bytes
    {
        let what = format!("has {} free, and {source} has {}", text::bytes(free), text::bytes(bytes));
        findings.push(refused(what).hint("make room on the target"));
    }
    let there = to.all("extension");
    let missing: Vec<String> = from.all("extension").difference(&there).map(|name| shown(name)).collect();
    // Every server has some: where none was found, they lie elsewhere.
    if !missing.is_empty() && !there.is_empty() {
        let what = format!("does not have what these extensions need: {}", missing.join(", "));
        findings.push(refused(what).hint("install their packages there"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(stdout: &str) -> Answer {
        Answer { status: 0, stdout: stdout.to_owned(), stderr: String::new() }
    }

    fn replica() -> Replica {
        Replica {
            job: "pg".into(),
            from: "dal-1".into(),
            to: "fra-1".into(),
            env: Default::default(),
            secrets: Default::default(),
            timeout: std::time::Duration::from_secs(1),
        }
    }

    const SOURCE: &str =
        "version 15\narch x86_64\nlibc glibc 2.36\ncollations 1\nbytes 1000\nsystem 7\nextension plpgsql\n";

    fn found(from: &str, to: &str) -> Vec<String> {
        let (from, to) = (answer(from), answer(to));
        compared(&replica(), &Side(&from), &Side(&to)).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn two_sides_that_fit_have_nothing_against_them() {
        let target =
            "system 7\nversion 15\narch x86_64\nlibc glibc 2.36\nfree 5000\nextension plpgsql\nextension hstore\n";
        assert_eq!(found(SOURCE, target), Vec::<String>::new());
    }

    #[test]
    fn each_difference_that_matters_is_told() {
        let target = "system 8\nversion 17\narch aarch64\nlibc glibc 2.41\nfree 500\nextension hstore\n";
        let told = found(SOURCE, target);
        let words = ["PostgreSQL 17", "is aarch64", "glibc 2.41", "the cluster 8", "500 B free", "plpgsql"];
        assert_eq!(told.len(), words.len(), "{told:#?}");
        for (what, word) in told.iter().zip(words) {
            assert!(what.contains(word), "{word}: {what}");
        }
        // Rules of sorting matter to those who sort by them.
        let bytewise = SOURCE.replace("collations 1", "collations 0");
        assert!(!found(&bytewise, target).iter().any(|what| what.contains("glibc")));
    }

    #[test]
    fn what_a_side_says_against_itself_is_escaped_and_refused() {
        let told = said(
            "dal-1",
            &Answer { status: 1, ..answer("refused it is \u{1b}[31m a replica\nrisk slots\nversion 15\n") },
        );
        let told: Vec<(String, String)> = told.into_iter().map(|f| (format!("{:?}", f.severity), f.what)).collect();
        assert_eq!(told.len(), 2);
        assert!(told[0].0 == "Refused" && !told[0].1.contains('\u{1b}'), "{told:?}");
        let silent = Answer { status: 127, stdout: String::new(), stderr: "psql: not found".into() };
        assert!(said("dal-1", &silent)[0].what.contains("psql: not found"));
    }
}
