//! A strict Google Cloud DNS: one zone, changes that delete exactly what is there or do nothing, pending, quotas, and the servers that give out
//! tokens: for statements that a service account has signed, and to a machine.
//!
//! What it refuses and in which words follows Google's own local helper for its Java client; a client of Google's drives it in a test.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use domain::utils::base64;
use serde_json::{Value, json};

use super::authority::{NameServer, Record, Zone};
use super::http::{self, Request, pairs};
use super::sshd::next_address;

/// The one project, and its one zone by its name there and in DNS.
pub const PROJECT: &str = "lab-project";
pub const ZONE: &str = "lab-test";
pub const DOMAIN: &str = "lab.test.";
/// The service account that it lets in.
pub const ACCOUNT: &str = "mover@lab-project.iam.gserviceaccount.com";
/// A token that somebody else got.
pub const TOKEN: &str = "ya29.of-somebody-else";

/// What happens to a change.
type Meddle = Box<dyn FnOnce(&mut Vec<Value>) + Send>;

#[derive(Default)]
struct State {
    rrsets: Vec<Value>,
    /// Changes and how often they are still pending when asked.
    changes: Vec<u32>,
    pending: u32,
    /// Requests that are refused for their pace.
    throttle: u32,
    meddle: Option<Meddle>,
    /// The next change is made, and its answer is lost.
    lose: bool,
    /// The next change is answered by a server that fails after it was made.
    fail: bool,
    /// Tokens that were given out.
    tokens: Vec<String>,
    /// How many.
    granted: u32,
    asked: Vec<String>,
}

/// The running double.
pub struct CloudDns {
    pub addr: SocketAddr,
    state: Arc<Mutex<State>>,
    /// The key of the account, as the console gives it out.
    pub key: String,
}

/// A record set with data.
pub fn plain(name: &str, rtype: &str, ttl: u32, values: &[&str]) -> Value {
    json!({
        "kind": "dns#resourceRecordSet", "name": name, "type": rtype, "ttl": ttl, "rrdatas": values, "signatureRrdatas": [],
    })
}

/// A record set with a weighted policy.
pub fn weighted(name: &str, rtype: &str, ttl: u32, items: &[(&str, f64)]) -> Value {
    let items: Vec<Value> = items.iter().map(|(value, weight)| json!({ "kind": "dns#rRSetRoutingPolicyWrrPolicyWrrPolicyItem", "weight": weight, "rrdatas": [value] })).collect();
    json!({
        "kind": "dns#resourceRecordSet", "name": name, "type": rtype, "ttl": ttl,
        "routingPolicy": { "kind": "dns#rRSetRoutingPolicy", "wrr": { "kind": "dns#rRSetRoutingPolicyWrrPolicy", "items": items } },
    })
}

impl CloudDns {
    /// Starts it with these record sets beside those of the zone itself.
    pub fn start(rrsets: Vec<Value>) -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).expect("a key");
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().expect("its public half");
        let public = public.as_ref().to_vec();
        let own = vec![
            plain(DOMAIN, "NS", 21600, &["ns-cloud-a1.googledomains.com."]),
            plain(
                DOMAIN,
                "SOA",
                21600,
                &["ns-cloud-a1.googledomains.com. cloud-dns-hostmaster.google.com. 1 21600 3600 259200 300"],
            ),
        ];
        let rrsets = [own, rrsets].concat();
        let state = Arc::new(Mutex::new(State { rrsets, tokens: vec![TOKEN.to_owned()], ..State::default() }));
        let shared = Arc::clone(&state);
        let addr = http::serve("application/json", move |request| {
            let mut state = shared.lock().unwrap_or_else(|e| e.into_inner());
            answer(request, &mut state, &public).map(|(code, body)| (code, body.to_string()))
        });
        let private: Pkcs8V1Der<'_> = pair.as_der().expect("its private half");
        let body = base64::encode_string(private.as_ref());
        let lines: Vec<&str> =
            body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        let key = json!({
            "type": "service_account", "project_id": PROJECT, "private_key_id": "k1", "private_key": pem, "client_email": ACCOUNT,
            "client_id": "1", "token_uri": format!("http://{addr}/token"),
        });
        Self { addr, state, key: key.to_string() }
    }

    /// Where its API answers.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// A name server of the zone.
    pub fn name_server(&self) -> NameServer {
        let (state, mut turn) = (Arc::clone(&self.state), 0_usize);
        NameServer::start((next_address(), 0).into(), move || {
            turn += 1;
            vec![served(&state.lock().unwrap_or_else(|e| e.into_inner()).rrsets, turn)]
        })
    }

    /// All record sets of a name that hold addresses.
    pub fn of(&self, name: &str) -> Vec<Value> {
        let ours = |set: &&Value| set["name"] == name && ["A", "AAAA"].contains(&text(set, "type"));
        self.state().rrsets.iter().filter(ours).map(essence).collect()
    }

    /// Everything that the zone has.
    pub fn all(&self) -> Vec<Value> {
        self.state().rrsets.iter().map(essence).collect()
    }

    /// Refuses so many requests for their pace.
    pub fn throttle(&self, requests: u32) {
        self.state().throttle = requests;
    }

    /// Every change from now on is pending so often.
    pub fn pending(&self, times: u32) {
        self.state().pending = times;
        self.state().changes.iter_mut().for_each(|left| *left = times.min(*left));
    }

    /// Somebody else changes the zone right before the next change.
    pub fn before_the_next_change(&self, meddle: impl FnOnce(&mut Vec<Value>) + Send + 'static) {
        self.state().meddle = Some(Box::new(meddle));
    }

    /// Makes the next change and loses its answer.
    pub fn lose_the_next_answer(&self) {
        self.state().lose = true;
    }

    /// Makes the next change and answers that it has failed.
    pub fn fail_the_next_change(&self) {
        self.state().fail = true;
    }

    /// No token that was given out is valid any more; that of somebody else is.
    pub fn end_tokens(&self) {
        self.state().tokens = vec![TOKEN.to_owned()];
    }

    /// What was asked so far.
    pub fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

