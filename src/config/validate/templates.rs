//! Templates, filled for every host they will be filled for.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::check::{PoolRef, ServiceRef};
use crate::config::read::service::ServiceDraft;
use crate::fields::template::{Role, Sides, Unfit, Use, place_of};
use crate::model::Pair;
use crate::model::template::Piece;
use crate::text::suggest;
use crate::traffic::DirectorKind;
use crate::yaml::diagnostic::{Diagnostic, Sink};
use crate::yaml::source::At;

use super::{Draft, Inventories, some};

/// Every variable is known on every host, and what comes out is what it must be.
pub fn fill(draft: &mut Draft<'_>, sink: &Sink) {
    for (service, pairs) in draft.plan.services.iter().zip(&draft.pairs) {
        let Some(pairs) = pairs else { continue };
        let directors = &draft.inventories.inventory.directors;
        for (director, template) in uses(service) {
            let director = director.and_then(|name| directors.get(name)).map(|config| config.kind());
            let judge = Judge { inventories: draft.inventories, director };
            check(template, &fillings(draft, service, pairs, template.sides), &judge, sink);
        }
        overlaps(draft, service, pairs, sink);
    }
}

/// All templates of a service, those that name members with their director.
fn uses(service: &ServiceDraft) -> impl Iterator<Item = (Option<&String>, &Use)> {
    let settings = &service.settings;
    let members = settings.directors().flat_map(|t| t.member.iter().map(|m| (Some(&t.director.value), m)));
    let traffic = settings.directors().flat_map(|t| t.port.iter().chain(&t.address));
    let state = settings.state.iter().flat_map(|s| &s.templates);
    let drain = settings.drain.connections.iter().flat_map(|c| &c.templates);
    let traffic = traffic.chain(drain).chain(settings.relay.iter().map(|relay| &relay.to));
    let wipe = settings.decommission.iter().flat_map(|d| &d.templates);
    let hooks = settings.hooks.iter().flat_map(|h| &h.templates);
    let others = traffic.chain(state).chain(&settings.asked_with).chain(hooks).chain(wipe);
    members.chain(others.map(|other| (None, other)))
}

/// What a template is filled with once.
struct Filling<'a> {
    /// `host` or `service`.
    sort: &'static str,
    name: &'a str,
    vars: Cow<'a, BTreeMap<String, String>>,
}

fn fillings<'a>(draft: &'a Draft<'_>, service: &'a ServiceDraft, pairs: &[Pair], sides: Sides) -> Vec<Filling<'a>> {
    let hosts = |pick: fn(&Pair) -> Vec<&String>| {
        let hosts = pairs.iter().flat_map(pick).filter_map(|name| draft.inventories.inventory.hosts.get(name));
        hosts.map(|h| Filling { sort: "host", name: &h.name, vars: Cow::Borrowed(&h.vars) }).collect()
    };
    match sides {
        Sides::Source => hosts(|pair| vec![&pair.source]),
        Sides::Target => hosts(|pair| vec![&pair.target]),
        Sides::Both => hosts(|pair| vec![&pair.source, &pair.target]),
        Sides::Service => {
            let traffic = service.settings.directors().next();
            let through = traffic.map(|t| PoolRef { director: t.director.value.clone(), pool: t.pool.value.clone() });
            let vars = ServiceRef { name: service.name.value.clone(), through }.vars();
            vec![Filling { sort: "service", name: &service.name.value, vars: Cow::Owned(vars) }]
        }
    }
}

