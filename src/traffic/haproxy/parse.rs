//! The replies of the runtime API, read by their headers.
//!
//! Must never panic, and never take a table that was cut off for a whole one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::Mode;
use crate::text::{self, units};

/// Bits of `srv_admin_state`. 0x04 (maintenance by configuration) and 0x40 (name set at run time) only tell how it came about.
const MAINT: u32 = 0x01 | 0x02 | 0x20;
const DRAIN: u32 = 0x08 | 0x10;

/// One server as `show servers state` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerState {
    pub name: String,
    pub weight: u16,
    pub mode: Mode,
    /// Its number in the backend, by which stick tables name it.
    pub number: Option<u32>,
}

/// One server as `show stat` has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerStat {
    pub connections: u64,
    pub sessions: u64,
    pub up: Option<bool>,
    /// Whether an agent on the host tells the balancer its weight and state.
    pub agent: bool,
}

/// The servers of a backend in the configuration's order, from `show servers state BACKEND`; `None` without a whole table.
pub(super) fn servers_state(reply: &str, backend: &str) -> Option<Vec<ServerState>> {
    let table = table(reply, "# be_id ")?;
    let header: Vec<&str> = table.header.split_whitespace().skip(1).collect();
    let column = |name: &str| header.iter().position(|h| *h == name);
    let (be, name) = (column("be_name")?, column("srv_name")?);
    let (weight, admin) = (column("srv_uweight")?, column("srv_admin_state")?);
    let number = column("srv_id");
    let mut servers = Vec::new();
    for row in table.rows {
        let cells: Vec<&str> = row.split_whitespace().collect();
        if *cells.get(be)? != backend {
            continue;
        }
        servers.push(ServerState {
            name: (*cells.get(name)?).to_owned(),
            weight: cells.get(weight)?.parse().ok()?,
            mode: mode(cells.get(admin)?.parse().ok()?),
            number: number.and_then(|at| cells.get(at)?.parse().ok()),
        });
    }
    Some(servers)
}

/// The number of a backend, from the same answer; `None` for one without servers.
pub(super) fn number(reply: &str, backend: &str) -> Option<u32> {
    let table = table(reply, "# be_id ")?;
    let header: Vec<&str> = table.header.split_whitespace().skip(1).collect();
    let column = |name: &str| header.iter().position(|h| *h == name);
    let (id, be) = (column("be_id")?, column("be_name")?);
    let rows = table.rows.into_iter().map(|row| row.split_whitespace().collect::<Vec<_>>());
    let ours = rows.into_iter().find(|cells| cells.get(be).is_some_and(|name| *name == backend))?;
    ours.get(id)?.parse().ok()
}

/// What several commands on one line were answered, in their order: nothing is success, and whatever is said ends with an empty line.
pub(super) fn answers(reply: &str) -> impl Iterator<Item = String> {
    let mut lines = reply.lines();
    std::iter::from_fn(move || {
        let said: Vec<&str> = lines.by_ref().take_while(|line| !line.trim().is_empty()).collect();
        Some(said.join(" "))
    })
}

fn mode(admin: u32) -> Mode {
    match admin {
        a if a & MAINT != 0 => Mode::Maint,
        a if a & DRAIN != 0 => Mode::Drain,
        _ => Mode::Ready,
    }
}

/// The servers of a backend by name, from `show stat BACKEND 4 -1`; `None` without a whole table.
pub(super) fn stat(reply: &str, backend: &str) -> Option<BTreeMap<String, ServerStat>> {
    let table = table(reply, "# pxname,")?;
    let header = csv(table.header.strip_prefix("# ")?);
    let column = |name: &str| header.iter().position(|h| h == name);
    let (px, sv, status) = (column("pxname")?, column("svname")?, column("status")?);
    let (scur, stot) = (column("scur")?, column("stot")?);
    let checks: Vec<usize> = ["check_status", "agent_status", "tracked"].into_iter().filter_map(column).collect();
    let agent = column("agent_status");
    let mut servers = BTreeMap::new();
    for row in table.rows {
        let cells = csv(row);
        if cells.get(px)? != backend {
            continue;
        }
        let checked = checks.iter().any(|i| cells.get(*i).is_some_and(|c| !c.is_empty()));
        let up = up(cells.get(status)?, checked);
        let number = |at: usize| cells.get(at)?.parse().ok();
        let agent = agent.and_then(|at| cells.get(at)).is_some_and(|said| !said.is_empty());
        let stat = ServerStat { connections: number(scur)?, sessions: number(stot)?, up, agent };
        servers.insert(cells.get(sv)?.clone(), stat);
    }
    Some(servers)
}

