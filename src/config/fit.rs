//! Pairing by fit: every source with a target that is large enough for it, and no target larger than needed.
//!
//! Sizes are the variables `cores`, `memory_gib` and `disk_gb` of hosts. Must never take a size that nobody knows for one that fits.

use std::cmp::Reverse;

use crate::model::Host;
use crate::text;

/// What is compared: variable, and how it is called.
const SIZES: [(&str, &str); 3] = [("cores", "cores"), ("memory_gib", "GiB of memory"), ("disk_gb", "GB of disk")];

/// Pairs, and what does not fit in them.
#[derive(Debug, PartialEq)]
pub struct Fit {
    /// Source and target, in the order of the sources.
    pub pairs: Vec<(String, String)>,
    /// Why pairs do not fit, one sentence each.
    pub misfits: Vec<String>,
}

/// Pairs as many as there are on the smaller side. `sources` and `targets` are hosts of an inventory.
pub fn by_fit(sources: &[&Host], targets: &[&Host]) -> Fit {
    let fits: Vec<Vec<usize>> = sources.iter().map(|source| candidates(source, targets)).collect();
    let taken_by = matched(sources, &fits, targets.len());
    let mut target_of: Vec<Option<usize>> = vec![None; sources.len()];
    for (target, source) in taken_by.iter().enumerate() {
        if let Some(slot) = source.and_then(|source| target_of.get_mut(source)) {
            *slot = Some(target);
        }
    }
    // The rest gets what is left, the largest first: the least is missing then.
    let mut left: Vec<usize> = (0..targets.len()).filter(|t| taken_by.get(*t).is_some_and(Option::is_none)).collect();
    left.sort_by_key(|t| targets.get(*t).map(|host| size(host)));
    let (mut pairs, mut misfits) = (Vec::new(), Vec::new());
    for (source, target) in sources.iter().zip(target_of) {
        let Some(target) = target.or_else(|| left.pop()).and_then(|t| targets.get(t)) else { continue };
        let missing = missing(source, target);
        if !missing.is_empty() {
            misfits.push(format!("{} → {}: {}", source.name, target.name, missing.join(", ")));
        }
        pairs.push((source.name.clone(), target.name.clone()));
    }
    Fit { pairs, misfits }
}

/// Targets that are large enough: those with more of the source's tags first, then the smallest.
fn candidates(source: &Host, targets: &[&Host]) -> Vec<usize> {
    let large: Vec<(usize, &&Host)> =
        targets.iter().enumerate().filter(|(_, target)| missing(source, target).is_empty()).collect();
    let mut ranked: Vec<_> = large
        .into_iter()
        .map(|(n, target)| (Reverse(source.tags.intersection(&target.tags).count()), size(target), n))
        .collect();
    ranked.sort();
    ranked.into_iter().map(|(.., n)| n).collect()
}

/// The source of each target: the largest source chooses first, and gives way where another one would get none.
fn matched(sources: &[&Host], fits: &[Vec<usize>], targets: usize) -> Vec<Option<usize>> {
    let mut order: Vec<usize> = (0..sources.len()).collect();
    order.sort_by_key(|n| Reverse(sources.get(*n).map(|host| size(host))));
    let mut taken_by = vec![None; targets];
    for source in order {
        let free = fits.get(source).into_iter().flatten().find(|t| taken_by.get(**t).is_some_and(Option::is_none));
        match free.and_then(|t| taken_by.get_mut(*t)) {
            Some(slot) => *slot = Some(source),
            None => drop(make_room(source, fits, &mut taken_by)),
        }
    }
    taken_by
}

/// Looks breadth first for a chain of sources that each take another target, so that one gets free for this source.
fn make_room(source: usize, fits: &[Vec<usize>], taken_by: &mut [Option<usize>]) -> Option<()> {
    let mut came_from: Vec<Option<usize>> = vec![None; taken_by.len()];
    let mut seen = vec![false; taken_by.len()];
    let mut open = std::collections::VecDeque::from([source]);
    let mut end = None;
    'search: while let Some(asking) = open.pop_front() {
        for &target in fits.get(asking)? {
            let slot = seen.get_mut(target)?;
            if std::mem::replace(slot, true) {
                continue;
            }
            *came_from.get_mut(target)? = Some(asking);
            match taken_by.get(target)? {
                None => {
                    end = Some(target);
                    break 'search;
                }
                Some(holder) => open.push_back(*holder),
            }
        }
    }
    let mut target = end?;
    loop {
        let asking = (*came_from.get(target)?)?;
        let before = taken_by.iter().position(|holder| *holder == Some(asking));
        *taken_by.get_mut(target)? = Some(asking);
        match before {
            Some(old) if asking != source => target = old,
            _ => return Some(()),
        }
    }
}

