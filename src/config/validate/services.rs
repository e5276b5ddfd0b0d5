//! What a service says must fit together.

use std::collections::BTreeSet;

use crate::config::read::hook::HookDraft;
use crate::config::read::service::ServiceDraft;
use crate::config::read::traffic::TrafficDraft;
use crate::model::{HookPoint, Persist, Strategy, Undo};
use crate::text;
use crate::traffic::DirectorKind;
use crate::yaml::diagnostic::{Diagnostic, Sink};
use crate::yaml::source::Located;

use super::{Draft, Inventories, unknown};

/// How a service moves: as it says, else by whether it has state.
pub fn strategy(service: &ServiceDraft) -> Strategy {
    match &service.settings.strategy {
        Some(given) => given.value,
        None if service.settings.has_state => Strategy::Cutover,
        None => Strategy::Ramp,
    }
}

/// A service has traffic or state, and what its strategy needs.
pub fn something_to_move(draft: &mut Draft<'_>, sink: &Sink) {
    for service in &draft.plan.services {
        let (at, name, settings) = (&service.name.at, &service.name.value, &service.settings);
        match (settings.has_traffic, settings.has_state, strategy(service)) {
            (false, false, _) => sink.push(
                Diagnostic::error(
                    at,
                    format!("service `{name}` has neither `traffic` nor `state`: there is nothing to move"),
                )
                .hint("add `traffic: {director: edge, pool: uploads}` or `state: [{directory: /srv/uploads}]`"),
            ),
            (false, _, Strategy::Ramp) => sink.push(
                Diagnostic::error(
                    at,
                    format!("service `{name}` is to move by ramp and has no `traffic` whose weights could rise"),
                )
                .hint("add `traffic`, or use `strategy: cutover`"),
            ),
            (_, _, Strategy::Cutover) => writer_stops(service, sink),
            (_, _, Strategy::Ramp) => states_have_their_freeze(service, sink),
        }
        fence_has_its_place(service, sink);
        relay_has_its_port(service, sink);
        freeze_can_be_bounded(service, sink);
        if settings.has_traffic && !settings.checks_hosts() {
            let message = format!("nothing checks the targets of `{name}` before they get traffic");
            sink.push(Diagnostic::warning(at, message).hint("add `health: [{http: \"http://{{ address }}/health\"}]`"));
        }
    }
}

/// A fence stands at a port, before a freeze.
fn fence_has_its_place(service: &ServiceDraft, sink: &Sink) {
    let Some(at) = &service.settings.drain.fence else { return };
    let name = &service.name.value;
    if strategy(service) == Strategy::Ramp {
        let message = format!("`fence` is for a cutover, and `{name}` moves by ramp: both sides may serve");
        sink.push(Diagnostic::error(at, message).hint("use `strategy: cutover`, or remove `fence`"));
    } else if !service.settings.may_have_port() {
        let message = format!("`fence: firewall` needs to know the port of `{name}` on its sources");
        sink.push(
            Diagnostic::error(at, message).hint("give it: `traffic: {director: edge, pool: uploads, port: 8080}`"),
        );
    }
}

/// A relay stands at ports that are known, and sends each to one.
fn relay_has_its_port(service: &ServiceDraft, sink: &Sink) {
    let Some(draft) = &service.settings.relay else { return };
    let name = &service.name.value;
    if draft.relay.ports.is_empty() && !service.settings.may_have_port() {
        let message = format!("`relay` needs to know the ports of `{name}` on its sources");
        sink.push(Diagnostic::error(&draft.at, message).hint("give them: `relay: {to: 10.80.0.10, ports: [443]}`"));
    }
    if draft.relay.ports.len() > 1 && draft.relay.to.0.contains(':') {
        let message = "several `ports` cannot all be sent to the one port in `to`";
        sink.push(
            Diagnostic::error(&draft.to.template.at, message).hint("leave it out: each is sent to the same port there"),
        );
    }
}