/// Numbers may be told as text, too.
fn number(of: &Value, key: &str) -> Option<u64> {
    of[key].as_u64().or_else(|| of[key].as_str()?.parse().ok())
}

type Answer = Option<(u16, Value)>;

fn answer(request: &Request, state: &mut State, public: &[u8]) -> Answer {
    state.asked.push(format!("{} {}", request.method, request.path));
    match request.path.as_str() {
        "/token" => return Some(grant(request, state, public)),
        "/computeMetadata/v1/instance/service-accounts/default/token" => {
            return Some(match request.header("metadata-flavor") {
                "Google" => (200, new_token(state)),
                _ => (403, json!({ "error": "missing header" })),
            });
        }
        _ => {}
    }
    let known =
        request.header("authorization").strip_prefix("Bearer ").is_some_and(|t| state.tokens.iter().any(|k| k == t));
    if !known {
        return refuse(401, "authError", "Invalid Credentials");
    }
    if state.throttle > 0 {
        state.throttle -= 1;
        return refuse(403, "rateLimitExceeded", "Rate Limit Exceeded");
    }
    let zones = format!("/dns/v1/projects/{PROJECT}/managedZones");
    let Some(below) = request.path.strip_prefix(&zones) else {
        return refuse(403, "forbidden", "Forbidden");
    };
    let (zone, below) = below.trim_start_matches('/').split_once('/').unwrap_or((below.trim_start_matches('/'), ""));
    if zone != ZONE {
        let what = format!("The 'parameters.managedZone' resource named '{zone}' does not exist.");
        return refuse(404, "notFound", &what);
    }
    match (request.method.as_str(), below.split_once('/').unwrap_or((below, ""))) {
        ("GET", ("", _)) => {
            Some((200, json!({ "kind": "dns#managedZone", "name": ZONE, "dnsName": DOMAIN, "id": "1" })))
        }
        ("GET", ("rrsets", "")) => Some(list(&request.query, &state.rrsets)),
        ("GET", ("changes", "")) => Some(changes(&request.query, state)),
        ("GET", ("changes", id)) => match id.parse().ok().filter(|id| *id < state.changes.len()) {
            Some(id) => Some((200, told(id, state))),
            None => {
                refuse(404, "notFound", &format!("The 'parameters.changeId' resource named '{id}' does not exist."))
            }
        },
        ("POST", ("changes", "")) => change(&request.body, state),
        _ => refuse(404, "notFound", "there is nothing"),
    }
}

fn refuse(code: u16, reason: &str, message: &str) -> Answer {
    let one = json!({ "domain": "global", "reason": reason, "message": message });
    Some((code, json!({ "error": { "code": code, "message": message, "errors": [one] } })))
}

fn new_token(state: &mut State) -> Value {
    state.granted += 1;
    let token = format!("ya29.token-{}", state.granted);
    state.tokens.push(token.clone());
    json!({ "access_token": token, "expires_in": 3600, "token_type": "Bearer" })
}

