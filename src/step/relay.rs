//! A forwarder on a drained source for clients that still come to its old address.

use std::fmt;
use std::net::SocketAddrV4;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Class, Ends, Kind, Live, Mark, Played, Preview, Step, Undo};
use crate::model::OnDrift;
use crate::text;

/// Where those go on to that come to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The port on the source.
    pub port: u16,
    /// The address of the new side.
    pub to: SocketAddrV4,
}

/// Lets nftables on a source send new clients on to the new side; those that are established go on as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayStep {
    /// Inventory name of the source.
    pub host: String,
    /// The address by which it is known, for people.
    pub address: String,
    /// What goes where.
    pub routes: Vec<Route>,
    /// What happens when it is found gone.
    pub on_drift: OnDrift,
}

/// Waits until nobody comes to a source any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StragglersStep {
    /// Id of the step that set the relay.
    pub by: String,
    /// What it set.
    pub relay: RelayStep,
    /// How long nobody may have come, and nothing may have been carried.
    pub quiet_for: Duration,
    /// How often it is looked.
    pub interval: Duration,
}

/// Takes a relay away once nobody needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnrelayStep {
    /// What was set.
    pub relay: RelayStep,
}

/// The flags of a packet that begins a connection. Connection tracking takes up established connections as new ones: those are left alone.
const BEGINS: &str = "tcp flags & (fin|syn|rst|ack) == syn";

impl RelayStep {
    /// The table of nftables, named by the run and the source.
    pub fn table(&self, run: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        format!("migrate_relay_{run}_{}", self.host).chars().map(plain).take(100).collect()
    }

    /// What is in the table, but for the chain that is only there where the host forwarded nothing before.
    pub fn rules(&self) -> String {
        let mut rules = String::from(
            "counter came { }\ncounter answered { }\ncounter carried { }\n\
             set clients { type ipv4_addr; size 4096; flags dynamic; }\n\
             chain come { type nat hook prerouting priority -110; policy accept;\n",
        );
        for Route { port, to } in &self.routes {
            let (ip, new) = (to.ip(), to.port());
            // Counting stands by itself: a set that is full ends its rule, and must not end the relay.
            let counted = "counter name \"came\" add @clients { ip saddr counter }";
            rules.push_str(&format!(
                "fib daddr type local tcp dport {port} {BEGINS} {counted}\n\
                 fib daddr type local tcp dport {port} {BEGINS} dnat to {ip}:{new}\n"
            ));
        }
        rules.push_str("}\nchain go { type nat hook postrouting priority 90; policy accept;\n");
        for Route { to, .. } in &self.routes {
            rules.push_str(&format!("ct status dnat ip daddr {} tcp dport {} masquerade\n", to.ip(), to.port()));
        }
        rules.push_str("}\nchain pass { type filter hook forward priority -10; policy accept;\n");
        for Route { to, .. } in &self.routes {
            let (ip, new) = (to.ip(), to.port());
            rules.push_str(&format!(
                "ct status dnat ip daddr {ip} tcp dport {new} counter name \"carried\"\n\
                 ct status dnat ip saddr {ip} tcp sport {new} tcp flags & (syn|ack) == (syn|ack) counter name \"answered\"\n"
            ));
        }
        rules.push_str("}\n");
        rules
    }

    /// The chain that is there where the host forwarded nothing before: it forwards nothing else now.
    pub fn shut() -> String {
        "chain shut { type filter hook forward priority -5; policy accept;\nct status dnat accept\ndrop\n}\n".to_owned()
    }

    /// The status of [`Self::reach`] where nobody answers.
    pub const UNREACHED: i32 = 9;

    /// The same where nobody can try.
    pub const UNTRIED: i32 = 10;

    /// A command for the source that tells whether it reaches the new side.
    pub fn reach(&self) -> String {
        let mut script = String::from("command -v bash >/dev/null && command -v timeout >/dev/null || exit 10\n");
        for to in self.routes.iter().map(|route| route.to) {
            let (ip, port, no) = (to.ip(), to.port(), Self::UNREACHED);
            script.push_str(&format!("timeout 5 bash -c 'exec 3<>/dev/tcp/{ip}/{port}' 2>/dev/null || exit {no}\n"));
        }
        script
    }