/// A freeze that is bounded is one, and all of it can be taken back.
fn freeze_can_be_bounded(service: &ServiceDraft, sink: &Sink) {
    let Some(freeze) = &service.settings.freeze else { return };
    let name = &service.name.value;
    if strategy(service) == Strategy::Ramp {
        let message = format!("`freeze` is for a cutover, and `{name}` moves by ramp, which has none");
        sink.push(Diagnostic::error(&freeze.at, message).hint("use `strategy: cutover`, or remove `freeze`"));
        return;
    }
    let in_the_way = |at: HookPoint| matches!(at, HookPoint::AfterDrain | HookPoint::Freeze);
    let unsaid = service.settings.hooks.iter().find(|h| in_the_way(h.hook.at) && h.hook.undo == Undo::Unsaid);
    if let Some(hook) = unsaid {
        let point = hook.hook.at.name();
        let message =
            format!("`{name}` cannot be let go after `freeze`: the hook `{point}` says nothing of its `undo`");
        let found = Diagnostic::error(&hook.at, message).hint("say how it is taken back, or `undo: none`");
        sink.push(found.note(format!("`freeze` is asked for at {}", freeze.at.short())));
    }
    for state in &service.settings.state {
        let waits = state.state.kind().clients_wait().filter(|(_, wait)| *wait <= freeze.freeze.within);
        let Some((key, wait)) = waits else { continue };
        let (wait, within) = (text::duration(wait), text::duration(freeze.freeze.within));
        let message = format!(
            "clients of `{name}` wait for {wait} (`{key}`), and the freeze may take {within}: they would find it closed"
        );
        let found = Diagnostic::error(&state.at, message).hint(format!("say more for `{key}`, or less for `within`"));
        sink.push(found.note(format!("`freeze` is asked for at {}", freeze.at.short())));
    }
}

fn states_have_their_freeze(service: &ServiceDraft, sink: &Sink) {
    for state in &service.settings.state {
        if let Some(why) = state.state.kind().needs_freeze() {
            let message = format!("`{}` is to move by ramp, and {why}", service.name.value);
            sink.push(Diagnostic::error(&state.at, message).hint("use `strategy: cutover`"));
        }
    }
}

fn writer_stops(service: &ServiceDraft, sink: &Sink) {
    let settings = &service.settings;
    // A freeze hook that could not be read is still one.
    let unread = settings.has_hooks && settings.hooks.is_empty();
    let frozen = unread || settings.hooks.iter().any(|h| h.hook.at == HookPoint::Freeze);
    let drained = settings.has_traffic && settings.drain.stops_writes;
    let fenced = !settings.state.is_empty() && settings.state.iter().all(|state| state.state.kind().fences());
    if !frozen && !drained && !fenced {
        let message =
            format!("nothing stops the writer of `{}` on the source before the last pass", service.name.value);
        let hint = match settings.has_traffic {
            true => {
                "add a hook `{at: freeze, run: …}`, or say `drain: {stops_writes: true}` if without traffic nothing is written"
            }
            false => "add a hook `{at: freeze, run: …}`",
        };
        sink.push(Diagnostic::warning(&service.name.at, message).hint(hint));
    }
}

/// Hosts that states name besides those of their pairs are in the inventory.
pub fn state_hosts(draft: &mut Draft<'_>, sink: &Sink) {
    let inventories = &draft.inventories;
    for state in draft.plan.services.iter().flat_map(|service| &service.settings.state) {
        let missing = state.state.kind().others().into_iter().filter(|host| !inventories.knows(host));
        for host in missing {
            let name = Located { value: host.to_owned(), at: state.at.clone() };
            unknown(sink, &name, "host", inventories.hosts.keys());
        }
    }
}

/// Directors exist, and pools, members and TTL are such that their kind can have.
pub fn directors(draft: &mut Draft<'_>, sink: &Sink) {
    for service in &draft.plan.services {
        for traffic in service.settings.directors() {
            let name = &traffic.director.value;
            match draft.inventories.inventory.directors.get(name) {
                Some(director) => {
                    check_traffic(traffic, director.kind(), service.settings.may_have_port(), sink);
                    check_persist(service, name, director.kind(), sink);
                }
                None if draft.inventories.directors.contains_key(name) => {}
                None => unknown(sink, &traffic.director, "director", draft.inventories.directors.keys()),
            }
        }
        one_port(service, sink);
        pools_once(service, draft.inventories, sink);
    }
}

