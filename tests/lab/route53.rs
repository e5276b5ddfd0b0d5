//! A strict Route 53: what its documentation promises and other doubles do not keep: exact deletion, whole batches or nothing, PENDING,
//! throttling, and what may stand beside what.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::authority::{NameServer, Record, Zone, drawn};
use super::http::{self, Request};
use super::sshd::next_address;

/// The one zone that there is.
pub const ZONE: &str = "Z0LABTEST";
/// Whom it lets in.
pub const KEY_ID: &str = "AKIDLAB";

/// The role of the machine, as its metadata server tells it.
const ROLE: &str = "mover";
/// A session with that server.
const SESSION: &str = "session-1";

/// A record set, each part as it was told.
pub type Set = BTreeMap<String, String>;

/// A record set from its parts: `values` are joined by a space.
pub fn set(name: &str, rtype: &str, ttl: u32, values: &[&str], rest: &[(&str, &str)]) -> Set {
    let mut set = Set::from([
        ("Name".to_owned(), name.to_owned()),
        ("Type".to_owned(), rtype.to_owned()),
        ("TTL".to_owned(), ttl.to_string()),
        ("values".to_owned(), values.join(" ")),
    ]);
    set.extend(rest.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    set
}

/// What happens to a change.
type Meddle = Box<dyn FnOnce(&mut Vec<Set>) + Send>;

#[derive(Default)]
struct State {
    sets: Vec<Set>,
    /// Changes and how often they are still PENDING when asked.
    changes: Vec<u32>,
    /// How often a change is PENDING.
    pending: u32,
    /// Requests that are refused for their pace.
    throttle: u32,
    /// Done before the next change is looked at.
    meddle: Option<Meddle>,
    /// The next change is made, and its answer is lost.
    lose: bool,
    /// Requests so far: method and path.
    asked: Vec<String>,
    /// Credentials of the role that are given out are about to end.
    ending: bool,
}

/// The running double.
pub struct Route53 {
    pub addr: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Route53 {
    /// Starts it with these sets.
    pub fn start(sets: Vec<Set>) -> Self {
        let state = Arc::new(Mutex::new(State { sets, pending: 0, ..State::default() }));
        let shared = Arc::clone(&state);
        let addr = http::serve("text/xml", move |request| {
            answer(request, &mut shared.lock().unwrap_or_else(|e| e.into_inner()))
        });
        Self { addr, state }
    }

    /// Where its API answers.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// A name server of this zone.
    pub fn name_server(&self, domain: &str) -> NameServer {
        self.name_server_at((next_address(), 0).into(), domain)
    }

    /// The same, there.
    pub fn name_server_at(&self, addr: SocketAddr, domain: &str) -> NameServer {
        let (state, domain, mut turn) = (Arc::clone(&self.state), domain.to_owned(), 0_usize);
        NameServer::start(addr, move || {
            turn += 1;
            vec![served(&state.lock().unwrap_or_else(|e| e.into_inner()).sets, &domain, turn)]
        })
    }

    /// Credentials of the machine's role end soon from now on.
    pub fn end_credentials(&self) {
        self.state().ending = true;
    }

    /// All sets.
    pub fn sets(&self) -> Vec<Set> {
        let mut sets = self.state().sets.clone();
        sets.sort();
        sets
    }

    /// Refuses so many requests for their pace.
    pub fn throttle(&self, requests: u32) {
        self.state().throttle = requests;
    }

    /// Every change from now on is PENDING so often.
    pub fn pending(&self, times: u32) {
        self.state().pending = times;
    }

    /// Somebody else changes the zone right before the next change.
    pub fn before_the_next_change(&self, meddle: impl FnOnce(&mut Vec<Set>) + Send + 'static) {
        self.state().meddle = Some(Box::new(meddle));
    }

    /// Makes the next change and loses its answer.
    pub fn lose_the_next_answer(&self) {
        self.state().lose = true;
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn answer(request: &Request, state: &mut State) -> Option<(u16, String)> {
    state.asked.push(format!("{} {}", request.method, request.path));
    if let Some(path) = request.path.strip_prefix("/latest/") {
        return Some(metadata(request, path, state.ending));
    }
    if !request.header("authorization").starts_with(&format!("AWS4-HMAC-SHA256 Credential={KEY_ID}/")) {
        return Some(error(403, "InvalidClientTokenId", "The security token included in the request is invalid."));
    }
    if state.throttle > 0 {
        state.throttle -= 1;
        return Some(error(400, "Throttling", "Rate exceeded"));
    }
    if let Some(id) = request.path.strip_prefix("/2013-04-01/change/C") {
        return Some(status(id.parse().ok()?, state));
    }
    let zone = request.path.strip_prefix("/2013-04-01/hostedzone/")?;
    match (request.method.as_str(), zone.split_once('/')) {
        (_, Some((id, _))) if id != ZONE => {
            Some(error(404, "NoSuchHostedZone", &format!("No hosted zone found with ID: {id}")))
        }
        ("GET", Some((_, "rrset"))) => Some(list(&request.query, &state.sets)),
        ("POST", Some((_, "rrset/"))) => change(&request.body, state),
        _ => Some(error(404, "InvalidAction", "there is nothing")),
    }
}

/// The metadata server of the machine: without a session of its own nobody is told anything.
fn metadata(request: &Request, path: &str, ending: bool) -> (u16, String) {
    const ROLES: &str = "meta-data/iam/security-credentials/";
    let lives = request.header("x-aws-ec2-metadata-token-ttl-seconds").parse::<u32>().is_ok_and(|s| s > 0);
    let knows = request.header("x-aws-ec2-metadata-token") == SESSION;
    match (request.method.as_str(), path.strip_prefix(ROLES)) {
        ("PUT", _) if path == "api/token" && lives => (200, SESSION.to_owned()),
        ("GET", _) if !knows => (401, "Unauthorized".to_owned()),
        ("GET", Some("")) => (200, ROLE.to_owned()),
        ("GET", Some(ROLE)) => {
            let ends = jiff::Timestamp::now() + std::time::Duration::from_secs(if ending { 60 } else { 6 * 3600 });
            let body = serde_json::json!({
                "Code": "Success", "LastUpdated": "2026-01-01T00:00:00Z", "Type": "AWS-HMAC", "AccessKeyId": KEY_ID,
                "SecretAccessKey": "secret", "Token": "token", "Expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            });
            (200, body.to_string())
        }
        _ => (404, "Not Found".to_owned()),
    }
}

/// What a name server has of these sets: of weighted ones one, as its weight says, over many turns.
fn served(sets: &[Set], domain: &str, turn: usize) -> Zone {
    let soa = Record { host: "@".to_owned(), rtype: "SOA".to_owned(), ttl: 300, data: String::new() };
    let mut records = vec![soa];
    let mut by_name: BTreeMap<(&str, &str), Vec<&Set>> = BTreeMap::new();
    for set in sets.iter().filter(|set| ["A", "AAAA", "CNAME"].contains(&part(set, "Type"))) {
        by_name.entry((part(set, "Name"), part(set, "Type"))).or_default().push(set);
    }
    for ((name, rtype), sets) in by_name {
        let weight = |set: &&Set| set.get("Weight").and_then(|weight| weight.parse::<usize>().ok());
        let sets = match sets.iter().all(|set| weight(set).is_some()) {
            true => drawn(sets.iter().map(|set| (weight(set).unwrap_or(0), *set)), turn).into_iter().collect(),
            false => sets,
        };
        let Some(host) = name.trim_end_matches('.').strip_suffix(domain) else { continue };
        let host = host.trim_end_matches('.');
        let host = if host.is_empty() { "@" } else { host };
        for (set, data) in sets.into_iter().flat_map(|set| part(set, "values").split(' ').map(move |data| (set, data)))
        {
            let ttl = part(set, "TTL").parse().unwrap_or(0);
            records.push(Record { host: host.to_owned(), rtype: rtype.to_owned(), ttl, data: data.to_owned() });
        }
    }
    Zone { name: domain.to_owned(), serial: 1, records }
}

fn error(code: u16, name: &str, message: &str) -> (u16, String) {
    let body = format!(
        "<?xml version=\"1.0\"?>\n<ErrorResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Error><Type>Sender</Type><Code>{name}</Code><Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    );
    (code, body)
}

fn status(id: usize, state: &mut State) -> (u16, String) {
    match state.changes.get_mut(id) {
        None => error(404, "NoSuchChange", "Could not find resource with ID"),
        Some(left) => {
            let pending = *left > 0;
            *left = left.saturating_sub(1);
            (200, info(id, pending))
        }
    }
}

fn info(id: usize, pending: bool) -> String {
    let status = if pending { "PENDING" } else { "INSYNC" };
    format!(
        "<R xmlns=\"x\"><ChangeInfo><Id>/change/C{id}</Id><Status>{status}</Status><SubmittedAt>2026-01-01T00:00:00Z</SubmittedAt></ChangeInfo></R>"
    )
}

/// Names by their labels from the end, then types, then identifiers.
fn order(name: &str, rtype: &str, id: &str) -> (Vec<String>, String, String) {
    (name.trim_end_matches('.').rsplit('.').map(str::to_owned).collect(), rtype.to_owned(), id.to_owned())
}

fn part<'a>(set: &'a Set, name: &str) -> &'a str {
    set.get(name).map_or("", String::as_str)
}

/// The double's pages are short, so that they are turned.
const PAGE: usize = 2;

fn list(query: &BTreeMap<String, String>, sets: &[Set]) -> (u16, String) {
    let key = |set: &Set| order(part(set, "Name"), part(set, "Type"), part(set, "SetIdentifier"));
    let asked = |name: &str| query.get(name).map_or("", String::as_str);
    let from = order(asked("name"), asked("type"), asked("identifier"));
    let mut all: Vec<&Set> = sets.iter().filter(|set| key(set) >= from).collect();
    all.sort_by_key(|set| key(set));
    let next = all.get(PAGE).map(|set| {
        let id = set.get("SetIdentifier").map(|id| format!("<NextRecordIdentifier>{id}</NextRecordIdentifier>"));
        let (name, rtype) = (part(set, "Name"), part(set, "Type"));
        format!(
            "<NextRecordName>{name}</NextRecordName><NextRecordType>{rtype}</NextRecordType>{}",
            id.unwrap_or_default()
        )
    });
    let shown: String = all.iter().take(PAGE).map(|set| show(set)).collect();
    let truncated = next.is_some();
    let body = format!(
        "<?xml version=\"1.0\"?>\n<ListResourceRecordSetsResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ResourceRecordSets>{shown}</ResourceRecordSets><IsTruncated>{truncated}</IsTruncated>{}<MaxItems>{PAGE}</MaxItems></ListResourceRecordSetsResponse>",
        next.unwrap_or_default()
    );
    (200, body)
}

fn show(set: &Set) -> String {
    let mut out = "<ResourceRecordSet>".to_owned();
    for name in ["Name", "Type", "SetIdentifier", "Weight", "MultiValueAnswer", "TTL"] {
        out += &set.get(name).map(|value| format!("<{name}>{value}</{name}>")).unwrap_or_default();
    }
    let values = part(set, "values").split(' ').map(|v| format!("<ResourceRecord><Value>{v}</Value></ResourceRecord>"));
    out += &format!("<ResourceRecords>{}</ResourceRecords>", values.collect::<String>());
    for name in ["AliasTarget", "HealthCheckId"] {
        out += &set.get(name).map(|value| format!("<{name}>{value}</{name}>")).unwrap_or_default();
    }
    out + "</ResourceRecordSet>"
}

fn change(body: &str, state: &mut State) -> Option<(u16, String)> {
    if let Some(meddle) = state.meddle.take() {
        meddle(&mut state.sets);
    }
    let mut sets = state.sets.clone();
    let mut problems: Vec<String> =
        body.split("<Change>").skip(1).filter_map(|change| one(change, &mut sets).err()).collect();
    problems.extend(rules(&sets));
    if !problems.is_empty() {
        let messages: String = problems.iter().map(|m| format!("<Message>{m}</Message>")).collect();
        return Some((
            400,
            format!("<InvalidChangeBatch xmlns=\"x\"><Messages>{messages}</Messages></InvalidChangeBatch>"),
        ));
    }
    state.sets = sets;
    state.changes.push(state.pending);
    if std::mem::take(&mut state.lose) {
        return None;
    }
    Some((200, info(state.changes.len() - 1, true)))
}

fn one(change: &str, sets: &mut Vec<Set>) -> Result<(), String> {
    let mut told = Set::new();
    for name in ["Name", "Type", "SetIdentifier", "Weight", "MultiValueAnswer", "TTL", "HealthCheckId"] {
        told.extend(between(change, name).first().map(|value| (name.to_owned(), (*value).to_owned())));
    }
    told.insert("values".to_owned(), between(change, "Value").join(" "));
    let same = |set: &Set| ["Name", "Type", "SetIdentifier"].iter().all(|name| set.get(*name) == told.get(*name));
    let called = format!(
        "[name='{}', type='{}', set-identifier='{}']",
        part(&told, "Name"),
        part(&told, "Type"),
        part(&told, "SetIdentifier")
    );
    let at = sets.iter().position(same);
    match (between(change, "Action").first().copied(), at) {
        (Some("DELETE"), None) => Err(format!("Tried to delete resource record set {called} but it was not found")),
        (Some("DELETE"), Some(at)) if sets.get(at) != Some(&told) => Err(format!(
            "Tried to delete resource record set {called} but the values provided do not match the current values"
        )),
        (Some("DELETE"), Some(at)) => {
            sets.remove(at);
            Ok(())
        }
        (Some("CREATE"), Some(_)) => Err(format!("Tried to create resource record set {called} but it already exists")),
        (Some("CREATE"), None) => {
            sets.push(told);
            Ok(())
        }
        (action, _) => Err(format!("the action {action:?} is not for careful people")),
    }
}

/// What may not stand beside what.
fn rules(sets: &[Set]) -> Vec<String> {
    let mut problems = Vec::new();
    for (n, one) in sets.iter().enumerate() {
        if one.get("Weight").is_some_and(|w| w.parse::<u32>().map_or(true, |w| w > 255)) {
            problems.push("Weight must be from 0 to 255".to_owned());
        }
        if one.contains_key("Weight") && !one.contains_key("SetIdentifier") {
            problems.push("a weighted set needs an identifier".to_owned());
        }
        if one.contains_key("MultiValueAnswer") && part(one, "values").contains(' ') {
            problems.push("a multivalue set has one value".to_owned());
        }
        for other in sets.iter().skip(n + 1) {
            let (same_name, same_type) =
                (part(one, "Name") == part(other, "Name"), part(one, "Type") == part(other, "Type"));
            if same_name && same_type && one.contains_key("SetIdentifier") != other.contains_key("SetIdentifier") {
                problems.push("a simple set cannot stand beside weighted ones".to_owned());
            }
            if same_name && same_type && part(one, "TTL") != part(other, "TTL") {
                problems.push("all sets of a name and type have one TTL".to_owned());
            }
            if same_name && !same_type && [part(one, "Type"), part(other, "Type")].contains(&"CNAME") {
                problems.push("nothing stands beside a CNAME".to_owned());
            }
        }
    }
    problems
}

fn between<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    text.split(&open).skip(1).filter_map(|rest| rest.split(&close).next()).collect()
}
