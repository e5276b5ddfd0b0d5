//! What the firewalls of sources would take. nftables checks rules, and sets nothing.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, stream};

use super::super::compile::relay_of;
use super::super::observed::Seen;
use super::{LiveSystem, PARALLEL, unreachable};
use crate::host::{Command, Facts};
use crate::model::Host;
use crate::spec::Spec;
use crate::step::{FenceStep, RelayStep};
use crate::text::escape;

/// Where `nft` is on hosts whose logins do not look there; status 7 where there is none.
const NFT: &str = "PATH=$PATH:/usr/sbin:/sbin; export PATH\ncommand -v nft >/dev/null || exit 7\n";

/// Whether the firewalls of the sources that are to be fenced would take the rules: nftables checks them, and sets nothing.
pub async fn fences(
    spec: &Spec,
    live: &LiveSystem<'_>,
    hosts: &BTreeMap<String, Seen<Facts>>,
) -> BTreeMap<String, Seen<()>> {
    let fenced = spec.plan.services.iter().filter(|service| service.drain.fence.is_some());
    let sources: BTreeSet<&String> = fenced.flat_map(|service| &service.pairs).map(|pair| &pair.source).collect();
    let there = |name: &&String| hosts.get(*name).and_then(Seen::live).is_some();
    let known = sources.into_iter().filter(there).filter_map(|name| spec.inventory.hosts.get(name));
    let asked = known.map(|host| async move { (host.name.clone(), takes_fence(live, host).await) });
    stream::iter(asked).buffer_unordered(PARALLEL).collect().await
}

async fn takes_fence(live: &LiveSystem<'_>, host: &Host) -> Seen<()> {
    let fence = FenceStep { host: host.name.clone(), port: 1, on_drift: Default::default() };
    let rules = fence.rules("migrate_check");
    let script = format!("{NFT}nft -c -f - <<'END'\n{rules}END\n");
    takes(live, host, script, "fence").await.map_or_else(|seen| seen, |_| Seen::Live(()))
}

/// Whether the sources that are to send clients on would do so, and whether they reach the new side now.
pub async fn relays(
    spec: &Spec,
    live: &LiveSystem<'_>,
    hosts: &BTreeMap<String, Seen<Facts>>,
) -> BTreeMap<String, Seen<bool>> {
    let there = |name: &str| hosts.get(name).and_then(Seen::live).is_some();
    let pairs = spec.plan.services.iter().flat_map(|service| service.pairs.iter().map(move |pair| (service, pair)));
    let wanted = pairs.filter(|(_, pair)| there(&pair.source)).filter_map(|(service, pair)| {
        let host = spec.inventory.hosts.get(&pair.source)?;
        Some((host, relay_of(spec, service, pair)?))
    });
    let asked = wanted.map(|(host, relay)| async move { (host.name.clone(), takes_relay(live, host, &relay).await) });
    stream::iter(asked).buffer_unordered(PARALLEL).collect().await
}

async fn takes_relay(live: &LiveSystem<'_>, host: &Host, relay: &RelayStep) -> Seen<bool> {
    let (rules, shut) = (relay.rules(), RelayStep::shut());
    let script = format!(
        "{NFT}f=/proc/sys/net/ipv4/ip_forward\n[ \"$(cat $f)\" = 1 ] || [ -w $f ] || exit 8\n\
         nft -c -f - <<'END' || exit 6\ntable ip migrate_check {{\n{rules}{shut}}}\nEND\n{}",
        relay.reach()
    );
    match takes(live, host, script, "relay").await {
        Ok(status) => Seen::Live(status == 0),
        Err(seen) => seen,
    }
}

/// The status of a command that lets nftables check rules, unless that says no: 6 or 1 for the rules, 7 for nftables itself, 8 for the kernel.
async fn takes<T>(live: &LiveSystem<'_>, host: &Host, script: String, key: &str) -> Result<i32, Seen<T>> {
    let root = || Some("log in as root, or use `become: sudo`".to_owned());
    let failed = |why: String, hint: Option<String>| Err(Seen::Failed { why, hint });
    match live.hosts.query(host, &Command { script, ..Command::default() }).await {
        Ok(output) if output.status == 7 => {
            let hint = format!("install nftables there, or leave `{key}` out");
            failed("there is no `nft` program".to_owned(), Some(hint))
        }
        Ok(output) if output.status == 8 => failed("this login may not let it forward".to_owned(), root()),
        Ok(output) if matches!(output.status, 0 | RelayStep::UNREACHED | RelayStep::UNTRIED) => Ok(output.status),
        Ok(output) => {
            failed(format!("nftables would not take the rules: {}", escape(output.stderr.trim_ascii(), 200)), root())
        }
        Err(e) => Err(unreachable(e)),
    }
}