/// What the balancer's own check says. A server without checks reads `no check`, or DRAIN when drained.
fn up(status: &str, checked: bool) -> Option<bool> {
    match status.split_whitespace().next()? {
        _ if !checked => None,
        "UP" | "DRAIN" | "NOLB" => Some(true),
        "DOWN" => Some(false),
        _ => None,
    }
}

/// The processes behind a master CLI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Workers {
    /// Those that take new connections.
    pub current: Vec<u32>,
    /// Those that a reload left with the connections they had.
    pub old: Vec<u32>,
}

/// The workers from `show proc`; `None` where the reply has no such table, as on a worker's own socket.
pub(super) fn workers(reply: &str) -> Option<Workers> {
    let table = table(reply, "#<PID>")?;
    let mut workers = Workers { current: Vec::new(), old: Vec::new() };
    let mut section = "";
    for row in table.rows {
        if let Some(name) = row.strip_prefix("# ") {
            section = name.trim_end();
            continue;
        }
        let mut cells = row.split_whitespace();
        let pid = cells.next()?.parse().ok()?;
        match (section, cells.next()) {
            ("workers", Some("worker")) => workers.current.push(pid),
            ("old workers", Some("worker")) => workers.old.push(pid),
            _ => {}
        }
    }
    Some(workers)
}

/// What one process says of itself that explains why a server is otherwise than it was set `since` ago.
pub(super) fn clues(reply: &str, backend: &str, servers: &[&str], since: Duration, at: &str) -> Vec<String> {
    let mut clues = Vec::new();
    // Uptime is in whole seconds: what is as old as the setting may be older or younger.
    const SECOND: Duration = Duration::from_secs(1);
    if let Some((pid, up)) = process(reply).filter(|(_, up)| *up <= since + SECOND) {
        let was = if up + SECOND <= since { "it was" } else { "it may have been" };
        let up = text::duration(up);
        clues.push(format!("HAProxy ({at}) has run for {up} as process {pid}: {was} reloaded or restarted since"));
    }
    let stats = stat(reply, backend).unwrap_or_default();
    let agents = servers.iter().filter(|server| stats.get(**server).is_some_and(|stat| stat.agent));
    clues.extend(agents.map(|server| format!("{server} has an agent-check, which may set weight and state")));
    clues
}

/// Its process id and how long it has run, from `show info`.
fn process(reply: &str) -> Option<(u32, Duration)> {
    let value = |key: &str| reply.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim);
    Some((value("Pid")?.parse().ok()?, Duration::from_secs(value("Uptime_sec")?.parse().ok()?)))
}

/// One session on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    /// By which the process knows it, for as long as it lasts.
    pub id: String,
    /// Address and port of the client.
    pub client: String,
    /// How long it has been there, as HAProxy writes it.
    pub age: String,
}

impl Session {
    /// How long it has been there.
    pub fn lasted(&self) -> Option<Duration> {
        units::duration(&self.age).ok()
    }
}

/// The sessions on a server that `show sess` lists.
pub(super) fn sessions(reply: &str, backend: &str, server: &str) -> Vec<Session> {
    let field =
        |line: &str, key: &str| line.split_whitespace().find_map(|word| word.strip_prefix(key).map(str::to_owned));
    let ours =
        |line: &&str| field(line, "be=").as_deref() == Some(backend) && field(line, "srv=").as_deref() == Some(server);
    let session = |line: &str| {
        let id = line.split_once(':')?.0;
        let is_pointer = id.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        is_pointer.then_some(Session { id: id.to_owned(), client: field(line, "src=")?, age: field(line, "age=")? })
    };
    reply.lines().filter(ours).filter_map(session).collect()
}

