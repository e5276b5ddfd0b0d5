//! What a zone can do, and what its pools and members may be called.
//!
//! Owns the one judgement of names: what is accepted here is what the director can write and read back.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::{Context, Director, DirectorKind, Intent};
use super::lookup::Owner;
use super::{Settings, Zone, advice};
use crate::fields::template::Unfit;
use crate::model::finding::Finding;
use crate::model::{Capabilities, Change, Kept, PoolFacts, Weights};
use crate::outside::Error;

/// What every zone can do.
pub(in crate::traffic) const CAPABILITIES: Capabilities = Capabilities {
    weights: Weights::Presence,
    adds_members: true,
    connections: false,
    drain: false,
    ttl: true,
    ends_sessions: false,
};

impl DirectorKind for Settings {
    fn title(&self) -> &'static str {
        "DNS"
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn default_member(&self) -> &'static str {
        "{{ address }}"
    }

    fn pool_name(&self, written: &str) -> Result<String, Unfit> {
        owner(&zone(&self.zone)?, written).map(|owner| owner.to_string().to_ascii_lowercase())
    }

    fn check_member(&self, name: &str) -> Result<(), Unfit> {
        address(name).map(drop)
    }

    fn advice(&self, intent: &Intent<'_>) -> Vec<Finding> {
        advice::of(intent)
    }

    fn kept(&self, _facts: &PoolFacts, _wanted: &[Change]) -> Kept {
        itself(&self.zone)
    }

    fn connect(&self, name: &str, context: &Context) -> Result<Arc<dyn Director>, Error> {
        Ok(Arc::new(Zone::new(name, self, context.secrets.clone())?))
    }
}

/// What a restart makes of a zone.
pub(super) fn itself(zone: &str) -> Kept {
    Kept::noted(format!("the zone {zone} is dynamic: its primary keeps updates itself, in the journal of the zone"))
}

/// The zone's name as it is asked for.
pub(in crate::traffic) fn zone(name: &str) -> Result<Owner, Unfit> {
    parse(name).ok_or_else(|| Unfit::new("cannot be the name of a zone", "write it like `example.com`"))
}

/// The name in the zone that a pool stands for: one in full, one label relative to the zone, or `@` for the zone's own name.
///
/// Several labels that do not end in the zone are more likely a name of another zone than a name deep in this one. The records
/// of a wildcard could be written, but what caches keep of the many names below it could not be asked.
pub(in crate::traffic) fn owner(zone: &Owner, pool: &str) -> Result<Owner, Unfit> {
    if pool == "*" || pool.starts_with("*.") {
        let why = "is a wildcard: nobody can tell when caches have let go of the names below it";
        return Err(Unfit::new(why, format!("give the service a name of its own, such as `www.{zone}`")));
    }
    let relative = || if pool.contains('.') { None } else { parse(&format!("{pool}.{zone}")) };
    let found = match pool {
        "@" => Some(zone.clone()),
        _ => parse(pool).filter(|name| name.ends_with(zone)).or_else(relative),
    };
    found.ok_or_else(|| {
        let hint = format!("write it in full (`www.{zone}`), relative to the zone (`www`), or `@` for the zone itself");
        Unfit::new(format!("is not a name in the zone `{zone}`"), hint)
    })
}

/// The address that a member is. It must be written as it is read back, or it would not be found again.
pub(in crate::traffic) fn address(member: &str) -> Result<IpAddr, Unfit> {
    let ip: IpAddr = member.parse().map_err(|_| {
        let hint = "use a variable that holds the address, such as \"{{ address }}\"";
        Unfit::new("is not an IP address, as members of a DNS name are", hint)
    })?;
    match ip.to_string() {
        _ if ip.is_unspecified() || ip.is_multicast() => {
            Err(Unfit::new("is not the address of a host", "use a variable that holds the address of the host"))
        }
        written if written != member => {
            Err(Unfit::new("is not the usual form of this address", format!("write {written}")))
        }
        _ => Ok(ip),
    }
}

/// A host name; anything else is no name for a pool or a zone.
fn parse(text: &str) -> Option<Owner> {
    let fits = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if fits && !text.is_empty() { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owned(pool: &str) -> Result<String, Unfit> {
        owner(&zone("lab.test").unwrap(), pool).map(|owner| owner.to_string())
    }

    #[test]
    fn a_pool_is_named_in_full_relative_to_the_zone_or_as_the_zone() {
        for (pool, owner) in [
            ("www", "www.lab.test"),
            ("www.lab.test", "www.lab.test"),
            ("www.lab.test.", "www.lab.test"),
            ("a.b.lab.test", "a.b.lab.test"),
            ("WWW.Lab.Test", "WWW.Lab.Test"),
            ("lab.test", "lab.test"),
            ("@", "lab.test"),
        ] {
            assert_eq!(owned(pool).unwrap(), owner, "{pool}");
        }
        assert_eq!(owner(&zone("lan").unwrap(), "lan").unwrap().to_string(), "lan");
    }

    #[test]
    fn names_that_are_none_in_the_zone_are_refused() {
        let long = "x".repeat(64);
        for pool in ["", ".", "www.", "www.example.com", "www.example.com.", "a b", "a\nb", "a..lab.test", "é", &long]
        {
            assert!(owned(pool).unwrap_err().why.contains("is not a name in the zone `lab.test`"), "{pool:?}");
        }
        assert!(owned("notlab.test").is_err(), "the end of a label is not the zone");
    }

    #[test]
    fn wildcards_are_refused_for_what_they_are() {
        for pool in ["*", "*.lab.test"] {
            assert!(owned(pool).unwrap_err().why.starts_with("is a wildcard"), "{pool}");
        }
    }

    #[test]
    fn an_address_that_would_not_be_found_again_is_refused() {
        for name in ["www", "", "2001:DB8::1", "2001:db8:0::1", "0.0.0.0", "::", "224.0.0.1", "192.0.2.01"] {
            address(name).unwrap_err();
        }
        address("2001:db8::1").unwrap();
    }

    proptest! {
        #[test]
        fn arbitrary_names_never_panic_and_never_leave_control_characters(name in any::<String>()) {
            for judged in [owned(&name).map(drop), address(&name).map(drop)] {
                if let Err(unfit) = judged {
                    prop_assert!(!unfit.sentence(&name).chars().any(char::is_control));
                }
            }
        }
    }
}