fn check(template: &Use, fillings: &[Filling<'_>], judge: &Judge<'_>, sink: &Sink) {
    let Ok(pieces) = template.template.value.pieces() else { return };
    let mut complete = true;
    for piece in &pieces {
        let Piece::Variable { name, .. } = piece else { continue };
        let without: Vec<&Filling<'_>> = fillings.iter().filter(|f| !f.vars.contains_key(name)).collect();
        if let Some(first) = without.first() {
            complete = false;
            unknown_variable(&place_of(&template.template.at, name), name, first, without.len(), sink);
        }
    }
    if !complete {
        return;
    }
    // One problem is said once, for the first host that has it.
    let mut problems: BTreeMap<Unfit, (String, Vec<String>)> = BTreeMap::new();
    for filling in fillings {
        let Ok(text) = template.template.value.render_plain(&filling.vars) else { continue };
        if let Err(problem) = judge.judge(template.role, &text) {
            let (_, names) = problems.entry(problem).or_insert_with(|| (text, Vec::new()));
            names.push(filling.name.to_owned());
        }
    }
    let literal = !pieces.iter().any(|piece| matches!(piece, Piece::Variable { .. }));
    for (problem, (text, hosts)) in problems {
        let shown = crate::text::escape(text.as_bytes(), 100);
        let message = match (literal, hosts.as_slice()) {
            (false, [first]) => format!("for `{first}` this is `{shown}`, which {}", problem.why),
            (false, [first, others @ ..]) => {
                format!("for `{first}` this is `{shown}`, which {}; the same goes for {}", problem.why, some(others))
            }
            _ => format!("`{shown}` {}", problem.why),
        };
        sink.push(Diagnostic::error(&template.template.at, message).hint(problem.hint));
    }
}

fn unknown_variable(at: &At, name: &str, first: &Filling<'_>, count: usize, sink: &Sink) {
    let (sort, of) = (first.sort, first.name);
    let message = match count {
        1 => format!("{sort} `{of}` has no variable `{name}`"),
        n => {
            format!("{sort} `{of}` and {} have no variable `{name}`", crate::text::count(n as u64 - 1, "other"))
        }
    };
    let mut found =
        Diagnostic::error(at, message).hint(suggest::hint(name, "variables", first.vars.keys().map(String::as_str)));
    if first.sort == "host" && suggest::closest(name, first.vars.keys().map(String::as_str)).is_none() {
        found = found.note(
            "variables come from `vars:` of the host, of its site's `defaults:`, and of `defaults:` in the inventory",
        );
    }
    sink.push(found);
}

/// What filled templates are judged by.
struct Judge<'a> {
    inventories: &'a Inventories,
    director: Option<&'a dyn DirectorKind>,
}

impl Judge<'_> {
    fn judge(&self, role: Role, text: &str) -> Result<(), Unfit> {
        let unfit = |why: &str, hint: &str| Err(Unfit::new(why, hint));
        if !matches!(role, Role::Command) && text.contains(char::is_control) {
            return unfit("holds a line break or another control character", "change the variable that it comes from");
        }
        match role {
            Role::Command => Ok(()),
            Role::Directory => {
                directory(text).or_else(|why| unfit(why, "name one directory of the service, such as /srv/uploads"))
            }
            Role::Port => match text.parse::<u16>() {
                Ok(1..) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(()),
                _ => unfit("is not a port from 1 to 65535", "for example 8080"),
            },
            Role::Member => self.director.map_or(Ok(()), |director| director.check_member(text)),
            Role::Host if self.inventories.knows(text) => Ok(()),
            Role::Host => unfit("is not a host of the inventory", "name one of its hosts"),
            Role::Own(judge) => judge(text),
        }
    }
}

fn directory(text: &str) -> Result<(), &'static str> {
    if !text.starts_with('/') {
        return Err("is not an absolute path");
    }
    let mut parts = components(text).peekable();
    if parts.peek().is_none() {
        return Err("is the root of the host");
    }
    if parts.any(|part| part == "..") {
        return Err("holds `..`");
    }
    Ok(())
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".")
}

/// The directories of one service do not hold each other, on any host.
fn overlaps(draft: &Draft<'_>, service: &ServiceDraft, pairs: &[Pair], sink: &Sink) {
    for pair in pairs {
        for (host, other) in [(&pair.source, Sides::Target), (&pair.target, Sides::Source)] {
            let Some(host) = draft.inventories.inventory.hosts.get(host) else { continue };
            let templates = service.settings.state.iter().flat_map(|s| &s.templates);
            let roots = templates
                .filter(|t| matches!(t.role, Role::Directory) && t.sides != other && t.sides != Sides::Service);
            let filled: Vec<(&Use, String)> = roots
                .filter_map(|root| Some((root, root.template.value.render_plain(&host.vars).ok()?)))
                .filter(|(_, path)| directory(path).is_ok())
                .collect();
            if overlap(&filled, &host.name, sink) {
                return;
            }
        }
    }
}

fn overlap(roots: &[(&Use, String)], host: &str, sink: &Sink) -> bool {
    let mut sorted: Vec<(Vec<&str>, &(&Use, String))> = roots.iter().map(|r| (components(&r.1).collect(), r)).collect();
    // Stable: of equal ones the first written stays the first. What holds another one stands right before it.
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    for (outer, inner) in sorted.iter().zip(sorted.iter().skip(1)) {
        if inner.0.starts_with(&outer.0) {
            let (a, b) = (crate::text::escape(outer.1.1.as_bytes(), 80), crate::text::escape(inner.1.1.as_bytes(), 80));
            let message = format!("on `{host}` the directories `{a}` and `{b}` overlap");
            let found = Diagnostic::error(&inner.1.0.template.at, message)
                .note(format!("the other one is at {}", outer.1.0.template.at.short()))
                .hint("copy the outer one only; `exclude` leaves parts of it out");
            sink.push(found);
            return true;
        }
    }
    false
}