/// A token for a statement that the account has signed.
fn grant(request: &Request, state: &mut State, public: &[u8]) -> (u16, Value) {
    let form = pairs(&request.body);
    let no = |why: &str| (400, json!({ "error": "invalid_grant", "error_description": why }));
    if form.get("grant_type").map(String::as_str) != Some("urn:ietf:params:oauth:grant-type:jwt-bearer") {
        return (400, json!({ "error": "unsupported_grant_type" }));
    }
    let Some((signed, signature)) = form.get("assertion").and_then(|jwt| jwt.rsplit_once('.')) else {
        return no("Invalid JWT.");
    };
    let part = |n: usize| {
        serde_json::from_slice::<Value>(&unsafe_url(signed.split('.').nth(n).unwrap_or_default())).unwrap_or_default()
    };
    let (head, claims) = (part(0), part(1));
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public);
    if head["alg"] != "RS256" || key.verify(signed.as_bytes(), &unsafe_url(signature)).is_err() {
        return no("Invalid JWT Signature.");
    }
    let now = jiff::Timestamp::now().as_second();
    let time = |key: &str| claims[key].as_i64().unwrap_or(0);
    if time("iat") > now + 60 || time("exp") < now || time("exp") > time("iat") + 3600 {
        return no("Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.");
    }
    let to_us = text(&claims, "aud").ends_with("/token");
    let scopes =
        ["https://www.googleapis.com/auth/ndev.clouddns.readwrite", "https://www.googleapis.com/auth/cloud-platform"];
    match claims["iss"] == ACCOUNT && to_us && text(&claims, "scope").split(' ').any(|scope| scopes.contains(&scope)) {
        true => (200, new_token(state)),
        false => no("Invalid grant: account not found"),
    }
}

/// Base64 out of a URL.
fn unsafe_url(encoded: &str) -> Vec<u8> {
    let padding = "=".repeat((4 - encoded.len() % 4) % 4);
    base64::decode(&(encoded.trim_end_matches('=').replace('-', "+").replace('_', "/") + &padding)).unwrap_or_default()
}

/// The double's pages are short, so that they are turned.
const PAGE: usize = 1;

fn list(query: &BTreeMap<String, String>, rrsets: &[Value]) -> (u16, Value) {
    let asked = |key: &str, of: &Value| query.get(key).is_none_or(|wanted| wanted == text(of, key));
    let all: Vec<&Value> = rrsets.iter().filter(|set| asked("name", set) && asked("type", set)).collect();
    let from = query.get("pageToken").and_then(|token| token.parse().ok()).unwrap_or(0);
    let mut answer = json!({ "kind": "dns#resourceRecordSetsListResponse", "rrsets": all.iter().skip(from).take(PAGE).collect::<Vec<_>>() });
    if from + PAGE < all.len() {
        answer["nextPageToken"] = json!((from + PAGE).to_string());
    }
    (200, answer)
}

/// A change as it is told; each look brings it nearer to its end.
fn told(id: usize, state: &mut State) -> Value {
    let left = &mut state.changes[id];
    let status = if *left > 0 { "pending" } else { "done" };
    *left = left.saturating_sub(1);
    json!({ "kind": "dns#change", "id": id.to_string(), "status": status, "startTime": "2026-01-01T00:00:00.000Z" })
}

fn changes(query: &BTreeMap<String, String>, state: &mut State) -> (u16, Value) {
    let mut all: Vec<Value> = (0..state.changes.len()).map(|id| told(id, state)).collect();
    if query.get("sortOrder").is_some_and(|order| order == "descending") {
        all.reverse();
    }
    all.truncate(query.get("maxResults").and_then(|n| n.parse().ok()).unwrap_or(100));
    (200, json!({ "kind": "dns#changesListResponse", "changes": all }))
}

/// What makes a record set that set and no other: without what is only told.
fn essence(set: &Value) -> Value {
    let mut set = set.clone();
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|key, _| key != "kind" && key != "signatureRrdatas");
                fields.values_mut().for_each(strip);
                if let Some(weight) = fields.get_mut("weight") {
                    *weight = json!(weight.as_f64());
                }
                if let Some(ttl) = fields.get("ttl").and_then(Value::as_str).and_then(|ttl| ttl.parse::<u64>().ok()) {
                    fields.insert("ttl".to_owned(), json!(ttl));
                }
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut set);
    set
}

