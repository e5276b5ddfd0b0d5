//! What both sides of a cluster say before a plan is made, and what of that speaks against carrying it.

use crate::model::finding::Finding;
use crate::state::replica::answers::{Answers, Told};
use crate::state::replica::steps::Replicated;
use crate::step::Live;
use crate::text;

/// Everything that speaks against a standby.
pub(super) fn of_physical(replica: &Replicated, live: &dyn Live) -> Vec<Finding> {
    judged(replica, live, compared)
}

/// Everything that speaks against a subscriber.
pub(super) fn of_logical(replica: &Replicated, live: &dyn Live) -> Vec<Finding> {
    judged(replica, live, |from, to| {
        older(from, to).into_iter().chain(common(from, to)).chain(roles(from, to)).collect()
    })
}

fn judged(
    replica: &Replicated,
    live: &dyn Live,
    compared: impl Fn(&Told<'_>, &Told<'_>) -> Vec<Finding>,
) -> Vec<Finding> {
    let answers = Answers::of(replica, live);
    let mut findings = answers.findings("PostgreSQL");
    if let (Some(from), Some(to)) = (&answers.from, &answers.to) {
        findings.extend(compared(from, to));
    }
    findings
}

fn compared(from: &Told<'_>, to: &Told<'_>) -> Vec<Finding> {
    why_not_physical(from, to).into_iter().chain(common(from, to)).collect()
}

fn shown(value: &str) -> String {
    text::escape(value.as_bytes(), 80)
}

/// What both sides say of a word, where that is not the same.
fn differ<'a>(from: &Told<'a>, to: &Told<'a>, word: &str) -> Option<(&'a str, &'a str)> {
    from.value(word).zip(to.value(word)).filter(|(here, there)| here != there)
}

/// Why the blocks of the source would be of no use to the target.
pub(super) fn why_not_physical(from: &Told<'_>, to: &Told<'_>) -> Vec<Finding> {
    let (source, target) = (from.host, to.host);
    let refused = |what: String| Finding::refused(target, what);
    let mut findings = Vec::new();
    if let Some((here, there)) = differ(from, to, "version") {
        let what = format!("has PostgreSQL {} and {source} has {}", shown(there), shown(here));
        let hint = "install the same major version there, or name the `databases` that move by logical replication";
        findings.push(refused(what).hint(hint));
    }
    if let Some((here, there)) = differ(from, to, "arch") {
        let what = format!("is {} and {source} is {}", shown(there), shown(here));
        findings.push(refused(what).hint("name the `databases` that move by logical replication"));
    }
    let sorts = from.number("collations").unwrap_or(1) > 0;
    if let (Some((here, there)), true) = (differ(from, to, "libc"), sorts) {
        let what = format!(
            "has {} and {source} has {}, and databases sort by its rules: indexes would not find what is there",
            shown(there),
            shown(here)
        );
        let hint = "use the same release of the system there, or name the `databases` that move by logical replication";
        findings.push(refused(what).hint(hint));
    }
    findings
}

/// What speaks against either way.
fn common(from: &Told<'_>, to: &Told<'_>) -> Vec<Finding> {
    let (source, target) = (from.host, to.host);
    let refused = |what: String| Finding::refused(target, what);
    let mut findings = Vec::new();
    if let Some((here, there)) = differ(from, to, "system") {
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

/// An older server cannot read the schema of a newer one.
fn older(from: &Told<'_>, to: &Told<'_>) -> Option<Finding> {
    let (here, there) = from.number("version").zip(to.number("version"))?;
    let what = || format!("has PostgreSQL {there}, which is older than the {here} of {}", from.host);
    (there < here)
        .then(|| Finding::refused(to.host, what()).hint("install the same major version there, or a newer one"))
}

/// Roles do not move with databases.
fn roles(from: &Told<'_>, to: &Told<'_>) -> Vec<Finding> {
    let there = to.all("role");
    let lacks = |word: &str| from.all(word).difference(&there).map(|name| shown(name)).collect::<Vec<_>>();
    let (needed, other) = (lacks("needs-role"), lacks("role"));
    let hint = "`pg_dumpall --roles-only` there, and `psql` here";
    let owners =
        Finding::refused(to.host, format!("lacks roles that own what moves, or may use it: {}", needed.join(", ")));
    let others = Finding::risk(to.host, format!("lacks roles of the source, which do not move: {}", other.join(", ")));
    let found = [(needed, owners), (other, others)].into_iter().filter(|(names, _)| !names.is_empty());
    found.map(|(_, finding)| finding.hint(hint)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Answer;

    fn answer(stdout: &str) -> Answer {
        Answer { status: 0, stdout: stdout.to_owned(), stderr: String::new() }
    }

    const SOURCE: &str =
        "version 15\narch x86_64\nlibc glibc 2.36\ncollations 1\nbytes 1000\nsystem 7\nextension plpgsql\n";

    fn found(from: &str, to: &str) -> Vec<String> {
        let (from, to) = (answer(from), answer(to));
        let told = |host, answer| Told { host, answer };
        compared(&told("dal-1", &from), &told("fra-1", &to)).into_iter().map(|finding| finding.what).collect()
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
    fn what_does_not_move_with_databases_is_told_and_an_older_target_is_refused() {
        let from = answer("version 15\nneeds-role app\nrole app\nrole cron\nrole postgres\n");
        let to = answer("version 13\nrole postgres\n");
        let (from, to) = (Told { host: "dal-1", answer: &from }, Told { host: "fra-1", answer: &to });
        let roles: Vec<String> = roles(&from, &to).into_iter().map(|finding| finding.what).collect();
        assert!(roles[0].ends_with("or may use it: app") && roles[1].ends_with("do not move: app, cron"), "{roles:?}");
        assert!(older(&from, &to).is_some() && older(&to, &from).is_none());
    }
}
