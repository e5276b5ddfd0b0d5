//! What HAProxy can do, and what its backends and servers may be called.

use std::sync::Arc;

use super::super::{Context, Director, DirectorKind, Intent};
use super::{Haproxy, Settings, advice, keep};
use crate::fields::template::Unfit;
use crate::model::finding::Finding;
use crate::model::{Capabilities, Change, Kept, Member, Pool, PoolFacts, Weights};
use crate::outside::Error;

/// Largest weight of a server.
pub(super) const MAX_WEIGHT: u16 = 256;

/// What every HAProxy can do.
pub(super) const CAPABILITIES: Capabilities = Capabilities {
    weights: Weights::Exact(MAX_WEIGHT),
    adds_members: false,
    connections: true,
    drain: true,
    ttl: false,
    ends_sessions: true,
};

impl DirectorKind for Settings {
    fn title(&self) -> &'static str {
        "HAProxy"
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn default_member(&self) -> &'static str {
        "{{ name }}"
    }

    fn pool_name(&self, written: &str) -> Result<String, Unfit> {
        check("backend", written).map(|()| written.to_owned())
    }

    fn check_member(&self, name: &str) -> Result<(), Unfit> {
        check("server", name)
    }

    fn advice(&self, intent: &Intent<'_>) -> Vec<Finding> {
        advice::of(intent)
    }

    fn kept(&self, facts: &PoolFacts, wanted: &[Change]) -> Kept {
        let address = |member: &str| facts.members.get(member)?.address.map(|ip| ip.to_string());
        keep::kept(&facts.stored, wanted, address)
    }

    fn restarted(&self, facts: &PoolFacts, now: &Pool) -> Kept {
        // An agent sets its weight again, and an address that is not looked up yet is no maintenance.
        let by_itself = |m: &Member| facts.members.get(&m.name).is_some_and(|f| f.agent || f.looked_up.is_some());
        match facts.stored.is_empty() {
            true => Kept::default(),
            false => keep::kept(&facts.stored, &keep::as_it_runs(&now.members, by_itself), |_| None),
        }
    }

    fn cannot_write(&self) -> Option<Unfit> {
        let unfit = || {
            Unfit::new(
                "has no `config`: nobody knows where its haproxy.cfg is",
                "add `config: /etc/haproxy/haproxy.cfg` to it",
            )
        };
        self.config.is_empty().then(unfit)
    }

    fn connect(&self, name: &str, context: &Context) -> Result<Arc<dyn Director>, Error> {
        Ok(Arc::new(Haproxy::new(name, self, context)?))
    }
}

/// Whether HAProxy could have a backend or server of this name. Its configuration takes no other characters, and the rest
/// (space, `;`, `/`, newline) would break the language of the runtime API.
pub(super) fn check(what: &str, name: &str) -> Result<(), Unfit> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if !name.is_empty() && name.chars().all(fits) {
        return Ok(());
    }
    let hint = format!("{what} names are made of letters, digits, `.`, `:`, `_` and `-`");
    Err(Unfit::new(format!("cannot be the name of an HAProxy {what}"), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_the_command_language_are_none() {
        for good in ["web", "web-1.dal_05:80"] {
            assert_eq!(check("server", good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a;b", "a/b", "a\nb", "a\\", "ä", "@1", "#1", "a%"] {
            check("server", bad).unwrap_err();
        }
    }
}
