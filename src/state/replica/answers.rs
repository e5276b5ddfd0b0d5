//! What both sides of a replica say before a plan is made.
//!
//! Kinds that know a server print lines: a word, and what belongs to it. `refused`, `risk` and `note` are findings; what the others mean only
//! their kind knows.

use std::collections::BTreeSet;

use super::steps::Replicated;
use crate::model::finding::Finding;
use crate::step::{Answer, Live};
use crate::text;

/// The answer of each side, where there is one.
pub struct Answers<'a> {
    /// Of the source.
    pub from: Option<Told<'a>>,
    /// Of the target.
    pub to: Option<Told<'a>>,
}

impl<'a> Answers<'a> {
    /// What was asked of a replica.
    pub fn of(replica: &'a Replicated, live: &'a dyn Live) -> Self {
        let told = |host| Some(Told { host, answer: live.answer(host, &replica.replica.job)? });
        Self { from: told(&replica.replica.from), to: told(&replica.replica.to) }
    }

    /// The findings that the sides tell themselves. `server` is what is looked at.
    pub fn findings(&self, server: &str) -> Vec<Finding> {
        [&self.from, &self.to].into_iter().flatten().flat_map(|told| told.findings(server)).collect()
    }
}

impl Answers<'_> {
    /// The same where the source prints a line with `server`, and the target one with `source`: what it finds at the end of its link.
    pub fn findings_of_linked(&self, server: &str) -> Vec<Finding> {
        let mut findings = self.findings(server);
        if let (Some(from), Some(to)) = (&self.from, &self.to)
            && let (Some(here), Some(there)) = (from.value("server"), to.value("source"))
            && here != there
        {
            let what = format!("reaches another server by its link than the one on {}", from.host);
            findings.push(Finding::refused(to.host, what).hint("correct `address`, or the port"));
        }
        findings
    }
}

/// Everything of a replica that is carried by commands of the plan: its `check` says yes or no.
pub fn of_check(replica: &Replicated, live: &dyn Live) -> Vec<Finding> {
    let Answers { from, to } = Answers::of(replica, live);
    let refused = [from, to].into_iter().flatten().filter(|told| told.answer.status != 0);
    let said = |told: Told<'_>| {
        let what = format!("`check` of its {} says no: {}", replica.kind, told.says());
        Finding::refused(told.host, what)
    };
    refused.map(said).collect()
}

/// What one side has printed.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// Inventory name of the host.
    pub host: &'a str,
    /// All of it.
    pub answer: &'a Answer,
}

impl<'a> Told<'a> {
    /// What belongs to each line with a word.
    pub fn all(&self, word: &str) -> BTreeSet<&'a str> {
        let lines = self.answer.stdout.lines().filter_map(|line| line.split_once(' '));
        lines.filter(|(first, _)| *first == word).map(|(_, rest)| rest.trim()).collect()
    }

    /// What belongs to a word.
    pub fn value(&self, word: &str) -> Option<&'a str> {
        self.all(word).first().copied()
    }

    /// The same where it is a number.
    pub fn number(&self, word: &str) -> Option<u64> {
        self.value(word)?.parse().ok()
    }

    /// Its last words, for people.
    fn says(&self) -> String {
        let said = if self.answer.stderr.is_empty() { &self.answer.stdout } else { &self.answer.stderr };
        text::escape(said.trim().as_bytes(), 500)
    }

    /// What it says of itself.
    pub fn findings(&self, server: &str) -> Vec<Finding> {
        let lines = || self.answer.stdout.lines().chain(self.answer.stderr.lines());
        let escaped = |what: &str| text::escape(what.as_bytes(), 500);
        let finding = |line: &str| match line.split_once(' ')? {
            ("refused", what) => Some(Finding::refused(self.host, escaped(what))),
            ("risk", what) => Some(Finding::risk(self.host, escaped(what))),
            ("note", what) => Some(Finding::note(self.host, escaped(what))),
            _ => None,
        };
        let mut findings: Vec<Finding> = lines().filter_map(finding).collect();
        if self.answer.status != 0 && !lines().any(|line| line.starts_with("refused ")) {
            findings.push(Finding::refused(self.host, format!("{server} cannot be looked at: {}", self.says())));
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(answer: &Answer) -> Vec<(String, String)> {
        let findings = Told { host: "dal-1", answer }.findings("Redis");
        findings.into_iter().map(|f| (format!("{:?}", f.severity), f.what)).collect()
    }

    #[test]
    fn what_a_side_says_against_itself_is_escaped_and_refused() {
        let text = "refused it is \u{1b}[31m a replica\nrisk slots\nversion 15\n";
        let told_all = told(&Answer { status: 1, stdout: text.into(), stderr: String::new() });
        assert_eq!(told_all.len(), 2);
        assert!(told_all[0].0 == "Refused" && !told_all[0].1.contains('\u{1b}'), "{told_all:?}");
        let silent = Answer { status: 127, stdout: String::new(), stderr: "no such program".into() };
        assert_eq!(told(&silent)[0].1, "Redis cannot be looked at: no such program");
    }
}
