//! One balancer as SoftLayer tells of it, and what is asked of it.
//!
//! Must never take a balancer whose name is not exactly the one that was asked for, whatever a list holds.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::model::{Member, Mode};
use crate::outside::{Error, Kind};
use crate::softlayer::{Api, Call, Failed};
use crate::text::escape;

const SERVICE: &str = "Network_LBaaS_LoadBalancer";

/// Every field by name: what a mask does not name may come or not.
const MASK: &str = "mask[id,uuid,name,type,operatingStatus,provisioningStatus,previousErrorText,members[uuid,address,weight,provisioningStatus],
    listeners[uuid,protocolPort,defaultPool[uuid,loadBalancingAlgorithm,sessionAffinity[type]]],l7Pools[uuid,name,l7Members[uuid,address]]]";

/// The algorithm under which weights count.
const WEIGHTED: &str = "WEIGHTED_RR";

/// A balancer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balancer {
    uuid: String,
    /// `ACTIVE`, or what it is at work on.
    pub status: String,
    /// Why its last change did not come about, where it says so.
    pub trouble: Option<String>,
    pub members: BTreeMap<String, Entry>,
    /// Its ports, and how each chooses.
    listeners: Vec<(u64, String)>,
    pub pins: Vec<String>,
    /// Addresses that rules of their own send traffic to.
    elsewhere: BTreeSet<String>,
}

/// A member, behind its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    uuid: String,
    pub weight: u16,
}

fn text(value: &Value, key: &str) -> Option<String> {
    Some(escape(value.get(key)?.as_str()?.as_bytes(), 200)).filter(|text| !text.is_empty())
}

