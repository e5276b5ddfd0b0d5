//! `migrate director show`: a pool as it is now. Reads, and never writes.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::super::copy::units_duration;
use super::super::environment::Environment;
use super::super::exit::Exit;
use super::super::output;
use super::Which;
use crate::model::{Capabilities, Member, Mode, Pool, PoolFacts, Weights};
use crate::render::{Format, Show, Style, Topic};
use crate::text;

/// Arguments of `migrate director show`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is written, and no plan is needed. `-` stands where the director does not know. The measured share is of all sessions
since the director's processes began; with --over, of those that came while it was looked at.

Examples:
  migrate director show edge web                         with ./inventory.yaml
  migrate director show edge web -i inv.yaml --over 10s   who gets new sessions just now
  migrate director show zone www -i inv.yaml --format json")]
pub struct Args {
    #[command(flatten)]
    which: Which,

    /// Measure the share over this time: look twice, and count what came in between
    #[arg(long, value_name = "TIME", value_parser = units_duration)]
    over: Option<Duration>,

    /// How to show it
    #[arg(long, default_value = "text", value_parser = output::formats(Topic::Report))]
    format: Format,
}

pub async fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let found = args.which.find(environment).await?;
    let facts = found.director.facts(&found.pool).await?;
    let before = match args.over {
        None => None,
        Some(over) => {
            let before = found.director.observe(&found.pool).await?;
            tokio::time::sleep(over).await;
            Some(before)
        }
    };
    let pool = found.director.observe(&found.pool).await?;
    let kind = found.config.kind();
    let measured = measure(before.as_ref(), &pool);
    let can = kind.capabilities();
    let shown = Shown {
        director: &args.which.director,
        kind: found.config.key(),
        title: kind.title(),
        pool: &pool.name,
        can,
        ttl_ms: pool.ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)),
        measured_over_ms: args.over.map(|over| u64::try_from(over.as_millis()).unwrap_or(u64::MAX)),
        measured_sessions: measured.as_ref().map(|came| came.iter().sum()),
        members: members(&pool, &facts, can, measured.as_deref()),
        facts: &facts,
    };
    output::show(args.format, &shown, environment.style(false))?;
    Ok(Exit::Ok)
}

/// What is shown of a pool.
#[derive(Serialize)]
struct Shown<'a> {
    director: &'a str,
    kind: &'static str,
    #[serde(skip)]
    title: &'static str,
    pool: &'a str,
    can: Capabilities,
    ttl_ms: Option<u64>,
    measured_over_ms: Option<u64>,
    /// Of how many sessions the measured shares are.
    measured_sessions: Option<u64>,
    members: Vec<ShownMember<'a>>,
    facts: &'a PoolFacts,
}

#[derive(Serialize)]
struct ShownMember<'a> {
    #[serde(flatten)]
    member: &'a Member,
    address: Option<String>,
    /// In percent, by what members weigh that may get something; `None` where that says nothing.
    share_by_weight: Option<f64>,
    /// In percent of the sessions that were counted.
    share_measured: Option<f64>,
}

/// The sessions of each member: since its processes began, or since `before`. `None` where somebody's are not known or were begun anew.
fn measure(before: Option<&Pool>, now: &Pool) -> Option<Vec<u64>> {
    let came = |member: &Member| match before {
        None => member.sessions,
        Some(before) => member.sessions?.checked_sub(before.member(&member.name)?.sessions?),
    };
    now.members.iter().map(came).collect::<Option<Vec<u64>>>().filter(|came| !came.is_empty())
}

fn members<'a>(pool: &'a Pool, facts: &PoolFacts, can: Capabilities, came: Option<&[u64]>) -> Vec<ShownMember<'a>> {
    let weights: u64 = pool.members.iter().map(counts).sum();
    let sessions: u64 = came.unwrap_or_default().iter().sum();
    let part = |of: u64, all: u64| (all > 0).then(|| 100.0 * of as f64 / all as f64);
    let shown = pool.members.iter().enumerate().map(|(n, member)| ShownMember {
        member,
        address: facts.members.get(&member.name).and_then(|f| f.address).map(|a| a.to_string()),
        // How many addresses a name has is no share: clients choose among them for themselves.
        share_by_weight: match can.weights {
            Weights::Exact(_) => part(counts(member), weights),
            Weights::Presence => None,
        },
        share_measured: came.and_then(|came| came.get(n)).and_then(|came| part(*came, sessions)),
    });
    shown.collect()
}

