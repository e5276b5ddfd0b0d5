//! What a balancer of SoftLayer can do, and what its pools and members may be called.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::{Context, Director, DirectorKind, Intent};
use super::{Balancers, Settings};
use crate::fields::template::Unfit;
use crate::model::finding::Finding;
use crate::model::{Capabilities, Change, Kept, PoolFacts, Weights};
use crate::outside::Error;

/// The largest weight.
pub(super) const MAX_WEIGHT: u16 = 100;

pub(super) const CAPABILITIES: Capabilities = Capabilities {
    weights: Weights::Exact(MAX_WEIGHT),
    adds_members: false,
    connections: false,
    drain: false,
    ttl: false,
    ends_sessions: false,
};

/// What to do about a member that is none, or cannot be one.
pub(super) const AROUND: &str = "addresses of SoftLayer become members with `slcli loadbal member-add`; it takes no others: for hosts elsewhere put a \
     balancer of your own (HAProxy, NGINX) in front of both sides, or move the name with `softlayer_dns`";

impl DirectorKind for Settings {
    fn title(&self) -> &'static str {
        "SoftLayer's balancer"
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn default_member(&self) -> &'static str {
        "{{ address }}"
    }

    fn pool_name(&self, written: &str) -> Result<String, Unfit> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let unfit = || Unfit::new("cannot be the name of a balancer", "`slcli loadbal list` shows their names");
        if !written.is_empty() && written.chars().all(fits) { Ok(written.to_owned()) } else { Err(unfit()) }
    }

    fn check_member(&self, name: &str) -> Result<(), Unfit> {
        let unfit = || Unfit::new("is not an IPv4 address", "members of a balancer are the addresses of hosts");
        let is_v4 = name.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv4());
        is_v4.then_some(()).ok_or_else(unfit)
    }

    fn missing_member(&self) -> &'static str {
        AROUND
    }

    fn advice(&self, intent: &Intent<'_>) -> Vec<Finding> {
        let what = "is one weight for all ports of the balancer, and every change takes up to minutes, in which no other one is taken";
        let front =
            "clients reach it by a name of SoftLayer's own: once nothing is left behind it, move that name, too";
        vec![Finding::note(intent.about(), what), Finding::note(intent.about(), front)]
    }

    fn kept(&self, _: &PoolFacts, _: &[Change]) -> Kept {
        itself()
    }

    fn connect(&self, name: &str, context: &Context) -> Result<Arc<dyn Director>, Error> {
        Ok(Arc::new(Balancers::new(name, self, context.secrets.clone())))
    }
}

/// What a restart makes of a balancer at SoftLayer.
pub(super) fn itself() -> Kept {
    Kept::noted("the balancer is kept by SoftLayer: nothing here is started anew")
}
