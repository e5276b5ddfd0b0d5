//! What NGINX can do, and what its upstreams and servers may be called.

use std::sync::Arc;

use super::super::{Context, Director, DirectorKind, Intent};
use super::{Nginx, Settings, advice};
use crate::fields::template::Unfit;
use crate::model::finding::Finding;
use crate::model::{Capabilities, Change, Kept, PoolFacts, Sharing, Weights};
use crate::outside::Error;

/// Largest weight of a server. NGINX takes more; nobody needs it.
pub(super) const MAX_WEIGHT: u16 = 1000;

/// What every NGINX can do.
pub(super) const CAPABILITIES: Capabilities = Capabilities {
    weights: Weights::Exact(MAX_WEIGHT),
    adds_members: false,
    connections: true,
    drain: true,
    ttl: false,
    ends_sessions: false,
};

impl DirectorKind for Settings {
    fn title(&self) -> &'static str {
        "NGINX"
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn default_member(&self) -> &'static str {
        "{{ address }}"
    }

    fn pool_name(&self, written: &str) -> Result<String, Unfit> {
        check_upstream(written).map(|()| written.to_owned())
    }

    fn check_member(&self, name: &str) -> Result<(), Unfit> {
        check_server(name)
    }

    fn advice(&self, intent: &Intent<'_>) -> Vec<Finding> {
        advice::of(intent)
    }

    fn kept(&self, _facts: &PoolFacts, _wanted: &[Change]) -> Kept {
        itself()
    }

    fn connect(&self, name: &str, context: &Context) -> Result<Arc<dyn Director>, Error> {
        Ok(Arc::new(Nginx::new(name, self, context)))
    }
}

/// What a restart makes of servers.
pub(super) fn itself() -> Kept {
    Kept::noted("the file that is set is the one that NGINX reads when it starts")
}

/// Whether an upstream can be called this.
pub(super) fn check_upstream(name: &str) -> Result<(), Unfit> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && name.chars().all(fits) {
        return Ok(());
    }
    Err(Unfit::new(
        "cannot be the name of an NGINX upstream",
        "names of upstreams are made of letters, digits, `.`, `_` and `-`",
    ))
}

/// Whether a server can be called this: as it stands in the file, a host with or without port.
pub(super) fn check_server(name: &str) -> Result<(), Unfit> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:[]".contains(c);
    if !name.is_empty() && name.chars().all(fits) {
        return Ok(());
    }
    let hint = "write it as it stands in the file, such as 10.0.0.1:8080 or [2001:db8::1]:8080";
    Err(Unfit::new("cannot be the address of an NGINX server", hint))
}

/// How members are chosen, and what that makes of weights.
pub(super) fn sharing(directives: &[String]) -> (String, Sharing) {
    let first = |word: &str| directives.iter().find(|d| d.split(' ').next() == Some(word));
    for (word, sharing) in [
        ("ip_hash", Sharing::Keys),
        ("hash", Sharing::Keys),
        ("least_conn", Sharing::Held),
        ("least_time", Sharing::Held),
        ("random", Sharing::Weights),
        ("sticky", Sharing::Unknown),
    ] {
        if let Some(directive) = first(word) {
            return (directive.clone(), sharing);
        }
    }
    ("round robin".to_owned(), Sharing::Weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_called_as_they_stand_in_the_file() {
        for good in ["10.0.0.1", "10.0.0.1:8080", "[2001:db8::1]:80", "web-1.example.com:80"] {
            assert_eq!(check_server(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a;b", "a/b", "unix:/run/x", "a\nb", "a{", "a#", "$a", "\"a\""] {
            check_server(bad).unwrap_err();
        }
    }

    #[test]
    fn what_becomes_of_weights_is_told_by_the_directives() {
        let of = |directives: &[&str]| sharing(&directives.iter().map(|d| (*d).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["zone web 64k", "keepalive 16"]), ("round robin".to_owned(), Sharing::Weights));
        assert_eq!(of(&["hash $request_uri consistent"]), ("hash $request_uri consistent".to_owned(), Sharing::Keys));
        assert_eq!(of(&["random two least_conn"]).1, Sharing::Weights);
        assert_eq!(of(&["least_conn"]).1, Sharing::Held);
    }
}
