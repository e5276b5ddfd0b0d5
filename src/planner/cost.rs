//! What a move does to the bill: today's, after each wave, and what running both sides costs until then.
//!
//! Pure. Must never count a host whose cost nobody knows as one that costs nothing: those are named.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::estimate;
use super::observed::Observed;
use crate::model::Host;
use crate::spec::Spec;
use crate::step::Graph;

/// Hours of a month: a twelfth of 365 days.
const HOURS: u64 = 730;

/// The bill of the hosts of an inventory, in hundredths of one currency a month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// ISO 4217 code.
    pub currency: String,
    /// All hosts of the inventory.
    pub all: u64,
    /// What the next invoices of accounts come to, with what is on them besides hosts of the inventory; `None`: nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoiced: Option<u64>,
    /// Those that the plan moves from.
    pub sources: u64,
    /// Those that it moves to.
    pub targets: u64,
    /// After each wave.
    pub waves: Vec<WaveCost>,
    /// What the sources cost from now until the last wave is over, in which the targets are paid for, too.
    pub both_sides: u64,
    /// What it costs for each day that all sources are kept after the last wave, so that there is a way back.
    pub way_back_a_day: u64,
}

/// A wave that is over, and its sources given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaveCost {
    /// The wave.
    pub wave: String,
    /// When it is over, counted from the beginning.
    pub over: Duration,
    /// What its sources cost a month.
    pub ends: u64,
    /// What is left of the bill of all hosts a month.
    pub left: u64,
}

/// What one host of the plan costs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCost {
    /// The host.
    pub host: String,
    /// The service that moves.
    pub service: String,
    /// Its wave.
    pub wave: String,
    /// `source` or `target`.
    pub side: String,
    /// Hundredths a month; `None` where nobody knows.
    pub cents: Option<u64>,
    /// ISO 4217 code.
    pub currency: Option<String>,
    /// Until when it is paid for whatever happens: the variable `next_bill` of hosts that are billed by the month.
    pub paid_until: Option<String>,
}

/// Every bill of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// One for each currency.
    pub costs: Vec<Cost>,
    /// Hosts of the plan of which nobody knows what they cost.
    pub unknown: Vec<String>,
}

impl Bill {
    /// Whether anything is known.
    pub fn is_empty(&self) -> bool {
        self.costs.is_empty()
    }
}

/// The bill of a plan.
pub fn bill(spec: &Spec, graph: &Graph, observed: &Observed) -> Bill {
    let hosts = &spec.inventory.hosts;
    let currencies: BTreeSet<&String> =
        hosts.values().filter_map(|h| Some(&h.cost_per_month.as_ref()?.currency)).collect();
    if currencies.is_empty() {
        // Nothing to be told, and large plans have many steps.
        return Bill::default();
    }
    let ends = estimate::wave_ends(graph, observed);
    let costs = currencies.into_iter().map(|currency| cost(spec, currency, &ends)).collect();
    let of_plan = hosts_of(spec).into_iter().filter(|h| h.cents.is_none()).map(|h| h.host).collect();
    Bill { costs, unknown: of_plan }
}

fn cents(host: &Host, currency: &str) -> u64 {
    host.cost_per_month.as_ref().filter(|cost| cost.currency == currency).map_or(0, |cost| cost.cents)
}

fn cost(spec: &Spec, currency: &str, ends: &BTreeMap<String, Duration>) -> Cost {
    let hosts = &spec.inventory.hosts;
    let of = |name: &String| hosts.get(name).map_or(0, |host| cents(host, currency));
    let all: u64 = hosts.values().map(|host| cents(host, currency)).sum();
    let pairs = || spec.plan.services.iter().flat_map(|service| &service.pairs);
    let sources: u64 = pairs().map(|pair| of(&pair.source)).sum();
    let (mut left, mut over) = (all, Duration::ZERO);
    let mut waves = Vec::new();
    for wave in &spec.plan.waves {
        let services =
            spec.plan.services.iter().filter(|service| wave.services.iter().any(|name| **name == *service.name));
        let own: u64 = services.flat_map(|service| &service.pairs).map(|pair| of(&pair.source)).sum();
        left = left.saturating_sub(own);
        // A wave with nothing to do is over when the one before it is.
        over = over.max(ends.get(&*wave.name).copied().unwrap_or_default());
        waves.push(WaveCost { wave: wave.name.to_string(), over, ends: own, left });
    }
    let of_currency = spec.inventory.invoices.values().filter(|money| money.currency == currency);
    let invoices: Vec<u64> = of_currency.map(|money| money.cents).collect();
    let hours = over.as_secs().div_ceil(3600);
    Cost {
        currency: currency.to_owned(),
        all,
        invoiced: (!invoices.is_empty()).then(|| invoices.iter().sum()),
        sources,
        targets: pairs().map(|pair| of(&pair.target)).sum(),
        waves,
        both_sides: sources.saturating_mul(hours) / HOURS,
        way_back_a_day: sources.saturating_mul(24) / HOURS,
    }
}

/// Every host of a plan, service by service.
pub fn hosts_of(spec: &Spec) -> Vec<HostCost> {
    let wave_of = |service: &str| {
        let wave = spec.plan.waves.iter().find(|wave| wave.services.iter().any(|name| name == service));
        wave.map(|wave| wave.name.to_string()).unwrap_or_default()
    };
    let mut out = Vec::new();
    for service in &spec.plan.services {
        for pair in &service.pairs {
            for (side, name) in [("source", &pair.source), ("target", &pair.target)] {
                let host = spec.inventory.hosts.get(name);
                let money = host.and_then(|host| host.cost_per_month.as_ref());
                let bound = host.filter(|host| host.vars.get("billing").is_none_or(|billing| billing == "monthly"));
                out.push(HostCost {
                    host: name.clone(),
                    service: service.name.to_string(),
                    wave: wave_of(&service.name),
                    side: side.to_owned(),
                    cents: money.map(|money| money.cents),
                    currency: money.map(|money| money.currency.clone()),
                    paid_until: bound.and_then(|host| host.vars.get("next_bill").cloned()),
                });
            }
        }
    }
    out
}
