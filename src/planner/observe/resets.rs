//! Whether hosts can end connections, where the plan wants them to. Ends none.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};

use super::super::observed::Seen;
use super::{LiveSystem, PARALLEL, unreachable};
use crate::host::{Command, Facts};
use crate::model::{Host, LetGo};
use crate::spec::{Service, Spec};
use crate::step::reset;
use crate::text::escape;

/// Asks both hosts of each pair: on the way back it is the target that has connections.
pub async fn look(
    spec: &Spec,
    live: &LiveSystem<'_>,
    hosts: &BTreeMap<String, Seen<Facts>>,
) -> BTreeMap<String, Seen<()>> {
    let resets = |service: &&Service| service.drain.connections.as_ref().is_some_and(|c| c.by == LetGo::Reset);
    let pairs = spec.plan.services.iter().filter(resets).flat_map(|service| &service.pairs);
    let named: BTreeSet<&String> = pairs.flat_map(|pair| [&pair.source, &pair.target]).collect();
    let there = |name: &&String| hosts.get(*name).and_then(Seen::live).is_some();
    let known = named.into_iter().filter(there).filter_map(|name| spec.inventory.hosts.get(name));
    let asked = known.map(|host| async move { (host.name.clone(), can(live, host).await) });
    stream::iter(asked).buffer_unordered(PARALLEL).collect().await
}

async fn can(live: &LiveSystem<'_>, host: &Host) -> Seen<()> {
    let other = "use `by: hint` or `by: close`";
    let failed = |why: &str, hint: String| Seen::Failed { why: why.to_owned(), hint: Some(hint) };
    match live.hosts.query(host, &Command { script: reset::PROBE.to_owned(), ..Command::default() }).await {
        Err(e) => unreachable(e),
        Ok(output) => match output.status {
            0 => Seen::Live(()),
            reset::NO_SS => failed("there is no `ss` program", format!("install iproute2 there, or {other}")),
            reset::NO_RIGHT => failed("this login may not", format!("log in as root, use `become: sudo`, or {other}")),
            reset::NO_KERNEL => failed("its kernel is built without INET_DIAG_DESTROY", other.to_owned()),
            reset::UNCLEAR => failed(
                "nobody can tell whether its kernel can: its configuration cannot be read, and there is no python3 to try it with",
                format!("{other}, or put the configuration to /boot/config-… there"),
            ),
            status => {
                let said = escape(output.stderr.trim_ascii(), 200);
                failed(&format!("asking whether it can ended with status {status}: {said}"), other.to_owned())
            }
        },
    }
}
