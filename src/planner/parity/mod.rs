//! How the two hosts of a pair differ: by what was seen of both, else by what the inventory says of both.
//!
//! Pure. What only one side says is no difference: it is not known of the other.

mod asked;

use std::collections::BTreeMap;

use jiff::civil::Date;

use super::observed::Observed;
use crate::host::Facts;
use crate::model::finding::Finding;
use crate::model::{Host, Parity};
use crate::spec::{Service, Spec};
use crate::state::Question;
use crate::step::Live;
use crate::text;

/// Memory is less when this share of it is missing: kernels keep some of it for themselves.
const KEPT: f64 = 0.05;
const GIB: f64 = 1_073_741_824.0;
/// Pairs that a line names at most.
const NAMED: usize = 4;

/// What has to be asked before hosts can be compared.
pub fn questions(spec: &Spec) -> Vec<Question> {
    let of_service = |service: &Service| -> Vec<Question> {
        let Some(parity) = &service.parity else { return Vec::new() };
        let hosts = service.pairs.iter().flat_map(|pair| [&pair.source, &pair.target]);
        hosts.map(|host| asked::question(host, parity)).collect()
    };
    spec.plan.services.iter().flat_map(of_service).collect()
}

/// What is less on a target than on its source, and what is other; pairs that differ in the same are told together.
pub fn findings(spec: &Spec, observed: &Observed) -> Vec<Finding> {
    let mut told: BTreeMap<Finding, Vec<String>> = BTreeMap::new();
    for service in &spec.plan.services {
        for pair in &service.pairs {
            let host = |name: &str| spec.inventory.hosts.get(name);
            let Some((source, target)) = host(&pair.source).zip(host(&pair.target)) else { continue };
            let compared = Compared::new(service.parity.as_ref(), source, target, observed);
            for finding in compared.findings(observed.day) {
                told.entry(finding).or_default().push(format!("{} → {}", source.name, target.name));
            }
        }
    }
    let alike = told.into_iter().map(|(finding, pairs)| Finding { about: text::some(&pairs, NAMED), ..finding });
    alike.collect()
}

/// A host, and what is known of it.
struct Known<'a> {
    host: &'a Host,
    facts: Option<&'a Facts>,
    asked: Option<BTreeMap<&'a str, &'a str>>,
}

/// One thing of both hosts.
struct Difference {
    /// By what name it is waived.
    of: String,
    /// For people.
    told: String,
    weight: Weight,
}

/// How much a difference matters.
#[derive(PartialEq, Eq)]
enum Weight {
    /// The target has less.
    Less,
    /// The plan names it.
    Named,
    /// Good to know.
    Other,
}

/// What comparing two hosts has found.
struct Compared<'a> {
    parity: Option<&'a Parity>,
    different: Vec<Difference>,
    alike: Vec<String>,
    /// Who was asked and has not answered.
    silent: Vec<&'a str>,
}

