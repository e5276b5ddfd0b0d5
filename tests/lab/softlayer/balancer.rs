//! Balancers (LBaaS): one change at a time, and for a while after each they are at work and take no other one.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::calls::{Answer, Call};
use super::refused::Refused;
use super::world::World;

/// The balancers of an account.
#[derive(Debug, Default)]
pub struct Balancers {
    pub all: Vec<Value>,
    /// How long each change keeps its balancer busy.
    pub busy_for: Duration,
    /// Until when which balancer is busy.
    busy: Vec<(String, Instant)>,
}

fn done(value: Value) -> Result<Answer, Refused> {
    Ok(Answer { value, total: None })
}

fn same(value: &Value, uuid: &str) -> bool {
    value["uuid"] == uuid
}

impl World {
    /// Puts a balancer into the account that listens at port 80 and chooses in this way, with these members and weights.
    pub fn add_balancer(&mut self, name: &str, chooses: &str, members: &[(&str, u16)]) -> u64 {
        let id = self.id();
        let members: Vec<Value> = members.iter().map(|(address, weight)| member(self.id(), address, *weight)).collect();
        let monitor = json!({
            "id": self.id(), "uuid": format!("monitor-{id}"), "monitorType": "HTTP", "interval": 5, "maxRetries": 2, "timeout": 2,
            "urlPath": "/", "provisioningStatus": "ACTIVE",
        });
        let pool = json!({
            "uuid": format!("pool-{id}"), "protocol": "HTTP", "protocolPort": 8080, "loadBalancingAlgorithm": chooses,
            "provisioningStatus": "ACTIVE", "healthMonitor": monitor, "sessionAffinity": null,
        });
        let listener = json!({
            "id": self.id(), "uuid": format!("listener-{id}"), "protocol": "HTTP", "protocolPort": 80, "provisioningStatus": "ACTIVE",
            "connectionLimit": null, "createDate": "2019-05-03T10:12:00-06:00", "defaultPool": pool, "l7Policies": [],
        });
        self.balancers.all.push(json!({
            "id": id, "uuid": format!("balancer-{id}"), "name": name, "description": "", "address": format!("{name}-1.lb.appdomain.cloud"),
            "type": 1, "isPublic": 1, "accountId": 278444, "createDate": "2019-05-03T10:12:00-06:00", "operatingStatus": "ONLINE",
            "provisioningStatus": "ACTIVE", "previousErrorText": null, "datacenter": { "id": 265592, "name": "dal10", "longName": "Dallas 10" },
            "listeners": [listener], "members": members, "healthMonitors": [monitor], "l7Pools": [], "sslCiphers": [],
        }));
        id
    }

    /// Address and weight of each member.
    pub fn weights(&self, balancer: &str) -> Vec<(String, u64)> {
        let found = self.balancers.all.iter().find(|b| b["name"] == balancer).expect("a balancer");
        let members = found["members"].as_array().into_iter().flatten();
        members
            .map(|m| (m["address"].as_str().unwrap_or_default().to_owned(), m["weight"].as_u64().unwrap_or(0)))
            .collect()
    }

    /// A balancer stays busy for so long, whatever it does.
    pub fn keep_busy(&mut self, balancer: &str, time: Duration) {
        let found = self.balancers.all.iter_mut().find(|b| b["name"] == balancer).expect("a balancer");
        found["provisioningStatus"] = "UPDATE_PENDING".into();
        let uuid = found["uuid"].as_str().unwrap_or_default().to_owned();
        self.balancers.busy.push((uuid, Instant::now() + time));
    }

