//! Which of its two ways a cluster moves, where the plan leaves that to what both sides say.

use super::findings::why_not_physical;
use crate::model::finding::Finding;
use crate::state::replica::answers::{Answers, Told};
use crate::state::replica::steps::Replicated;
use crate::state::{Carried, Question};
use crate::step::{Draft, Live, Moment};

/// Both ways of one cluster.
pub(super) struct Choice {
    physical: Replicated,
    /// `None` where no databases are named: there is no choice.
    logical: Option<Replicated>,
    is_logical: bool,
    why: String,
}

impl Choice {
    /// The physical one is assumed until both sides were seen.
    pub fn between(physical: Replicated, logical: Option<Replicated>) -> Self {
        let why = "it is assumed, as long as nobody has seen both sides".to_owned();
        Self { physical, logical, is_logical: false, why }
    }

    fn chosen(&self) -> &Replicated {
        self.logical.as_ref().filter(|_| self.is_logical).unwrap_or(&self.physical)
    }
}

/// Whether it is the logical way, and why; `None` where nothing is known, or what is known speaks against the move itself.
fn choose(from: &Told<'_>, to: &Told<'_>, may_be_logical: bool) -> Option<(bool, String)> {
    from.value("version").zip(to.value("version"))?;
    match why_not_physical(from, to).into_iter().next() {
        Some(why) => may_be_logical.then_some((true, why.what)),
        None => Some((false, "both sides have the same version, and sort by the same rules".to_owned())),
    }
}

impl Carried for Choice {
    fn settle(&mut self, live: &dyn Live) {
        let Answers { from, to } = Answers::of(&self.physical, live);
        let chosen = from.zip(to).and_then(|(from, to)| choose(&from, &to, self.logical.is_some()));
        if let Some(chosen) = chosen {
            (self.is_logical, self.why) = chosen;
        }
    }

    fn jobs(&self) -> Vec<&str> {
        self.chosen().jobs()
    }

    fn steps(&self, moment: Moment) -> Vec<Draft> {
        self.chosen().steps(moment)
    }

    fn questions(&self) -> Vec<Question> {
        std::iter::once(&self.physical).chain(&self.logical).flat_map(Carried::questions).collect()
    }

    fn findings(&self, live: &dyn Live) -> Vec<Finding> {
        let chosen = self.chosen();
        let way = if self.is_logical { "logical" } else { "physical" };
        let what = format!("gets PostgreSQL by {way} replication: {}", self.why);
        let told = Finding::note(&chosen.replica.to, what).hint("say `method` to have it another way");
        std::iter::once(told).chain(chosen.findings(live)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Answer;

    #[test]
    fn the_logical_way_is_for_what_blocks_are_of_no_use_to_and_nothing_is_guessed() {
        let chosen = |from: &str, to: &str, may_be_logical| {
            let answer = |text: &str| Answer { status: 0, stdout: text.to_owned(), stderr: String::new() };
            let (from, to) = (answer(from), answer(to));
            let told = |host, answer| Told { host, answer };
            choose(&told("dal-1", &from), &told("fra-1", &to), may_be_logical)
        };
        let old = "version 15\nlibc glibc 2.36\ncollations 1\n";
        assert!(chosen(old, old, true).is_some_and(|(is_logical, _)| !is_logical));
        let newer = chosen(old, "version 17\nlibc glibc 2.36\n", true);
        assert!(newer.is_some_and(|(is_logical, why)| is_logical && why == "has PostgreSQL 17 and dal-1 has 15"));
        let sorts = "version 15\nlibc glibc 2.41\n";
        assert!(chosen(old, sorts, true).is_some_and(|(is_logical, _)| is_logical));
        let bytes = old.replace("collations 1", "collations 0");
        assert!(chosen(&bytes, sorts, true).is_some_and(|(is_logical, _)| !is_logical));
        assert_eq!(chosen(old, sorts, false), None);
        assert_eq!(chosen(old, "no such program\n", true), None);
    }
}