fn number(host: &Host, variable: &str) -> Option<f64> {
    host.vars.get(variable)?.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0)
}

/// For sorting: memory first, as it is what services run out of.
fn size(host: &Host) -> [u64; 3] {
    let thousandths = |variable| (number(host, variable).unwrap_or(0.0) * 1000.0) as u64;
    [thousandths("memory_gib"), thousandths("cores"), thousandths("disk_gb")]
}

/// What of the source's size the target does not have. Sizes of which nobody says anything on either side are not compared.
fn missing(source: &Host, target: &Host) -> Vec<String> {
    let one = |(variable, word): &(&str, &str)| match (number(source, variable), number(target, variable)) {
        (Some(has), Some(gets)) if gets < has => Some(format!("{gets} of {has} {word}")),
        (Some(_), None) => Some(format!("nobody knows how many {word} {} has", target.name)),
        (None, Some(_)) => Some(format!("nobody knows how many {word} {} has", source.name)),
        _ => None,
    };
    let mut missing: Vec<String> = SIZES.iter().filter_map(one).collect();
    if SIZES.iter().all(|(variable, _)| number(source, variable).is_none() && number(target, variable).is_none()) {
        missing.push("nobody knows how large they are".to_owned());
    }
    missing.iter().map(|what| text::escape(what.as_bytes(), 200)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn host(name: &str, cores: &str, memory: &str, tags: &[&str]) -> Host {
        let vars = [("cores", cores), ("memory_gib", memory)].into_iter().filter(|(_, value)| !value.is_empty());
        Host {
            name: name.to_owned(),
            site: None,
            address: "10.0.0.1".to_owned(),
            ssh: crate::model::SshTarget::default(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            capacity: 100,
            cost_per_month: None,
            vars: vars.map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>(),
        }
    }

    fn paired(sources: &[Host], targets: &[Host]) -> (Vec<String>, Vec<String>) {
        let fit = by_fit(&sources.iter().collect::<Vec<_>>(), &targets.iter().collect::<Vec<_>>());
        (fit.pairs.iter().map(|(s, t)| format!("{s}={t}")).collect(), fit.misfits)
    }

    #[test]
    fn each_source_gets_the_smallest_target_that_it_fits_on() {
        let sources = [host("small", "4", "16", &[]), host("large", "32", "256", &[]), host("middle", "8", "64", &[])];
        let targets = [host("t256", "64", "256", &[]), host("t64", "16", "64", &[]), host("t32", "8", "32", &[])];
        assert_eq!(
            paired(&sources, &targets),
            (["small=t32", "large=t256", "middle=t64"].map(str::to_owned).to_vec(), vec![])
        );
        let tagged = [host("ssd", "4", "16", &["ssd"])];
        let targets = [host("plain", "4", "16", &[]), host("fast", "8", "32", &["ssd"])];
        assert_eq!(paired(&tagged, &targets).0, ["ssd=fast"]);
    }

    #[test]
    fn a_source_gives_way_where_another_one_would_get_none() {
        // The one with more memory would take what the one with more cores needs.
        let sources = [host("memory", "2", "64", &["x"]), host("cores", "32", "32", &[])];
        let targets = [host("both", "32", "64", &["x"]), host("much", "2", "128", &[])];
        let (pairs, misfits) = paired(&sources, &targets);
        assert_eq!((pairs, misfits), (["memory=much", "cores=both"].map(str::to_owned).to_vec(), vec![]));
    }

    #[test]
    fn what_does_not_fit_is_told_with_what_is_missing() {
        let sources = [host("a", "8", "64", &[]), host("b", "8", "64", &[])];
        let targets = [host("x", "8", "32", &[]), host("y", "16", "", &[])];
        let (pairs, misfits) = paired(&sources, &targets);
        assert_eq!(pairs.len(), 2);
        let told = misfits.join("; ");
        assert!(
            told.contains("32 of 64 GiB of memory") && told.contains("nobody knows how many GiB of memory y has"),
            "{told}"
        );
        assert_eq!(
            paired(&[host("a", "", "", &[])], &[host("b", "", "", &[])]).1,
            ["a → b: nobody knows how large they are"]
        );
    }
}