    /// What is over is over.
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        let over = self.balancers.busy.extract_if(.., |(_, until)| *until <= now);
        let over: Vec<String> = over.map(|(uuid, _)| uuid).collect();
        for balancer in &mut self.balancers.all {
            if over.iter().any(|uuid| same(balancer, uuid)) {
                balancer["provisioningStatus"] = "ACTIVE".into();
            }
        }
    }

    /// A call about balancers that is no getter of a property; `None` for others.
    pub(super) fn balance(&mut self, call: &Call) -> Option<Result<Answer, Refused>> {
        let act = match (call.service.as_str(), call.method.as_str()) {
            ("Network_LBaaS_LoadBalancer", "getLoadBalancerMemberHealth") => return Some(self.health(call)),
            ("Network_LBaaS_Member", "updateLoadBalancerMembers") => update,
            ("Network_LBaaS_Member", "addLoadBalancerMembers") => add,
            ("Network_LBaaS_Member", "deleteLoadBalancerMembers") => remove,
            ("Network_LBaaS_Listener", "updateLoadBalancerProtocols") => edit,
            _ => return None,
        };
        Some(self.change(call, act))
    }

    /// The balancer that the first parameter names.
    fn named(&self, call: &Call) -> Result<usize, Refused> {
        let uuid = call.parameters.first().and_then(Value::as_str).unwrap_or_default();
        let missing =
            || Refused::new(404, "Network_LBaaS_ObjectNotFound", format!("Load balancer uuid={uuid} not found."));
        self.balancers.all.iter().position(|balancer| same(balancer, uuid)).ok_or_else(missing)
    }

    fn health(&mut self, call: &Call) -> Result<Answer, Refused> {
        let at = self.named(call)?;
        let balancer = &self.balancers.all[at];
        let of =
            |m: &Value| json!({ "uuid": m["uuid"], "status": m.get("health").cloned().unwrap_or_else(|| "UP".into()) });
        let members: Vec<Value> = balancer["members"].as_array().into_iter().flatten().map(of).collect();
        let pools = balancer["listeners"].as_array().into_iter().flatten();
        done(pools.map(|l| json!({ "poolUuid": l["defaultPool"]["uuid"], "membersHealth": members })).collect())
    }

    fn change(
        &mut self,
        call: &Call,
        act: fn(&mut Value, &[Value], u64) -> Result<(), Refused>,
    ) -> Result<Answer, Refused> {
        let (at, id) = (self.named(call)?, self.id());
        let balancer = &mut self.balancers.all[at];
        let uuid = balancer["uuid"].as_str().unwrap_or_default().to_owned();
        let status = balancer["provisioningStatus"].as_str().unwrap_or_default().to_owned();
        if status != "ACTIVE" {
            let text = format!("Load balancer uuid={uuid} cannot be updated. The object is in state {status}.");
            return Err(Refused::new(500, "Network_LBaaS_ObjectInInvalidState", text));
        }
        let items = call.parameters.get(1).and_then(Value::as_array).cloned().unwrap_or_default();
        act(balancer, &items, id)?;
        balancer["provisioningStatus"] = "UPDATE_PENDING".into();
        let answer = balancer.clone();
        self.balancers.busy.push((uuid, Instant::now() + self.balancers.busy_for));
        done(answer)
    }
}

fn member(id: u64, address: &str, weight: u16) -> Value {
    json!({
        "id": id, "uuid": format!("member-{id}"), "address": address, "weight": weight, "provisioningStatus": "ACTIVE",
        "createDate": "2019-05-03T10:12:00-06:00", "modifyDate": "2019-05-03T10:12:00-06:00",
    })
}

fn members(balancer: &mut Value) -> &mut Vec<Value> {
    balancer["members"].as_array_mut().expect("a list")
}

/// All or none.
fn update(balancer: &mut Value, items: &[Value], _: u64) -> Result<(), Refused> {
    for item in items {
        let (uuid, weight) = (item["uuid"].as_str().unwrap_or_default(), item["weight"].as_u64());
        if !members(balancer).iter().any(|member| same(member, uuid)) {
            return Err(Refused::new(404, "Network_LBaaS_ObjectNotFound", format!("Member uuid={uuid} not found.")));
        }
        if weight.is_none_or(|weight| weight > 100) {
            let text = format!(
                "Member weight {} is provided for member {uuid}. The allowed weight value is 0-100",
                item["weight"]
            );
            return Err(Refused::new(500, "Public", text));
        }
    }
    for item in items {
        let found = members(balancer).iter_mut().find(|member| member["uuid"] == item["uuid"]);
        found.expect("it was looked for")["weight"] = item["weight"].clone();
    }
    Ok(())
}

fn add(balancer: &mut Value, items: &[Value], id: u64) -> Result<(), Refused> {
    for (item, n) in items.iter().zip(0..) {
        let address =
            item["privateIpAddress"].as_str().or_else(|| item["publicIpAddress"].as_str()).unwrap_or_default();
        // Those of the account are its private ones.
        if !address.starts_with("10.") {
            return Err(Refused::new(500, "Public", format!("{address} is not an IBM Cloud address.")));
        }
        let weight = item["weight"].as_u64().and_then(|w| u16::try_from(w).ok()).unwrap_or(50);
        members(balancer).push(member(10_000 * id + n, address, weight));
    }
    Ok(())
}

fn remove(balancer: &mut Value, items: &[Value], _: u64) -> Result<(), Refused> {
    members(balancer).retain(|member| !items.contains(&member["uuid"]));
    Ok(())
}

fn edit(balancer: &mut Value, items: &[Value], _: u64) -> Result<(), Refused> {
    for item in items {
        let listeners = balancer["listeners"].as_array_mut().expect("a list");
        let found = listeners.iter_mut().find(|listener| listener["uuid"] == item["listenerUuid"]);
        let found = found.ok_or_else(|| Refused::new(404, "Network_LBaaS_ObjectNotFound", "Listener not found."))?;
        if let Some(chooses) = item.get("loadBalancingMethod") {
            found["defaultPool"]["loadBalancingAlgorithm"] = chooses.clone();
        }
    }
    Ok(())
}