/// The local port of a service is one, whatever way clients come.
fn one_port(service: &ServiceDraft, sink: &Sink) {
    let mut ports = service.settings.directors().filter_map(|traffic| traffic.port.as_ref());
    let Some(first) = ports.next() else { return };
    if let Some(other) = ports.find(|other| other.template.value != first.template.value) {
        let (one, two) = (&first.template.value.0, &other.template.value.0);
        let message = format!("`port` is `{one}` for one director and `{two}` for another");
        let hint = "a service has one local port: say it once; leave it out where directors count connections";
        sink.push(Diagnostic::error(&other.template.at, message).hint(hint));
    }
}

/// A pool is named once: shares that are set twice are set by whoever comes last.
fn pools_once(service: &ServiceDraft, inventories: &Inventories, sink: &Sink) {
    let mut seen = BTreeSet::new();
    for traffic in service.settings.directors() {
        let name = &traffic.director.value;
        let director = inventories.inventory.directors.get(name);
        let written = &traffic.pool.value;
        let pool = director.and_then(|director| director.kind().pool_name(written).ok()).unwrap_or(written.clone());
        if !seen.insert((name, pool)) {
            let message = format!("`{}` names the pool `{written}` of `{name}` twice", service.name.value);
            sink.push(Diagnostic::error(&traffic.pool.at, message).hint("name each pool once"));
        }
    }
}

fn check_traffic(traffic: &TrafficDraft, director: &dyn DirectorKind, has_port: bool, sink: &Sink) {
    let (can, title) = (director.capabilities(), director.title());
    if let (Some(ttl), false) = (&traffic.ttl, can.ttl) {
        let message =
            format!("`ttl` is for DNS; director `{}` is {title}, which nobody caches", traffic.director.value);
        sink.push(Diagnostic::error(&ttl.at, message).hint("remove `ttl`"));
    }
    if let Err(unfit) = director.pool_name(&traffic.pool.value) {
        let message = unfit.sentence(&traffic.pool.value);
        sink.push(Diagnostic::error(&traffic.pool.at, message).hint(unfit.hint));
    }
    if !can.connections && !has_port {
        let message = format!(
            "nothing can count the connections of the sources: {title} does not see them, and `port` is not given"
        );
        sink.push(
            Diagnostic::warning(&traffic.director.at, message).hint("give the local port of the service: `port: 8080`"),
        );
    }
}

fn check_persist(service: &ServiceDraft, name: &str, director: &dyn DirectorKind, sink: &Sink) {
    let write = service.settings.persist.as_ref().filter(|persist| persist.value == Persist::Write);
    if let Some((persist, unfit)) = write.zip(director.cannot_write()) {
        let message = format!("`persist: write` cannot be done: director `{name}` {}", unfit.why);
        sink.push(Diagnostic::error(&persist.at, message).hint(unfit.hint));
    }
}

/// Every hook is at a point that its service comes to.
pub fn hooks(draft: &mut Draft<'_>, sink: &Sink) {
    for service in &draft.plan.services {
        for hook in &service.settings.hooks {
            check_hook(service, hook, sink);
        }
    }
}

fn check_hook(service: &ServiceDraft, hook: &HookDraft, sink: &Sink) {
    let settings = &service.settings;
    let never = |why: &str| format!("this hook never runs: service `{}` {why}", service.name.value);
    match hook.hook.at {
        HookPoint::Freeze | HookPoint::Thaw if strategy(service) == Strategy::Ramp => {
            let message = never("moves by ramp, which has no freeze");
            sink.push(Diagnostic::error(&hook.at, message).hint("use `strategy: cutover`, or another point"));
        }
        HookPoint::BeforeSeed | HookPoint::AfterSeed if !settings.has_state => {
            sink.push(Diagnostic::warning(&hook.at, never("has no `state` to copy")).hint("use another point"));
        }
        HookPoint::BeforeDrain | HookPoint::AfterDrain | HookPoint::BeforeShift | HookPoint::AfterShift
            if !settings.has_traffic =>
        {
            sink.push(Diagnostic::warning(&hook.at, never("has no `traffic`")).hint("use another point"));
        }
        _ => {}
    }
}
