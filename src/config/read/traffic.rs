//! Who decides where a service's traffic goes.

use std::time::Duration;

use crate::model::OnDrift;
use crate::traffic::MAX_TTL;
use crate::yaml::map::one_of;
use crate::yaml::reader::Value;
use crate::yaml::source::Located;

use crate::fields::template::{self, Role, Sides, Unfit, Use};

/// The binding to a director; `member` has a default that depends on the director's kind.
#[derive(Debug, Clone)]
pub struct TrafficDraft {
    pub director: Located<String>,
    pub pool: Located<String>,
    pub member: Option<Use>,
    pub address: Option<Use>,
    pub absent_sources: bool,
    pub others_stay: bool,
    pub port: Option<Use>,
    pub ttl: Option<Located<Duration>>,
    pub on_drift: OnDrift,
}

/// Directors of one service: more are a mistake.
const MOST: usize = 16;

/// Reads `traffic`: a director, or a list of them. `None` when one of them cannot be read.
pub fn read(value: Value<'_>) -> Option<Vec<TrafficDraft>> {
    let items = value.one_or_many();
    if items.is_empty() {
        value.error("`traffic` is an empty list", "leave it out");
    }
    if items.len() > MOST {
        let message = format!("`traffic` has {} entries, more than the limit of {MOST}", items.len());
        value.error(message, "make several services of it");
    }
    // All of them are read, so that all that is wrong is said.
    let read: Vec<Option<TrafficDraft>> = items.into_iter().take(MOST).map(read_one).collect();
    read.into_iter().collect::<Option<Vec<_>>>().filter(|read| !read.is_empty())
}

fn read_one(value: Value<'_>) -> Option<TrafficDraft> {
    value.map("traffic", "traffic: {director: edge, pool: uploads}", |m| {
        let director = m.need("director", "edge").and_then(|v| v.identifier("a director", "edge"));
        let pool = m.need("pool", "uploads").and_then(|v| v.line("the name of a pool", "pool: uploads"));
        let member = m
            .get("member")
            .map(|v| template::read(v, Role::Member, Sides::Both, "the name of a member", "member: \"{{ name }}\""));
        let address = m
            .get("address")
            .map(|v| template::read(v, Role::Own(address), Sides::Both, "an IP address", "address: \"{{ private }}\""));
        let absent_sources = m.get("absent_sources").and_then(|v| v.bool()).unwrap_or(false);
        let others_stay = m.get("others_stay").and_then(|v| v.bool()).unwrap_or(false);
        let port = m.get("port").map(|v| template::read(v, Role::Port, Sides::Both, "a port", "port: 8080"));
        let ttl = m.get("ttl").map(|v| ttl(v).map(|value| Located { value, at: v.at() }));
        let on_drift = m.get("on_drift").and_then(|v| one_of(v, "a choice", "choices", &OnDrift::WORDS));
        let keep = |given: Option<Option<Use>>| given.map_or(Some(None), |g| g.map(Some));
        Some(TrafficDraft {
            director: director?,
            pool: pool?,
            member: keep(member)?,
            address: keep(address)?,
            absent_sources,
            others_stay,
            port: keep(port)?,
            ttl: ttl.map_or(Some(None), |t| t.map(Some))?,
            on_drift: on_drift.map_or(OnDrift::Hold, |l| l.value),
        })
    })?
}

fn address(text: &str) -> Result<(), Unfit> {
    let fits = text == "any" || text.parse::<std::net::IpAddr>().is_ok();
    let unfit =
        || Unfit::new("is not an IP address", "use a variable that holds the address which the member has, or `any`");
    fits.then_some(()).ok_or_else(unfit)
}

fn ttl(value: Value<'_>) -> Option<Duration> {
    let ttl = value.duration(Duration::from_secs(1)..=MAX_TTL)?;
    if ttl.subsec_nanos() > 0 {
        value.error("`ttl` takes whole seconds", "for example `ttl: 5s`");
        return None;
    }
    Some(ttl)
}
