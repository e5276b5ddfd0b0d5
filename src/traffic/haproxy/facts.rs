//! What decides who gets how much of a backend: from its processes, and from haproxy.cfg where somebody has read it.
//!
//! Pure. Must never take the file's word for what a process says itself, and never stay silent about what nobody has looked at.

use std::collections::BTreeMap;

use super::config::{Backend, Config};
use super::parse::{csv, table, tables};
use crate::model::{MemberFacts, PoolFacts, Sharing};

/// What only haproxy.cfg tells.
const ONLY_WRITTEN: &str = "`hash-type`, `slowstart`, `stick` and `persist`";

/// What one process tells of a backend.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Running {
    /// `roundrobin`; `None` where this version has no name for it, as 2.6 for `random`.
    algorithm: Option<String>,
    cookie: Option<String>,
    /// Whether it has a stick table of its own.
    table: bool,
    /// Requests in the backend's own queue.
    waiting: u64,
    members: BTreeMap<String, MemberFacts>,
}

/// Reads the answers to `show servers state`, `show stat ID 6 -1` and `show table`; `None` without whole tables.
pub(super) fn running(reply: &str, backend: &str) -> Option<Running> {
    let mut running = Running { table: tables(reply).contains(&backend), ..Running::default() };
    addresses(reply, backend, &mut running.members)?;
    let stat = table(reply, "# pxname,")?;
    let header = csv(stat.header.strip_prefix("# ")?);
    for row in stat.rows {
        let cells = csv(row);
        let cell = |name: &str| {
            let at = header.iter().position(|h| h == name)?;
            cells.get(at).filter(|cell| !cell.is_empty()).map(String::as_str)
        };
        match (cell("pxname"), cell("svname")) {
            (Some(px), Some("BACKEND")) if px == backend => {
                running.algorithm = cell("algo").filter(|a| *a != "unknown").map(str::to_owned);
                running.cookie = cell("cookie").map(str::to_owned);
                running.waiting = cell("qcur").and_then(|n| n.parse().ok()).unwrap_or_default();
            }
            (Some(px), Some(server)) if px == backend => {
                let member = running.members.entry(server.to_owned()).or_default();
                member.standby = cell("bck").is_some_and(|n| n != "0");
                member.agent = cell("agent_status").is_some();
                member.limit = cell("slim").and_then(|n| n.parse().ok()).filter(|n| *n > 0);
                member.waiting = cell("qcur").and_then(|n| n.parse().ok()).unwrap_or_default();
                member.follows = cell("tracked").map(str::to_owned);
                member.mark = cell("cookie").map(str::to_owned);
            }
            _ => {}
        }
    }
    Some(running)
}

fn addresses(reply: &str, backend: &str, members: &mut BTreeMap<String, MemberFacts>) -> Option<()> {
    let state = table(reply, "# be_id ")?;
    let header: Vec<&str> = state.header.split_whitespace().skip(1).collect();
    for row in state.rows {
        let cells: Vec<&str> = row.split_whitespace().collect();
        let cell = |name: &str| {
            let at = header.iter().position(|h| *h == name)?;
            cells.get(at).copied().filter(|cell| *cell != "-")
        };
        if cell("be_name")? != backend {
            continue;
        }
        let facts = MemberFacts {
            address: cell("srv_addr").and_then(|a| a.parse().ok()),
            looked_up: cell("srvrecord").or_else(|| cell("srv_fqdn")).map(str::to_owned),
            configured: cell("srv_iweight").and_then(|w| w.parse().ok()),
            ..MemberFacts::default()
        };
        members.insert(cell("srv_name")?.to_owned(), facts);
    }
    Some(())
}

/// A haproxy.cfg and whose it is; `Err` tells why it could not be read.
pub(super) type Written = (String, Result<Config, String>);

/// One pool out of what processes and files say.
pub(super) fn pool(backend: &str, running: Vec<Running>, written: &[Written]) -> PoolFacts {
    let mut facts = PoolFacts::default();
    let mut tables = false;
    for process in running {
        tables |= process.table;
        facts.waiting += process.waiting;
        facts.algorithm = facts.algorithm.or(process.algorithm);
        let pin = process.cookie.map(|name| format!("cookie {name}"));
        add(&mut facts.pins, pin);
        for (name, member) in process.members {
            let same = facts.members.entry(name).or_default();
            *same = MemberFacts { waiting: same.waiting + member.waiting, ..member };
        }
    }
    let mut consistent = None;
    for (at, config) in written {
        match config.as_ref().map(|config| config.backend(backend)) {
            Err(why) => facts.unseen.push(format!("{at} was not read: {why}; only there stand {ONLY_WRITTEN}")),
            Ok(None) => facts.unseen.push(format!("{at} has no backend `{backend}` that can be read there")),
            Ok(Some(found)) => {
                consistent = Some(consistent.unwrap_or(true) && found.common.consistent);
                add_written(&mut facts, at, found);
            }
        }
    }
    if written.is_empty() {
        let table = if tables { ", and whether its stick table pins clients" } else { "" };
        facts.unseen.push(format!("{ONLY_WRITTEN} stand only in haproxy.cfg{table}"));
    }
    facts.sharing = sharing(facts.algorithm.as_deref(), consistent);
    facts
}

fn add(to: &mut Vec<String>, what: impl IntoIterator<Item = String>) {
    for one in what {
        if !to.contains(&one) {
            to.push(one);
        }
    }
}

