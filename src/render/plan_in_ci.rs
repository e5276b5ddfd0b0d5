//! A plan for CI: what speaks against it beside the lines that it is about, and its pairs as tests.

use serde::Serialize;

use super::format::{Show, Style};
use super::junit::{Case, Suite};
use super::plan::seen;
use super::remarks::{Level, Remark, Spot};
use crate::model::finding::{Finding, Severity};
use crate::planner::proposal::{GroupView, Proposal};
use crate::step::Mark;
use crate::text;

/// A plan with what is known of where its parts are written.
#[derive(Serialize)]
#[serde(transparent)]
pub struct PlanInCi<'a> {
    /// The plan.
    pub proposal: &'a Proposal,
    /// Where what a finding is about, or a service, is written.
    #[serde(skip)]
    pub spot: &'a dyn Fn(&str) -> Spot,
}

impl PlanInCi<'_> {
    fn remark(&self, finding: &Finding) -> Remark {
        let level = match finding.severity {
            Severity::Refused => Level::Error,
            Severity::Risk => Level::Warning,
            Severity::Note => Level::Notice,
        };
        let (about, what) = (finding.about.clone(), format!("{}: {}", finding.about, finding.what));
        Remark { level, spot: (self.spot)(&finding.about), about, what, hint: finding.hint.clone() }
    }

    fn case(&self, group: &GroupView) -> Case {
        let line = |line: &crate::planner::proposal::Line| {
            let mark = match line.mark {
                Mark::Verified => "✓",
                Mark::Assumed => "~",
                Mark::CannotBeChecked => "?",
            };
            let seen = seen(line).map(|seen| format!("  {seen}")).unwrap_or_default();
            format!("{mark} {}: {}{seen}", line.phase, line.what)
        };
        let steps = text::count(group.lines.len() as u64, "step");
        Case {
            class: group.service.clone(),
            name: format!("{}: {steps}", group.pair.as_deref().unwrap_or("all pairs")),
            spot: Some((self.spot)(&group.service)),
            says: group.lines.iter().map(line).collect(),
            fails: None,
        }
    }
}

impl Show for PlanInCi<'_> {
    fn text(&self, style: Style) -> String {
        self.proposal.text(style)
    }

    fn remarks(&self) -> Vec<Remark> {
        self.proposal.findings.iter().map(|finding| self.remark(finding)).collect()
    }

    fn suites(&self) -> Vec<Suite> {
        let findings = Suite::of(&format!("{}: findings", self.proposal.plan), &self.remarks());
        let waves = self.proposal.waves.iter().map(|wave| Suite {
            name: format!("{}: wave {}", self.proposal.plan, wave.name),
            cases: wave.groups.iter().map(|group| self.case(group)).collect(),
        });
        std::iter::once(findings).chain(waves).collect()
    }
}