fn number(value: &Value, key: &str) -> Option<u64> {
    let value = value.get(key)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

impl Balancer {
    /// The one of this name.
    pub async fn read(api: &Api, name: &str) -> Result<Self, Error> {
        let call = Call { service: SERVICE, method: "getAllObjects", mask: Some(MASK), ..Call::default() };
        let wanted = json!({ "operation": name });
        let rows = api.list(&call, "", &Map::from_iter([("name".to_owned(), wanted)])).await?;
        let mut found = rows.iter().filter(|row| row.get("name").and_then(Value::as_str) == Some(name));
        let refused = |what: String| Error::new(api.at(), Kind::Refused, what);
        match (found.next(), found.next()) {
            (Some(row), None) => Self::of(row)
                .ok_or_else(|| refused(format!("what SoftLayer says of the balancer {name} cannot be read"))),
            (Some(_), Some(_)) => Err(refused(format!("there are two balancers called {name}"))),
            (None, _) => Err(refused(format!("there is no balancer called {name}"))
                .hint("`slcli loadbal list` shows their names; the pool of a plan is one of them")),
        }
    }

    fn of(row: &Value) -> Option<Self> {
        let member = |row: &Value| {
            let weight = u16::try_from(number(row, "weight")?).ok()?;
            Some((text(row, "address")?, Entry { uuid: text(row, "uuid")?, weight }))
        };
        let pool = |row: &Value| row.get("defaultPool").filter(|pool| pool.is_object()).cloned();
        let listener = |row: &Value| {
            let chooses = pool(row).and_then(|pool| text(&pool, "loadBalancingAlgorithm"));
            (number(row, "protocolPort").unwrap_or(0), chooses.unwrap_or_default())
        };
        let pins = |row: &Value| {
            let pins = pool(row)?.get("sessionAffinity").and_then(|pins| text(pins, "type"))?;
            Some(format!("{pins} at port {}", number(row, "protocolPort").unwrap_or(0)))
        };
        let members = list(row, "members").map(member).collect::<Option<BTreeMap<_, _>>>()?;
        Some(Self {
            uuid: text(row, "uuid")?,
            status: text(row, "provisioningStatus")?,
            trouble: text(row, "previousErrorText"),
            members,
            listeners: list(row, "listeners").map(listener).collect(),
            pins: list(row, "listeners").filter_map(pins).collect(),
            elsewhere: list(row, "l7Pools")
                .flat_map(|pool| list(pool, "l7Members"))
                .filter_map(|member| text(member, "address"))
                .collect(),
        })
    }

    /// Whether it takes changes now.
    pub fn is_active(&self) -> bool {
        self.status == "ACTIVE"
    }

    /// How it chooses, for people.
    pub fn chooses(&self) -> String {
        let all: BTreeSet<&str> = self.listeners.iter().map(|(_, chooses)| chooses.as_str()).collect();
        all.into_iter().collect::<Vec<_>>().join(", ")
    }

    /// Why its weights do not say who gets its traffic; `None` where they do.
    pub fn ignores_weights(&self) -> Option<(String, &'static str)> {
        if self.listeners.is_empty() {
            return Some((
                "it has no listener: nobody gets anything by it".to_owned(),
                "`slcli loadbal pool-add` gives it one",
            ));
        }
        if let Some((port, chooses)) = self.listeners.iter().find(|(_, chooses)| chooses != WEIGHTED) {
            let what = format!("its port {port} chooses by {chooses}, and weights count under {WEIGHTED} alone");
            return Some((what, "set that first: `slcli loadbal pool-edit NAME LISTENER --method WEIGHTED_RR`"));
        }
        let shared: Vec<&String> = self.members.keys().filter(|address| self.elsewhere.contains(*address)).collect();
        let first = shared.first()?;
        let what = format!("{first} gets traffic by a rule (L7 policy), too, whatever its weight is");
        Some((what, "take those rules away first, or their pools' members"))
    }

    /// Whether each member is up, where the balancer says so: in all of its pools.
    pub async fn health(&self, api: &Api) -> Result<BTreeMap<String, bool>, Error> {
        let call = Call {
            service: SERVICE,
            method: "getLoadBalancerMemberHealth",
            parameters: vec![json!(self.uuid)],
            ..Call::default()
        };
        let pools = api.read(&call).await?;
        let mut up: BTreeMap<String, bool> = BTreeMap::new();
        for member in pools.as_array().into_iter().flatten().flat_map(|pool| list(pool, "membersHealth")) {
            if let (Some(uuid), Some(status)) = (text(member, "uuid"), text(member, "status")) {
                let is_up = up.entry(uuid).or_insert(true);
                *is_up &= status == "UP";
            }
        }
        Ok(up)
    }

    /// Its members as those of a pool.
    pub fn as_members(&self, up: &BTreeMap<String, bool>) -> Vec<Member> {
        let member = |(address, entry): (&String, &Entry)| Member {
            name: address.clone(),
            weight: entry.weight,
            mode: Mode::Ready,
            connections: None,
            sessions: None,
            up: up.get(&entry.uuid).copied(),
        };
        self.members.iter().map(member).collect()
    }

    /// Sets weights, all in one call: each call keeps the balancer busy for a while.
    pub async fn set(&self, api: &Api, weights: &BTreeMap<String, u16>) -> Result<(), Failed> {
        let set = weights
            .iter()
            .filter_map(|(address, weight)| Some(json!({ "uuid": self.members.get(address)?.uuid, "weight": weight })));
        let call = Call {
            service: "Network_LBaaS_Member",
            method: "updateLoadBalancerMembers",
            parameters: vec![json!(self.uuid), set.collect()],
            ..Call::default()
        };
        api.write(&call).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(chooses: &str, rules: &str) -> Value {
        json!({
            "uuid": "u1", "name": "web", "provisioningStatus": "ACTIVE", "previousErrorText": "",
            "members": [{ "uuid": "m1", "address": "10.1.0.11", "weight": "50" }, { "uuid": "m2", "address": "10.1.0.12", "weight": 0 }],
            "listeners": [
                { "uuid": "l1", "protocolPort": 80, "defaultPool": { "loadBalancingAlgorithm": "WEIGHTED_RR" } },
                { "uuid": "l2", "protocolPort": 443, "defaultPool": { "loadBalancingAlgorithm": chooses, "sessionAffinity": { "type": "SOURCE_IP" } } },
            ],
            "l7Pools": [{ "name": "r", "l7Members": [{ "address": rules }] }],
        })
    }

    #[test]
    fn weights_count_where_every_port_follows_them_and_nothing_goes_by_other_ways() {
        let of = |chooses: &str, rules: &str| Balancer::of(&row(chooses, rules)).unwrap();
        let good = of("WEIGHTED_RR", "10.9.9.9");
        assert_eq!(good.ignores_weights(), None);
        assert_eq!(good.members["10.1.0.11"].weight, 50);
        assert_eq!((good.trouble.as_deref(), good.pins.as_slice()), (None, &["SOURCE_IP at port 443".to_owned()][..]));
        assert!(
            of("ROUNDROBIN", "10.9.9.9").ignores_weights().unwrap().0.contains("its port 443 chooses by ROUNDROBIN")
        );
        assert!(
            of("WEIGHTED_RR", "10.1.0.12").ignores_weights().unwrap().0.contains("10.1.0.12 gets traffic by a rule")
        );
        assert!(Balancer::of(&json!({ "uuid": "u", "provisioningStatus": "ACTIVE", "members": [{}] })).is_none());
    }
}