/// The stick tables from `show table`.
pub(super) fn tables(reply: &str) -> Vec<&str> {
    reply.lines().filter_map(|line| line.strip_prefix("# table: ")?.split(',').next()).collect()
}

/// How many entries of a stick table are shown.
pub(super) fn entries(reply: &str) -> usize {
    reply.lines().filter(|line| line.starts_with("0x")).count()
}

/// The names from `show backend`.
pub(super) fn backends(reply: &str) -> Vec<String> {
    let rows = table(reply, "# name").map(|t| t.rows).unwrap_or_default();
    rows.into_iter().map(str::to_owned).collect()
}

/// The level of this connection from `show cli level`.
pub(super) fn level(reply: &str) -> Option<&str> {
    reply.lines().map(str::trim_end).find(|line| matches!(*line, "admin" | "operator" | "user"))
}

pub(super) struct Table<'a> {
    pub header: &'a str,
    pub rows: Vec<&'a str>,
}

/// The table whose header starts with `start`. An empty line ends it; without one the rest of it is missing.
pub(super) fn table<'a>(reply: &'a str, start: &str) -> Option<Table<'a>> {
    let mut lines = reply.lines().skip_while(|line| !line.starts_with(start));
    let header = lines.next()?;
    let mut rows = Vec::new();
    for line in lines {
        if line.trim_end().is_empty() {
            return Some(Table { header, rows });
        }
        rows.push(line);
    }
    None
}

/// The cells of a line; a quoted cell may hold commas and doubled quotes.
pub(super) fn csv(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                push(&mut cells, '"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            c => push(&mut cells, c),
        }
    }
    cells
}

