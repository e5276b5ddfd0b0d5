//! At which account, when and why, as plans say it.

use serde::{Deserialize, Serialize};

use crate::fields::kinds;
use crate::fields::template::Use;
use crate::softlayer::Access;
use crate::yaml::map::{Map, one_of};
use crate::yaml::reader::Value;

/// The reasons that SoftLayer takes, in its words; the first one is taken where a plan gives none.
const REASONS: [(&str, &str); 10] = [
    ("No longer needed", "No longer needed"),
    ("Business closing down", "Business closing down"),
    ("Server / Upgrade Costs", "Server / Upgrade Costs"),
    ("Migrating to larger server", "Migrating to larger server"),
    ("Migrating to smaller server", "Migrating to smaller server"),
    ("Migrating to a different SoftLayer datacenter", "Migrating to a different SoftLayer datacenter"),
    ("Network performance / latency", "Network performance / latency"),
    ("Support response / timing", "Support response / timing"),
    ("Sales process / upgrades", "Sales process / upgrades"),
    ("Moving to competitor", "Moving to competitor"),
];

/// When a machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// When the time ends that is paid for.
    NextBill,
    /// At once; SoftLayer does so for what is billed by the hour, and for virtual guests.
    Immediately,
}

/// How machines of an account are given back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// How to log in.
    pub access: Access,
    /// When they end.
    pub when: When,
    /// Why, in SoftLayer's words.
    pub reason: String,
    /// What its people read besides.
    pub note: Option<String>,
}

impl kinds::Settings for Settings {
    const KEY: &'static str = "softlayer";

    fn read(value: Value<'_>, _: &Map<'_>, _: &mut Vec<Use>) -> Option<Self> {
        let home = value.cx.home.map(std::path::Path::to_path_buf);
        value.map("decommission at SoftLayer", "softlayer: {when: next_bill}", |m| {
            let words = [("next_bill", When::NextBill), ("immediately", When::Immediately)];
            let when =
                m.get("when").map_or(Some(When::NextBill), |v| Some(one_of(v, "a time", "times", &words)?.value));
            let reason = m.get("reason").map_or(Some(REASONS[0].1), |v| {
                Some(one_of(v, "a reason that SoftLayer takes", "reasons", &REASONS)?.value)
            });
            let note = m.get("note").map_or(Some(None), |v| Some(Some(v.line("a note", "note: moved to fra1")?.value)));
            let access = Access::read(m, home);
            Some(Self { access, when: when?, reason: reason?.to_owned(), note: note? })
        })?
    }
}