    /// Old addresses and new ones.
    pub fn told(&self) -> String {
        text::list(&self.routes.iter().map(|route| format!("{}:{route}", self.address)).collect::<Vec<_>>())
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {}", self.port, self.to)
    }
}

impl Kind for RelayStep {
    fn class(&self) -> Class {
        Class::Convergent
    }

    fn phase(&self) -> &'static str {
        "relay"
    }

    fn describe(&self) -> String {
        format!("nftables on {} sends on who still comes: {}", self.host, self.told())
    }

    fn hosts(&self) -> Option<Vec<&str>> {
        Some(vec![&self.host])
    }

    fn undo(&self) -> Undo<'_> {
        Undo::Relay(self)
    }

    fn preview(&self, _: &Step, live: &dyn Live, _: &mut Played) -> Preview {
        match live.relay(&self.host) {
            Some(true) => {
                Preview { seen: Some("it takes the rules, and reaches the new side".to_owned()), mark: Mark::Verified }
            }
            Some(false) => Preview {
                seen: Some("it takes the rules; whether it reaches the new side is looked at again".to_owned()),
                mark: Mark::Assumed,
            },
            None => Preview { seen: None, mark: Mark::Assumed },
        }
    }
}

impl Kind for StragglersStep {
    fn class(&self) -> Class {
        Class::Reading
    }

    fn phase(&self) -> &'static str {
        "stragglers"
    }

    fn describe(&self) -> String {
        format!(
            "until nobody has come to the old address of {} for {}",
            self.relay.host,
            text::duration(self.quiet_for)
        )
    }

    fn ends(&self, run: &str, step: &str) -> Ends {
        Ends::when("it has been quiet for so long without a gap")
            .otherwise(format!("; sooner: migrate approve {run} {step}"))
    }

    fn hosts(&self) -> Option<Vec<&str>> {
        Some(vec![&self.relay.host])
    }

    fn stands_aside(&self) -> bool {
        true
    }

    fn takes(&self, _: &Step, _: &dyn Live) -> Duration {
        // The move itself does not wait for it.
        Duration::ZERO
    }
}

impl Kind for UnrelayStep {
    fn class(&self) -> Class {
        Class::Convergent
    }

    fn phase(&self) -> &'static str {
        "unrelay"
    }

    fn describe(&self) -> String {
        format!("nftables on {} sends nobody on any more", self.relay.host)
    }

    fn ends(&self, _: &str, _: &str) -> Ends {
        Ends::when("the table is gone")
    }

    fn hosts(&self) -> Option<Vec<&str>> {
        Some(vec![&self.relay.host])
    }

    fn takes(&self, _: &Step, _: &dyn Live) -> Duration {
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_counted_before_it_is_sent_on() {
        let route = |port, to: &str| Route { port, to: to.parse().unwrap() };
        let relay = RelayStep {
            host: "dal-1.example".into(),
            address: "10.1.0.11".into(),
            routes: vec![route(443, "10.8.0.10:443"), route(80, "10.8.0.10:8080")],
            on_drift: OnDrift::Hold,
        };
        assert_eq!(relay.table("web-3"), "migrate_relay_web_3_dal_1_example");
        assert_eq!(relay.told(), "10.1.0.11:443 → 10.8.0.10:443 and 10.1.0.11:80 → 10.8.0.10:8080");
        let rules = relay.rules();
        let at = |what: &str| rules.find(what).unwrap_or_else(|| panic!("{what} in {rules}"));
        assert!(at("tcp dport 80 tcp flags & (fin|syn|rst|ack) == syn counter") < at("dnat to 10.8.0.10:8080"));
        assert!(at("ip daddr 10.8.0.10 tcp dport 443 masquerade") > at("dnat to 10.8.0.10:443"));
    }
}
