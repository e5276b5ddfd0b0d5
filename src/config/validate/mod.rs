//! Rules that need more than one concept or more than one file, as lists of named passes.
//!
//! A new rule is one function and one line in a list. Passes report into the sink and go on; what an earlier problem
//! makes unknowable they leave alone, so that one mistake gives one message.

mod batches;
mod build;
mod connections;
mod groups;
mod hosts;
mod limits;
mod logins;
mod members;
mod moves;
mod reverse;
mod services;
mod sites;
mod templates;
mod waves;

use std::collections::{BTreeMap, BTreeSet};

use super::read::group::GroupDraft;
use super::read::host::HostDraft;
use super::read::inventory::{DirectorDraft, InventoryDraft, SiteDraft};
use super::read::plan::PlanDraft;
use crate::model::{Limit, Money, Pair};
use crate::spec::{Inventory, Plan, Wave};
use crate::text::suggest;
use crate::yaml::diagnostic::{Diagnostic, Sink};
use crate::yaml::source::{At, Located};

/// All inventories together, as far as they could be read.
#[derive(Debug, Default)]
pub struct Inventories {
    /// The model, filled pass by pass.
    pub inventory: Inventory,
    sites: BTreeMap<String, (At, SiteDraft)>,
    hosts: BTreeMap<String, HostDraft>,
    broken: BTreeSet<String>,
    /// Some host could not be read: counts mean nothing.
    incomplete: bool,
    groups: BTreeMap<String, (At, GroupDraft)>,
    directors: BTreeMap<String, (At, DirectorDraft)>,
    /// The newest of each account: sources that share one say the same.
    invoices: BTreeMap<String, Money>,
}

impl Inventories {
    /// Whether there is a host of this name, be it one that could not be read.
    fn knows(&self, host: &str) -> bool {
        self.hosts.contains_key(host) || self.broken.contains(host)
    }
}

type InventoryPass = (&'static str, fn(&mut Inventories, &Sink));

const INVENTORY: [InventoryPass; 6] = [
    ("sites exist", sites::exist),
    ("groups have members", groups::resolve),
    ("hosts are logged in to as they, their groups and sites say", logins::resolve),
    ("jump hosts exist", hosts::jumps_exist),
    ("no host is reached through itself", hosts::no_jump_cycles),
    ("directors are on hosts that exist", hosts::directors_exist),
];

/// Merges inventories and judges them.
pub fn inventory(drafts: Vec<InventoryDraft>, sink: &Sink) -> Inventories {
    let mut inventories = hosts::merge(drafts, sink);
    for (_, pass) in INVENTORY {
        pass(&mut inventories, sink);
    }
    inventories
}

/// A plan with what is known of it so far.
pub struct Draft<'a> {
    /// The plan as read.
    pub plan: &'a PlanDraft,
    /// The inventories.
    pub inventories: &'a Inventories,
    /// Pairs of each service, `None` where they could not be told.
    pub pairs: Vec<Option<Vec<Pair>>>,
    /// Waves in execution order.
    pub waves: Vec<Wave>,
    /// What pairs of one place may do together.
    pub limits: Vec<Limit>,
}

type PlanPass = (&'static str, fn(&mut Draft<'_>, &Sink));

const PLAN: [PlanPass; 12] = [
    ("hosts move in pairs", moves::resolve),
    ("a host moves once", moves::hosts_once),
    ("a service has something to move", services::something_to_move),
    ("hosts that states name exist", services::state_hosts),
    ("directors exist and can do what is asked", services::directors),
    ("connections can be let go as is asked", connections::possible),
    ("hooks run", services::hooks),
    ("there is a way back where one is asked for", reverse::possible),
    ("templates can be filled for every host", templates::fill),
    ("members are told apart", members::unique),
    ("limits hold for hosts of the plan", limits::resolve),
    ("waves hold every service once and follow each other", waves::order),
];

/// Judges a plan against inventories. `None` when there were errors, here or before.
pub fn plan(plan: &PlanDraft, inventories: &Inventories, sink: &Sink) -> Option<Plan> {
    let mut draft = Draft { plan, inventories, pairs: Vec::new(), waves: Vec::new(), limits: Vec::new() };
    for (_, pass) in PLAN {
        pass(&mut draft, sink);
    }
    if sink.has_errors() { None } else { build::plan(draft) }
}

/// Reports a name that nothing has.
fn unknown<'a>(sink: &Sink, name: &Located<String>, kind: &str, candidates: impl IntoIterator<Item = &'a String>) {
    let found = Diagnostic::error(&name.at, format!("unknown {kind} `{}`", name.value));
    // Comparing with thousands of names takes its time, and nobody reads that far.
    if sink.is_long() {
        return sink.push(found);
    }
    let hint = suggest::hint(&name.value, &format!("{kind}s"), candidates.into_iter().map(String::as_str));
    sink.push(found.hint(hint));
}

/// `` `a`, `b` and 3 more ``.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut shown: Vec<String> = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect();
    if names.len() > SHOWN {
        shown.push(format!("{} more", names.len() - SHOWN));
    }
    crate::text::list(&shown)
}
