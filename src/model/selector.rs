//! Picking hosts by what they have in common.

use std::collections::BTreeSet;

use crate::model::Host;

use crate::text::natural_cmp;

/// What hosts must have in common. Every condition that is given must hold; none given picks every host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// Stands in one of these sites.
    pub sites: BTreeSet<String>,
    /// Has all of these tags.
    pub tags: BTreeSet<String>,
    /// Has a name that this pattern (`*`, `?`, `[a-z]`, `{a,b}`) fits.
    pub name: Option<String>,
    /// Is none of these.
    pub except: BTreeSet<String>,
}

impl Selector {
    /// Names of the hosts it picks, in natural order.
    pub fn pick<'a>(&self, hosts: impl IntoIterator<Item = &'a Host>) -> Vec<String> {
        let pattern = self.name.as_ref().map(|text| globset::Glob::new(text).map(|glob| glob.compile_matcher()));
        let fits = |host: &Host| {
            let site = self.sites.is_empty() || host.site.as_ref().is_some_and(|site| self.sites.contains(site));
            let name = match &pattern {
                None => true,
                Some(Ok(pattern)) => pattern.is_match(&host.name),
                Some(Err(_)) => false,
            };
            site && name && self.tags.is_subset(&host.tags) && !self.except.contains(&host.name)
        };
        let mut names: Vec<String> =
            hosts.into_iter().filter(|host| fits(host)).map(|host| host.name.clone()).collect();
        names.sort_by(|a, b| natural_cmp(a, b));
        names
    }
}