fn push(cells: &mut [String], c: char) {
    if let Some(cell) = cells.last_mut() {
        cell.push(c);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATE: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight\n\
        3 b 1 a 127.0.0.1 2 0 100 100\n3 b 2 c 127.0.0.1 0 8 0 0\n3 b 3 d 127.0.0.1 0 5 10 10\n3 b 4 e 127.0.0.1 2 4 10 10\n\
        3 b 5 f 127.0.0.1 2 12 256 10\n3 b 6 g 127.0.0.1 2 32 1 1\n4 other 1 a 127.0.0.1 2 0 1 1\n\n";

    #[test]
    fn modes_come_from_the_flags_that_keep_traffic_away() {
        let servers = servers_state(STATE, "b").unwrap();
        let read: Vec<_> = servers.iter().map(|s| (s.name.as_str(), s.weight, s.mode)).collect();
        assert_eq!(
            read,
            [
                ("a", 100, Mode::Ready),
                ("c", 0, Mode::Drain),
                ("d", 10, Mode::Maint),
                ("e", 10, Mode::Ready),
                ("f", 256, Mode::Drain),
                ("g", 1, Mode::Maint),
            ]
        );
    }

    #[test]
    fn answers_to_commands_on_one_line_are_told_apart() {
        let said: Vec<String> = answers("\nNo such server.\n\n\nIP changed\nagain\n\n").take(5).collect();
        assert_eq!(said, ["", "No such server.", "", "IP changed again", ""]);
        assert_eq!((number(STATE, "other"), number(STATE, "none")), (Some(4), None));
    }

    #[test]
    fn a_table_without_its_end_is_no_table() {
        assert_eq!(servers_state(STATE.trim_end(), "b"), None);
        assert_eq!(servers_state("Can't find backend.\n\n", "b"), None);
    }

    #[test]
    fn connections_and_checks_are_found_wherever_their_columns_are() {
        let reply = "# pxname,svname,scur,stot,status,check_status,last_chk,agent_status,tracked,\n\
            b,a,3,9,no check,,,,,\nb,c,0,0,DOWN,L4CON,\"refused, \"\"again\"\"\",,,\nb,d,1,7,DRAIN,L4OK,,,,\nb,e,1,1,DRAIN,,,,,\n\
            b,f,0,0,MAINT (via b/c),,,,b/c,\nb,g,0,0,UP 1/2,,,L7OK,,\n\n";
        let servers = stat(reply, "b").unwrap();
        assert_eq!(servers.values().map(|s| s.sessions).collect::<Vec<_>>(), [9, 0, 7, 1, 0, 0]);
        let read: Vec<_> = servers.iter().map(|(name, s)| (name.as_str(), s.connections, s.up)).collect();
        assert_eq!(
            read,
            [
                ("a", 3, None),
                ("c", 0, Some(false)),
                ("d", 1, Some(true)),
                ("e", 1, None),
                ("f", 0, None),
                ("g", 0, Some(true))
            ]
        );
    }

    #[test]
    fn workers_that_a_reload_left_behind_are_told_from_the_current_ones() {
        let reply = "#<PID>          <type>          <reloads>       <uptime>        <version>      \n\
            14055           master          1 [failed: 0]   0d00h00m04s     2.6.12\n# workers\n\
            14886           worker          0               0d00h00m01s     2.6.12\n# old workers\n\
            14097           worker          1               0d00h00m04s     2.6.12\n# programs\n\n\n";
        assert_eq!(workers(reply), Some(Workers { current: vec![14886], old: vec![14097] }));
        assert_eq!(workers("Unknown command, but maybe one of the following\n  show fd [num]\n\n"), None);
    }

    #[test]
    fn a_process_that_is_younger_than_a_setting_explains_it() {
        let reply = "Name: HAProxy\nPid: 4242\nUptime: 0d 0h00m05s\nUptime_sec: 5\n\n\
            # pxname,svname,scur,stot,status,check_status,agent_status,tracked,\nb,a,3,9,UP,,L7OK,,\n\n";
        let told = |since| clues(reply, "b", &["a", "x"], Duration::from_secs(since), "unix /s");
        let agent = "a has an agent-check, which may set weight and state";
        let young =
            |was: &str| format!("HAProxy (unix /s) has run for 5 s as process 4242: {was} reloaded or restarted since");
        assert_eq!(told(60), [young("it was"), agent.to_owned()]);
        assert_eq!(told(5), [young("it may have been"), agent.to_owned()]);
        assert_eq!(told(3), [agent]);
    }

    #[test]
    fn only_sessions_on_the_server_itself_hold_it() {
        let reply = "0x1: proto=tcpv4 src=10.0.0.1:5 fe=f be=b srv=a ts=00 age=1m3s calls=2\n\
            0x2: proto=tcpv4 src=10.0.0.2:5 fe=f be=b srv=aa ts=00 age=1s calls=2\n\
            0x3: proto=unix_stream src=unix:1 fe=GLOBAL be=<NONE> srv=<none> ts=00 age=0s\n\n";
        let session = Session { id: "0x1".to_owned(), client: "10.0.0.1:5".to_owned(), age: "1m3s".to_owned() };
        assert_eq!(session.lasted(), Some(Duration::from_secs(63)));
        assert_eq!(sessions(reply, "b", "a"), [session]);
        // What could be no name of a session goes into no command.
        assert_eq!(sessions("0x1;shutdown frontend f: src=a be=b srv=a age=1s\n\n", "b", "a"), []);
    }

    proptest! {
        #[test]
        fn arbitrary_replies_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let text = String::from_utf8_lossy(&bytes);
            for header in ["", "# be_id be_name srv_name srv_uweight srv_admin_state\n", "# pxname,svname,scur,stot,status\n", "#<PID>\n"] {
                let reply = format!("{header}{text}\n\n");
                let _ = (servers_state(&reply, "b"), stat(&reply, "b"), workers(&reply), level(&reply));
                let _ = (sessions(&reply, "b", "a"), backends(&reply));
            }
        }

        #[test]
        fn tables_with_missing_cells_are_refused_and_never_guessed(row in "[a-z0-9 ,\"]{0,40}") {
            let _ = servers_state(&format!("# be_id be_name srv_name srv_uweight srv_admin_state\n{row}\n\n"), "b");
            let _ = stat(&format!("# pxname,svname,scur,stot,status\n{row}\n\n"), "b");
        }
    }
}