fn add_written(facts: &mut PoolFacts, at: &str, found: &Backend) {
    let algorithm = found.common.balance.as_ref().map_or("roundrobin", |b| b.algorithm.as_str());
    match facts.algorithm.as_deref() {
        None => facts.algorithm = Some(algorithm.to_owned()),
        Some(runs) if runs != algorithm => {
            facts.unseen.push(format!(
                "{at} says `balance {algorithm}`, and `{runs}` is what runs: it is not what was started"
            ));
        }
        Some(_) => {}
    }
    add(&mut facts.pins, found.common.cookie.iter().map(|name| format!("cookie {name}")));
    add(&mut facts.pins, found.stick.iter().cloned());
    add(&mut facts.persists, found.common.persist.iter().cloned());
    for server in &found.servers {
        let Some(member) = facts.members.get_mut(&server.name) else { continue };
        member.slow_start = member.slow_start.max(server.options.slowstart);
        member.agent |= server.options.agent_check;
        if server.options.unread {
            facts.unseen.push(format!("{} sets something for {} that could not be read", server.at, server.name));
        }
    }
    facts.unseen.extend(found.common.unread.iter().map(|u| format!("{} {}", u.at, u.why)));
}

fn sharing(algorithm: Option<&str>, consistent: Option<bool>) -> Sharing {
    match (algorithm, consistent) {
        (Some("roundrobin" | "random"), _) => Sharing::Weights,
        (Some("leastconn"), _) => Sharing::Held,
        (Some("static-rr"), _) => Sharing::Fixed,
        (Some("first"), _) => Sharing::Order,
        (Some("source" | "uri" | "url_param" | "hdr" | "rdp-cookie" | "hash"), Some(true)) => Sharing::Keys,
        (Some("source" | "uri" | "url_param" | "hdr" | "rdp-cookie" | "hash"), Some(false)) => Sharing::FixedKeys,
        (Some("source" | "uri" | "url_param" | "hdr" | "rdp-cookie" | "hash"), None) => Sharing::MaybeFixedKeys,
        (Some(_) | None, _) => Sharing::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::config::{File, parse};
    use super::*;

    const REPLY: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_iweight srv_fqdn srvrecord\n\
        3 b 1 a 10.0.0.1 7 - -\n3 b 2 c 10.0.0.2 1 db.example.com _db._tcp\n4 other 1 a 10.0.0.9 1 - -\n\n\
        # pxname,svname,qcur,slim,bck,agent_status,tracked,cookie,algo,\n\
        b,a,2,100,0,L7OK,,A,,\nb,c,,,1,,b/a,,,\nb,BACKEND,,,,,,SRV,source,\n\n\
        # table: b, type: ip, size:102400, used:0\n\n";

    #[test]
    fn what_a_process_says_and_what_only_the_file_says_come_together() {
        let text = "backend b\n balance source\n hash-type consistent\n stick on src\n option persist\n \
            server a 10.0.0.1:80 slowstart 10s\n server c \"$X\"\n";
        let config = parse(&[File { path: "/h.cfg".to_owned(), text: text.to_owned() }]);
        let facts = pool("b", vec![running(REPLY, "b").unwrap()], &[("/h.cfg".to_owned(), Ok(config))]);
        assert_eq!((facts.algorithm.as_deref(), facts.sharing), (Some("source"), Sharing::Keys));
        assert_eq!(
            (&facts.pins[..], &facts.persists[..]),
            (&["cookie SRV".into(), "stick on src".into()][..], &["option persist".into()][..])
        );
        let a = &facts.members["a"];
        assert_eq!(
            (a.address, a.configured, a.slow_start),
            ("10.0.0.1".parse().ok(), Some(7), Some(Duration::from_secs(10)))
        );
        assert_eq!((a.limit, a.waiting, a.agent, a.standby, a.mark.as_deref()), (Some(100), 2, true, false, Some("A")));
        let c = &facts.members["c"];
        assert_eq!((c.standby, c.follows.as_deref(), c.looked_up.as_deref()), (true, Some("b/a"), Some("_db._tcp")));
        assert_eq!(facts.unseen, ["/h.cfg:7 holds a variable in the place of a server's name or address"]);
    }

    #[test]
    fn without_the_file_a_hash_may_be_of_either_type_and_that_is_told() {
        let facts = pool("b", vec![running(REPLY, "b").unwrap()], &[]);
        assert_eq!(facts.sharing, Sharing::MaybeFixedKeys);
        assert!(
            facts.unseen[0].ends_with("only in haproxy.cfg, and whether its stick table pins clients"),
            "{:?}",
            facts.unseen
        );
        let changed = parse(&[File { path: "f".to_owned(), text: "backend b\n".to_owned() }]);
        let facts = pool(
            "b",
            vec![running(REPLY, "b").unwrap()],
            &[("f".to_owned(), Ok(changed)), ("g".to_owned(), Err("gone".to_owned()))],
        );
        assert_eq!(facts.unseen.len(), 2, "{:?}", facts.unseen);
    }

    proptest! {
        #[test]
        fn arbitrary_replies_never_panic(text in "[a-z0-9 ,\"\n#-]{0,200}") {
            let _ = running(&format!("# be_id be_name srv_name\n{text}\n\n# pxname,svname,algo\n{text}\n\n"), "b");
        }
    }
}
