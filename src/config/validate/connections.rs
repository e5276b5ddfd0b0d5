//! Connections are let go only in a way that the director knows, and only where somebody counts them.

use crate::config::read::connections::ConnectionsDraft;
use crate::config::read::service::ServiceDraft;
use crate::model::{Govern, LetGo};
use crate::traffic::DirectorKind;
use crate::yaml::diagnostic::{Diagnostic, Sink};

use super::Draft;

/// What `drain.connections` asks for can be done.
pub fn possible(draft: &mut Draft<'_>, sink: &Sink) {
    for service in &draft.plan.services {
        let Some(connections) = &service.settings.drain.connections else { continue };
        let Some(directors) = &service.settings.traffic else {
            if !service.settings.has_traffic {
                let message = format!("nothing drains the sources of `{}`: it has no `traffic`", service.name.value);
                sink.push(
                    Diagnostic::error(&connections.by, message).hint("add `traffic`, or leave `connections` out"),
                );
            }
            continue;
        };
        for name in directors.iter().map(|traffic| &traffic.director.value) {
            if let Some(director) = draft.inventories.inventory.directors.get(name) {
                can_let_go(service, connections, name, director.kind(), sink);
            }
        }
        can_be_governed(service, connections, sink);
    }
}

fn can_let_go(
    service: &ServiceDraft,
    connections: &ConnectionsDraft,
    director: &str,
    kind: &dyn DirectorKind,
    sink: &Sink,
) {
    let (can, title) = (kind.capabilities(), kind.title());
    let refuse = |message: String, hint: &str| sink.push(Diagnostic::error(&connections.by, message).hint(hint));
    let has_port = service.settings.may_have_port();
    match &connections.connections.by {
        LetGo::Close if !can.ends_sessions => refuse(
            format!("`by: close` cannot be done: director `{director}` is {title}, which ends no single connections"),
            "use `by: hint` with a command that asks the service to let clients go",
        ),
        LetGo::Hint { .. } if !can.connections && !has_port => refuse(
            format!(
                "`by: hint` needs to know who is left: {title} does not count connections, and `port` is not given"
            ),
            "give the local port of the service: `traffic: {…, port: 8080}`",
        ),
        LetGo::Close | LetGo::Hint { .. } | LetGo::Reset => {}
    }
}

/// What has nothing to do with what its directors can.
fn can_be_governed(service: &ServiceDraft, connections: &ConnectionsDraft, sink: &Sink) {
    let has_port = service.settings.may_have_port();
    if connections.connections.by == LetGo::Reset && !has_port {
        let message = "`by: reset` needs to know the port of the service";
        let hint = "give the local port of the service: `traffic: {…, port: 8080}`";
        sink.push(Diagnostic::error(&connections.by, message).hint(hint));
    }
    for signal in &connections.govern {
        let ends = !matches!(connections.connections.by, LetGo::Hint { .. });
        let refused = match signal.value {
            Govern::AcceptQueue if !has_port => Some((
                "`accept_queue` needs to know the port of the service".to_owned(),
                "give it: `traffic: {…, port: 8080}`",
            )),
            Govern::Away if !ends => Some((
                "`away` is for `by: close` and `by: reset`: who is asked to leave comes back before it leaves"
                    .to_owned(),
                "use `accept_queue` or `load`",
            )),
            Govern::Checks if !service.settings.checks_hosts() => Some((
                format!("`checks` needs a check of the hosts of `{}`", service.name.value),
                "add `health: [{tcp: \"{{ address }}:8080\"}]`",
            )),
            Govern::AcceptQueue | Govern::Away | Govern::Checks | Govern::Load => None,
        };
        if let Some((message, hint)) = refused {
            sink.push(Diagnostic::error(&signal.at, message).hint(hint));
        }
    }
}
