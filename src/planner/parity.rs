//! How the two hosts of a pair differ, by what the inventory says of them.
//!
//! Pure. What only one side says is no difference: it is not known of the other.

use crate::model::Host;
use crate::model::finding::Finding;
use crate::spec::Spec;

/// Sizes: less of them than on the source is a risk. The variable, and how it is called.
const SIZES: [(&str, &str); 3] = [("cores", "cores"), ("memory_gib", "GiB of memory"), ("disk_gb", "GB of disk")];
/// What else is compared as it is written.
const WORDS: [(&str, &str); 3] = [("os", "system"), ("kernel", "kernel"), ("timezone", "time zone")];

/// What is less on a target than on its source, and what is other.
pub fn findings(spec: &Spec) -> Vec<Finding> {
    let pairs = spec.plan.services.iter().flat_map(|service| &service.pairs);
    let hosts = pairs.filter_map(|pair| {
        let hosts = &spec.inventory.hosts;
        Some((hosts.get(&pair.source)?, hosts.get(&pair.target)?))
    });
    hosts.flat_map(|(source, target)| of_pair(source, target)).collect()
}

fn of_pair(source: &Host, target: &Host) -> Vec<Finding> {
    let about = format!("{} → {}", source.name, target.name);
    let both = |name: &str| Some((source.vars.get(name)?, target.vars.get(name)?));
    let less = |(name, word): &(&str, &str)| {
        let (has, gets) = both(name)?;
        let (has, gets): (f64, f64) = (has.parse().ok()?, gets.parse().ok()?);
        (gets < has).then(|| format!("{gets} of {has} {word}"))
    };
    let other = |(name, word): &(&str, &str)| {
        let (old, new) = both(name)?;
        (old != new).then(|| format!("{word} {old} → {new}"))
    };
    let less: Vec<String> = SIZES.iter().filter_map(less).collect();
    let other: Vec<String> = WORDS.iter().filter_map(other).collect();
    let mut findings = Vec::new();
    if !less.is_empty() {
        let what = format!("the target has less than its source: {}", less.join(", "));
        findings.push(Finding::risk(&about, what).hint("see that what is moved fits on it"));
    }
    if !other.is_empty() {
        findings.push(Finding::note(&about, format!("differs: {}", other.join(", "))));
    }
    findings
}
