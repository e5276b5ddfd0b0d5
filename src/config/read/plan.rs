//! The plan file.

use std::path::PathBuf;
use std::time::Duration;

use crate::inventory;
use crate::model::{Audit, Portion};
use crate::notify::{self, Notify};
use crate::spec::Unreachable;
use crate::text::units::YEAR;
use crate::yaml::diagnostic::Diagnostic;
use crate::yaml::map::one_of;
use crate::yaml::reader::Value;
use crate::yaml::source::Located;

use super::limits::{self, LimitDraft};
use super::service::{self, ServiceDraft};

/// A plan before its names are resolved.
#[derive(Debug, Default)]
pub struct PlanDraft {
    pub name: Option<Located<String>>,
    pub description: Option<String>,
    /// Inventories it names, relative to the plan.
    pub inventories: Vec<Located<PathBuf>>,
    pub services: Vec<ServiceDraft>,
    /// Whether every service could be read.
    pub complete: bool,
    /// `None` for each that could not be read.
    pub waves: Option<Vec<Option<WaveDraft>>>,
    pub failure_budget: Option<usize>,
    pub total_bandwidth: Option<u64>,
    pub limits: Vec<LimitDraft>,
    pub audit: Audit,
    pub notify: Vec<Notify>,
}

/// A wave before its names are resolved.
#[derive(Debug, Clone)]
pub struct WaveDraft {
    pub name: Located<String>,
    pub services: Vec<Located<String>>,
    pub after: Vec<Located<String>>,
    pub max_unavailable: Portion,
    pub batches: Vec<Located<Portion>>,
    pub pause: Duration,
    pub failure_budget: usize,
    pub unreachable: Option<Located<Unreachable>>,
}

/// Reads a plan.
pub fn read(root: Value<'_>) -> PlanDraft {
    if root.is_null() {
        root.cx.sink.push(Diagnostic::error(&root.at(), "the file is empty").hint("a plan begins with `migration:`"));
        return PlanDraft::default();
    }
    if super::is_inventory(root) {
        let what = Diagnostic::error(&root.at(), "this is an inventory, and a plan is wanted here");
        root.cx.sink.push(what.hint("name a plan, which names its inventory: `inventory: FILE`"));
        return PlanDraft::default();
    }
    let draft = root.map("the plan", "migration: uploads-to-fra", |m| {
        let name = m
            .need("migration", "uploads-to-fra")
            .and_then(|v| v.identifier("a migration", "migration: uploads-to-fra"));
        let description =
            m.get("description").and_then(|v| v.line("one line of text", "description: Uploads move")).map(|t| t.value);
        let inventories = m.get("inventory").map(inventories).unwrap_or_default();
        let defaults = m.get("defaults");
        if let Some(defaults) = defaults {
            defaults.map("service defaults", "defaults: {drain: {deadline: 5m}}", service::settings);
        }
        let entries = m.need("services", "{uploads: {move: {from: old, to: new}}}").map(|v| {
            let entries = v.entries("services by name", "services: {uploads: {move: {from: old, to: new}}}");
            if entries.is_empty() && v.is_map() {
                v.error(
                    "the plan moves no services",
                    "for example `services: {uploads: {move: {from: old, to: new}}}`",
                );
            }
            entries
        });
        let entries = entries.unwrap_or_default();
        let services: Vec<ServiceDraft> =
            entries.iter().filter_map(|(key, value)| service::read(*key, *value, defaults)).collect();
        let complete = services.len() == entries.len();
        let failure_budget = m.get("failure_budget").and_then(|v| v.integer(0..=100_000));
        let failure_budget = failure_budget.and_then(|n| usize::try_from(n).ok());
        let total_bandwidth = m.get("total_bandwidth").and_then(|v| v.rate());
        let limits = m.get("limits").map(limits::read).unwrap_or_default();
        let waves = m.get("waves").map(waves);
        let audit = m.get("audit").map(super::audit::read).unwrap_or_default();
        let notify = m.get("notify").map(|v| super::service::several(v, notify::read)).unwrap_or_default();
        PlanDraft {
            name,
            description,
            inventories,
            services,
            complete,
            waves,
            failure_budget,
            total_bandwidth,
            limits,
            audit,
            notify,
        }
    });
    draft.unwrap_or_default()
}

fn inventories(value: Value<'_>) -> Vec<Located<PathBuf>> {
    let items = value.one_or_many();
    items.iter().filter_map(|v| address(*v)).collect()
}

/// A path relative to the plan, or the address of a source.
fn address(value: Value<'_>) -> Option<Located<PathBuf>> {
    let line = value.line("the path of a file", &format!("{}: ./file", value.name()))?;
    let path = match inventory::is_address(&line.value) {
        true => Some(PathBuf::from(line.value)),
        false => value.resolve(&line.value),
    };
    path.map(|path| Located { value: path, at: value.at() })
}

fn waves(value: Value<'_>) -> Vec<Option<WaveDraft>> {
    let items = value.list("a list of waves", "waves: [{name: first, services: [uploads]}]");
    if items.is_empty() && value.is_list() {
        value.error("there are no waves", "leave `waves` out to move everything in one");
    }
    items.into_iter().map(wave).collect()
}

fn wave(value: Value<'_>) -> Option<WaveDraft> {
    value.map("wave", "{name: first, services: [uploads]}", |m| {
        let names = |v: Value<'_>, kind: &str, example: &str| {
            v.one_or_many().iter().filter_map(|v| v.identifier(kind, example)).collect::<Vec<_>>()
        };
        let name = m.need("name", "first").and_then(|v| v.identifier("a wave", "first"));
        let services = m.need("services", "[uploads]").map(|v| {
            if v.is_list() && v.one_or_many().is_empty() {
                v.error("the wave moves no services", "for example `services: [uploads]`");
            }
            names(v, "a service", "uploads")
        });
        let after = m.get("after").map(|v| names(v, "a wave", "first")).unwrap_or_default();
        let max_unavailable = m.get("max_unavailable").and_then(portion).map_or(Portion::Pairs(1), |most| most.value);
        let batches = m.get("batches").map(batches).unwrap_or_default();
        let pause = m.get("pause").and_then(|v| v.duration(Duration::ZERO..=YEAR)).unwrap_or_default();
        let failure_budget = m.get("failure_budget").and_then(|v| v.integer(0..=100_000)).unwrap_or(0);
        let failure_budget = usize::try_from(failure_budget).unwrap_or(0);
        let unreachable = m
            .get("unreachable")
            .and_then(|v| one_of(v, "what becomes of pairs that cannot be reached", "words", &Unreachable::WORDS));
        Some(WaveDraft {
            name: name?,
            services: services?,
            after,
            max_unavailable,
            batches,
            pause,
            failure_budget,
            unreachable,
        })
    })?
}

/// A number of pairs, or a percentage of them.
fn portion(value: Value<'_>) -> Option<Located<Portion>> {
    let portion = value.unit("a number from 1 to 100000 or a percentage", "25%", str::parse)?;
    Some(Located { value: portion, at: value.at() })
}

fn batches(value: Value<'_>) -> Vec<Located<Portion>> {
    let items = value.one_or_many();
    if items.is_empty() {
        value.error("there are no batches", "leave `batches` out to move all pairs of the wave in one");
    }
    items.into_iter().filter_map(portion).collect()
}