impl<'a> Compared<'a> {
    fn new(parity: Option<&'a Parity>, source: &'a Host, target: &'a Host, observed: &'a Observed) -> Self {
        let about = parity.map(asked::about);
        let known = |host: &'a Host| Known {
            host,
            facts: observed.host(&host.name),
            asked: about.as_ref().and_then(|about| asked::values(observed.answer(&host.name, about)?)),
        };
        let sides = [known(source), known(target)];
        let asked = parity.is_some() && observed.day.is_some();
        let silent = sides.iter().filter(|side| asked && side.asked.is_none()).map(|side| &*side.host.name).collect();
        let mut compared = Self { parity, different: Vec::new(), alike: Vec::new(), silent };
        compared.sizes(&sides);
        compared.words(&sides);
        compared
    }

    fn sizes(&mut self, sides: &[Known<'_>; 2]) {
        let var = |name: &'static str| move |side: &Known<'_>| side.host.vars.get(name)?.parse::<f64>().ok();
        let cores = both(sides, |side| side.facts?.cpus.map(f64::from), var("cores"));
        let memory = both(sides, |side| side.facts?.memory.map(|bytes| bytes as f64 / GIB), var("memory_gib"));
        let disk = both(sides, |_| None, var("disk_gb"));
        for (of, pair, unit, kept) in [
            ("cores", cores, "cores", 0.0),
            ("memory", memory, "GiB of memory", KEPT),
            ("disk", disk, "GB of disk", 0.0),
        ] {
            let Some((has, gets)) = pair else { continue };
            match gets < has * (1.0 - kept) {
                true => self.differs(of, format!("{} of {} {unit}", short(gets), short(has)), Weight::Less),
                false => self.alike.push(of.to_owned()),
            }
        }
    }

    fn words(&mut self, sides: &[Known<'_>; 2]) {
        let var = |name: &'static str| move |side: &Known<'_>| side.host.vars.get(name).cloned();
        let asked = |name: &str| both(sides, |side| side.asked.as_ref()?.get(name).map(|v| (*v).to_owned()), |_| None);
        let os = both(sides, |side| side.facts.map(|f| f.os.clone()).filter(|os| os != "unknown"), var("os"));
        let kernel = both(sides, |side| side.facts.map(|f| f.kernel.clone()), var("kernel"));
        let timezone = asked("timezone").or_else(|| both(sides, |_| None, var("timezone")));
        for (of, word, pair) in
            [("os", "system", os), ("kernel", "kernel", kernel), ("timezone", "time zone", timezone)]
        {
            self.word(of, word, pair, Weight::Other);
        }
        self.word("files", "open files of a login", asked("files"), Weight::Named);
        self.word("processes", "processes of a login", asked("processes"), Weight::Named);
        for name in self.parity.into_iter().flat_map(|parity| parity.sysctls.iter().chain(&parity.packages)) {
            self.word(name, name, asked(name), Weight::Named);
        }
    }

    fn word(&mut self, of: &str, word: &str, pair: Option<(String, String)>, weight: Weight) {
        let Some((old, new)) = pair else { return };
        let shown = |value: &str| if value.is_empty() { "none".to_owned() } else { text::escape(value.as_bytes(), 60) };
        match old == new {
            true if old.is_empty() => self.differs(of, format!("{word} is on neither"), weight),
            true => self.alike.push(of.to_owned()),
            false => self.differs(of, format!("{word} {} → {}", shown(&old), shown(&new)), weight),
        }
    }

    fn differs(&mut self, of: &str, told: String, weight: Weight) {
        self.different.push(Difference { of: of.to_owned(), told, weight });
    }

    /// What is to be told. A waiver of which nobody knows the day holds.
    fn findings(&self, today: Option<Date>) -> Vec<Finding> {
        let mut findings = Vec::new();
        let waiver = |difference: &Difference| self.parity.and_then(|parity| parity.waiver(&difference.of));
        let (waived, open): (Vec<_>, Vec<_>) = self
            .different
            .iter()
            .map(|d| (d, waiver(d)))
            .partition(|(_, waiver)| waiver.is_some_and(|waiver| today.is_none_or(|today| today <= waiver.until)));
        for (difference, waiver) in waived {
            let Some(waiver) = waiver else { continue };
            let what = format!("{}: meant until {}: {}", difference.told, waiver.until, waiver.why);
            findings.push(Finding::note("", what));
        }
        for (difference, waiver) in &open {
            let Some(waiver) = waiver else { continue };
            let what = format!("{}: it was meant until {}, and that day is over", difference.told, waiver.until);
            findings.push(Finding::risk("", what).hint("mend it, or say until when it is meant now"));
        }
        let of = |weight: Weight| -> Vec<&str> {
            let own = open.iter().filter(|(d, waiver)| d.weight == weight && waiver.is_none());
            own.map(|(d, _)| d.told.as_str()).collect()
        };
        let (less, named, other) = (of(Weight::Less), of(Weight::Named), of(Weight::Other));
        if !less.is_empty() {
            let what = format!("the target has less than its source: {}", less.join(", "));
            findings.push(Finding::risk("", what).hint("see that what is moved fits on it"));
        }
        if !named.is_empty() {
            let hint = "make them alike, or say under `parity` that it is meant: waive: {of: …, until: DAY, why: …}";
            findings.push(Finding::risk("", format!("differs: {}", named.join(", "))).hint(hint));
        }
        if !other.is_empty() {
            findings.push(Finding::note("", format!("differs: {}", other.join(", "))));
        }
        if !self.silent.is_empty() {
            let what = format!("{} did not say what is to be compared", text::list(&self.silent));
            findings.push(Finding::risk("", what));
        }
        if self.parity.is_some() && !self.alike.is_empty() && today.is_some() {
            findings.push(Finding::note("", format!("alike in {}", text::list(&self.alike))));
        }
        findings
    }
}

/// A value of both sides: as both were seen, else as the inventory has it of both.
fn both<T>(
    sides: &[Known<'_>; 2],
    seen: impl Fn(&Known<'_>) -> Option<T>,
    written: impl Fn(&Known<'_>) -> Option<T>,
) -> Option<(T, T)> {
    let [source, target] = sides;
    seen(source).zip(seen(target)).or_else(|| written(source).zip(written(target)))
}

/// A number without digits that nobody needs.
fn short(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::observed::Seen;
    use super::*;
    use crate::config::{self, LoadOptions};
    use crate::step::Answer;

    fn spec(parity: &str) -> Spec {
        let inventory = "hosts:\n  dal-[1-2]: {address: \"10.0.0.[1-2]\", vars: {cores: 8, disk_gb: 900}}\n  fra-[1-2]: {address: \"10.0.1.[1-2]\", vars: {cores: 4, disk_gb: 900}}\ndirectors:\n  edge: {haproxy: \"unix:/run/haproxy.sock\"}\n";
        let plan = format!(
            "migration: web\ninventory: inventory.yaml\nservices:\n  web:\n    move: {{from: [dal-1, dal-2], to: [fra-1, fra-2]}}\n    traffic: {{director: edge, pool: web}}\n    health: {{tcp: \"{{{{ address }}}}:80\"}}\n{parity}"
        );
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("inventory.yaml"), inventory).unwrap();
        std::fs::write(dir.path().join("plan.yaml"), plan).unwrap();
        let loaded = config::load(&dir.path().join("plan.yaml"), None, &LoadOptions::default());
        loaded.unwrap_or_else(|problems| panic!("{problems:?}")).0
    }

    fn told(spec: &Spec, observed: &Observed) -> Vec<String> {
        findings(spec, observed).into_iter().map(|f| format!("{:?} {}: {}", f.severity, f.about, f.what)).collect()
    }

    fn answered(spec: &Spec, day: &str, of: &[(&str, &str)]) -> Observed {
        let mut observed = Observed { day: Some(day.parse().unwrap()), ..Observed::default() };
        let about = asked::about(spec.plan.services[0].parity.as_ref().unwrap());
        for (host, stdout) in of {
            let answer = Answer { status: 0, stdout: (*stdout).to_owned(), stderr: String::new() };
            observed.answers.insert(Observed::answer_key(host, &about), Seen::Live(answer));
        }
        observed
    }

    #[test]
    fn what_the_inventory_says_of_both_is_compared_without_a_look() {
        assert_eq!(
            told(&spec(""), &Observed::default()),
            ["Risk dal-1 → fra-1 and dal-2 → fra-2: the target has less than its source: 4 of 8 cores"]
        );
    }

    #[test]
    fn a_difference_that_is_meant_is_a_note_until_its_day_is_over() {
        let spec = spec(
            "    parity: {sysctls: net.core.somaxconn, packages: haproxy, waive: [{of: cores, until: 2026-12-31, why: faster ones}, {of: haproxy, until: 2026-06-30, why: newer}]}\n",
        );
        let old = "timezone UTC\nfiles 1024:4096\nnet.core.somaxconn 4096\nhaproxy 2.6.12\n";
        let new = "timezone UTC\nfiles 1024:4096\nnet.core.somaxconn 128\nhaproxy 2.8.1\n";
        let all = [("dal-1", old), ("dal-2", old), ("fra-1", new), ("fra-2", new)];
        let pairs = "dal-1 → fra-1 and dal-2 → fra-2";
        assert_eq!(
            told(&spec, &answered(&spec, "2026-11-30", &all)),
            [
                format!("Risk {pairs}: differs: net.core.somaxconn 4096 → 128"),
                format!("Risk {pairs}: haproxy 2.6.12 → 2.8.1: it was meant until 2026-06-30, and that day is over"),
                format!("Note {pairs}: 4 of 8 cores: meant until 2026-12-31: faster ones"),
                format!("Note {pairs}: alike in disk, timezone and files"),
            ]
        );
        let later = told(&spec, &answered(&spec, "2027-01-01", &all));
        assert!(later.iter().any(|told| told.contains("4 of 8 cores: it was meant until 2026-12-31")), "{later:?}");
        let silent = told(&spec, &answered(&spec, "2026-11-30", &all[..3]));
        assert!(silent.iter().any(|told| told.contains("fra-2 did not say what is to be compared")), "{silent:?}");
    }
}