/// What of a weight counts now.
fn counts(member: &Member) -> u64 {
    match member.mode {
        Mode::Ready if member.up != Some(false) => member.weight.into(),
        Mode::Ready | Mode::Drain | Mode::Maint => 0,
    }
}

impl Show for Shown<'_> {
    fn text(&self, _: Style) -> String {
        let mut out = self.heading();
        let rows: Vec<Vec<String>> =
            std::iter::once(self.titles()).chain(self.members.iter().map(|m| self.row(m))).collect();
        let columns = self.titles().len();
        let wide =
            |n: usize| rows.iter().filter_map(|row| row.get(n)).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(wide).collect();
        for row in &rows {
            let cells = row.iter().zip(&widths).enumerate().map(|(n, (cell, width))| match n {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            let _ = writeln!(out, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        if self.members.is_empty() {
            out.push_str("  nobody\n");
        }
        for line in self.rest() {
            let _ = writeln!(out, "{line}");
        }
        out
    }
}

impl Shown<'_> {
    fn heading(&self) -> String {
        let ttl = self.ttl_ms.map(|ms| format!(", TTL {}", text::units::show(Duration::from_millis(ms))));
        let algorithm = self.facts.algorithm.as_ref().map(|a| format!(", {}", text::escape(a.as_bytes(), 60)));
        let members = text::count(self.members.len() as u64, "member");
        let (algorithm, ttl) = (algorithm.unwrap_or_default(), ttl.unwrap_or_default());
        format!("{} {} ({}{algorithm}{ttl}): {members}\n", self.director, self.pool, self.title)
    }

    /// Columns that nobody has anything in are left out.
    fn titles(&self) -> Vec<String> {
        let mut titles = vec!["member"];
        if self.has_addresses() {
            titles.push("address");
        }
        if self.is_exact() {
            titles.extend(["weight", "by weight"]);
        }
        if self.measured_sessions.is_some() {
            titles.push("measured");
        }
        if self.can.drain {
            titles.push("mode");
        }
        if self.can.connections {
            titles.push("connections");
        }
        if self.has_checks() {
            titles.push("health");
        }
        titles.into_iter().map(str::to_owned).collect()
    }

    fn row(&self, shown: &ShownMember<'_>) -> Vec<String> {
        let known = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
        let percent = |share: Option<f64>| known(share.map(|s| format!("{s:.1} %")));
        let mut row = vec![text::escape(shown.member.name.as_bytes(), 80)];
        if self.has_addresses() {
            row.push(known(shown.address.clone()));
        }
        if self.is_exact() {
            row.extend([shown.member.weight.to_string(), percent(shown.share_by_weight)]);
        }
        if self.measured_sessions.is_some() {
            row.push(percent(shown.share_measured));
        }
        if self.can.drain {
            row.push(mode(shown.member.mode).to_owned());
        }
        if self.can.connections {
            row.push(known(shown.member.connections.map(|n| n.to_string())));
        }
        if self.has_checks() {
            row.push(known(shown.member.up.map(|up| if up { "up" } else { "DOWN" }.to_owned())));
        }
        row
    }

    fn is_exact(&self) -> bool {
        matches!(self.can.weights, Weights::Exact(_))
    }

    fn has_addresses(&self) -> bool {
        self.members.iter().any(|m| m.address.is_some())
    }

    fn has_checks(&self) -> bool {
        self.members.iter().any(|m| m.member.up.is_some())
    }

    /// What the table does not tell.
    fn rest(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(sessions) = self.measured_sessions {
            let sessions = text::count(sessions, "session");
            lines.push(match self.measured_over_ms {
                Some(ms) => format!("Measured: {sessions} in {}.", text::units::show(Duration::from_millis(ms))),
                None => format!("Measured: {sessions} since its processes began."),
            });
        } else if self.measured_over_ms.is_some() {
            lines.push("Nothing could be measured: it does not count sessions, or has begun to count anew.".to_owned());
        }
        if self.facts.waiting > 0 {
            lines.push(format!("Waiting for a member with room: {}.", text::count(self.facts.waiting, "session")));
        }
        let shown = |text: &String| text::escape(text.as_bytes(), 200);
        lines.extend(self.facts.pins.iter().map(|pin| format!("Clients are kept at their member: {}.", shown(pin))));
        lines.extend(self.facts.persists.iter().map(|p| format!("Even where it is out of service: {}.", shown(p))));
        lines.extend(self.facts.unseen.iter().map(|what| format!("Not looked at: {}.", shown(what))));
        lines
    }
}

fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Ready => "ready",
        Mode::Drain => "drain",
        Mode::Maint => "maintenance",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MemberFacts;

    fn member(name: &str, weight: u16, mode: Mode, sessions: Option<u64>) -> Member {
        Member { name: name.to_owned(), weight, mode, connections: Some(3), sessions, up: Some(true) }
    }

    const EXACT: Capabilities = Capabilities {
        weights: Weights::Exact(256),
        adds_members: false,
        connections: true,
        drain: true,
        ttl: false,
        ends_sessions: false,
    };
    const PRESENCE: Capabilities = Capabilities {
        weights: Weights::Presence,
        adds_members: true,
        connections: false,
        drain: false,
        ttl: true,
        ends_sessions: false,
    };

    fn shown<'a>(pool: &'a Pool, facts: &'a PoolFacts, can: Capabilities, came: Option<&[u64]>) -> Shown<'a> {
        Shown {
            director: "edge",
            kind: "haproxy",
            title: "HAProxy",
            pool: &pool.name,
            can,
            ttl_ms: pool.ttl.map(|_| 60_000),
            measured_over_ms: None,
            measured_sessions: came.map(|came| came.iter().sum()),
            members: members(pool, facts, can, came),
            facts,
        }
    }

    #[test]
    fn weights_modes_connections_and_shares_stand_in_one_table() {
        let (drained, down) = (member("dal-2", 100, Mode::Drain, Some(10)), member("fra-2", 50, Mode::Ready, Some(0)));
        let members = vec![
            member("dal-1", 150, Mode::Ready, Some(310)),
            drained,
            member("fra-1", 50, Mode::Ready, Some(80)),
            Member { up: Some(false), connections: None, ..down },
        ];
        let pool = Pool { name: "web".to_owned(), members, ttl: None };
        let address = MemberFacts { address: Some("10.0.0.1".parse().unwrap()), ..MemberFacts::default() };
        let facts = PoolFacts {
            algorithm: Some("roundrobin".to_owned()),
            pins: vec!["cookie SRV".to_owned()],
            members: [("dal-1".to_owned(), address)].into(),
            unseen: vec!["haproxy.cfg: no `config` names it".to_owned()],
            ..PoolFacts::default()
        };
        let came = measure(None, &pool);
        insta::assert_snapshot!(shown(&pool, &facts, EXACT, came.as_deref()).text(Style::default()));
    }

    #[test]
    fn how_many_addresses_a_name_has_is_called_no_share() {
        let address = |name: &str| Member { connections: None, up: None, ..member(name, 1, Mode::Ready, None) };
        let members = vec![address("192.0.2.1"), address("198.51.100.1")];
        let pool = Pool { name: "www.example.com".to_owned(), members, ttl: Some(Duration::from_secs(60)) };
        let facts = PoolFacts::default();
        assert_eq!(measure(None, &pool), None);
        insta::assert_snapshot!(shown(&pool, &facts, PRESENCE, None).text(Style::default()), @r"
        edge www.example.com (HAProxy, TTL 1m): 2 members
          member
          192.0.2.1
          198.51.100.1
        ");
    }

    #[test]
    fn what_came_between_two_looks_is_not_known_when_a_counter_began_anew() {
        let pool = |sessions: u64| Pool {
            name: "web".to_owned(),
            members: vec![member("a", 1, Mode::Ready, Some(sessions))],
            ttl: None,
        };
        assert_eq!(measure(Some(&pool(10)), &pool(25)), Some(vec![15]));
        assert_eq!(measure(Some(&pool(25)), &pool(10)), None);
        let nobody = Pool { members: Vec::new(), ..pool(1) };
        assert_eq!((measure(Some(&nobody), &pool(1)), measure(None, &nobody)), (None, None));
    }
}