fn change(body: &str, state: &mut State) -> Answer {
    if let Some(meddle) = state.meddle.take() {
        meddle(&mut state.rrsets);
    }
    let change: Value = serde_json::from_str(body).ok()?;
    let part = |key: &str| change[key].as_array().cloned().unwrap_or_default();
    let (gone, new) = (part("deletions"), part("additions"));
    if gone.is_empty() && new.is_empty() {
        return refuse(400, "required", "The 'entity.change' parameter is required but was missing.");
    }
    let mut rrsets = state.rrsets.clone();
    let same_name = |a: &Value, b: &Value| text(a, "name") == text(b, "name") && text(a, "type") == text(b, "type");
    for (n, set) in gone.iter().enumerate() {
        match rrsets.iter().position(|there| same_name(there, set)) {
            None => {
                let (name, rtype) = (text(set, "name"), text(set, "type"));
                let what =
                    format!("The 'entity.change.deletions[{n}]' resource named '{name} ({rtype})' does not exist.");
                return refuse(404, "notFound", &what);
            }
            Some(at) if essence(&rrsets[at]) != essence(set) => {
                return refuse(
                    412,
                    "conditionNotMet",
                    &format!("Precondition not met for 'entity.change.deletions[{n}]'"),
                );
            }
            Some(at) => drop(rrsets.remove(at)),
        }
    }
    for (n, set) in new.iter().enumerate() {
        let (name, rtype) = (text(set, "name"), text(set, "type"));
        if rrsets.iter().any(|there| same_name(there, set)) {
            let what = format!("The 'entity.change.additions[{n}]' resource named '{name} ({rtype})' already exists.");
            return refuse(409, "alreadyExists", &what);
        }
        if let Err(part) = check(set) {
            return refuse(400, "invalid", &format!("Invalid value for 'entity.change.additions[{n}].{part}'"));
        }
        let beside =
            |there: &Value| text(there, "name") == name && (rtype == "CNAME" || text(there, "type") == "CNAME");
        if rrsets.iter().any(beside) {
            return refuse(400, "cnameResourceRecordSetConflict", "a CNAME cannot stand beside others");
        }
        rrsets.push(shown(set));
    }
    state.rrsets = rrsets;
    state.changes.push(state.pending);
    if std::mem::take(&mut state.lose) {
        return None;
    }
    if std::mem::take(&mut state.fail) {
        return refuse(503, "backendError", "Backend Error");
    }
    let id = state.changes.len() - 1;
    Some((
        200,
        json!({ "kind": "dns#change", "id": id.to_string(), "status": "pending", "startTime": "2026-01-01T00:00:00.000Z" }),
    ))
}

/// What is added is told with all that the API adds.
fn shown(set: &Value) -> Value {
    let mut set = set.clone();
    set["kind"] = json!("dns#resourceRecordSet");
    set["ttl"] = json!(number(&set, "ttl"));
    set["signatureRrdatas"] = json!([]);
    set
}

/// Data or a policy, and in it addresses and weights that can be.
fn check(set: &Value) -> Result<(), &'static str> {
    if !text(set, "name").ends_with(DOMAIN) {
        return Err("name");
    }
    if number(set, "ttl").is_none_or(|ttl| ttl > 0x7fff_ffff) {
        return Err("ttl");
    }
    let data = |of: &Value| {
        let all = of["rrdatas"].as_array().cloned().unwrap_or_default();
        let good = |value: &Value| match text(set, "type") {
            "A" => value.as_str().is_some_and(|v| v.parse::<std::net::Ipv4Addr>().is_ok()),
            "AAAA" => value.as_str().is_some_and(|v| v.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6())),
            _ => value.is_string(),
        };
        let twice = all.iter().enumerate().any(|(n, value)| all[..n].contains(value));
        !all.is_empty() && all.iter().all(good) && !twice
    };
    match (set.get("rrdatas"), set.get("routingPolicy")) {
        (Some(_), None) => data(set).then_some(()).ok_or("rrdata"),
        (None, Some(policy)) => {
            let items = policy["wrr"]["items"].as_array().filter(|items| !items.is_empty()).ok_or("routingPolicy")?;
            let good =
                |item: &Value| item["weight"].as_f64().is_some_and(|w| (0.0..=1000.0).contains(&w)) && data(item);
            items.iter().all(good).then_some(()).ok_or("routingPolicy.wrr")
        }
        _ => Err("rrdata"),
    }
}

/// The zone as a name server answers it: of each weighted set one item, by turns.
fn served(rrsets: &[Value], turn: usize) -> Zone {
    let mut records = vec![Record { host: "@".to_owned(), rtype: "SOA".to_owned(), ttl: 300, data: String::new() }];
    for set in rrsets.iter().filter(|set| ["A", "AAAA"].contains(&text(set, "type"))) {
        let items: Vec<&Value> = set["routingPolicy"]["wrr"]["items"].as_array().into_iter().flatten().collect();
        let with_weight: Vec<&Value> = items.into_iter().filter(|item| item["weight"].as_f64() > Some(0.0)).collect();
        let drawn = if with_weight.is_empty() { set } else { with_weight[turn % with_weight.len()] };
        let host = text(set, "name").trim_end_matches(DOMAIN).trim_end_matches('.');
        for value in drawn["rrdatas"].as_array().into_iter().flatten() {
            records.push(Record {
                host: if host.is_empty() { "@".to_owned() } else { host.to_owned() },
                rtype: text(set, "type").to_owned(),
                ttl: set["ttl"].as_u64().and_then(|ttl| u32::try_from(ttl).ok()).unwrap_or(0),
                data: value.as_str().unwrap_or_default().to_owned(),
            });
        }
    }
    Zone { name: DOMAIN.trim_end_matches('.').to_owned(), serial: 1, records }
}
