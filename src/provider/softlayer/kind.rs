//! Which machine of SoftLayer a host is, by what the inventory says of it, and when such a machine can end.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::{Machine, Provider, ProviderKind};
use super::settings::When;
use super::{Account, Settings};
use crate::model::Host;
use crate::model::finding::Finding;
use crate::secret::Secrets;

/// The variables of a host that say which machine it is, as the source `softlayer` gives them.
const ID: &str = "softlayer_id";
const KIND: &str = "softlayer_kind";
const NAME: &str = "fqdn";
/// By what its cancellation is found once the machine is gone.
const BILL: &str = "billing_item";

/// The words for kinds of machines, and the services behind them.
pub(super) const SERVICES: [(&str, &str); 2] = [("hardware", "Hardware_Server"), ("virtual_guest", "Virtual_Guest")];

impl ProviderKind for Settings {
    fn title(&self) -> &'static str {
        "SoftLayer"
    }

    fn machine(&self, host: &Host) -> Result<Machine, Finding> {
        let refused = |what: String| {
            let hint = "take the host from a `sources:` of kind `softlayer`, or give it these variables by hand";
            Finding::refused(&host.name, format!("cannot be given back: {what}")).hint(hint)
        };
        let var = |key: &str| {
            let found = host.vars.get(key).filter(|value| !value.is_empty());
            found.ok_or_else(|| refused(format!("the inventory has no `{key}` for it")))
        };
        let (id, kind, name, bill) = (var(ID)?, var(KIND)?, var(NAME)?, var(BILL)?);
        if id.parse::<u64>().is_err() {
            return Err(refused(format!("`{ID}` is {id}, which is no id of SoftLayer")));
        }
        if !SERVICES.iter().any(|(word, _)| word == kind) {
            return Err(refused(format!("`{KIND}` is {kind}, which is neither hardware nor virtual_guest")));
        }
        let ways = [Some(&host.address), host.ssh.address.as_ref()].into_iter().flatten();
        let mut addresses: Vec<String> = ways.filter(|a| a.parse::<IpAddr>().is_ok()).cloned().collect();
        addresses.dedup();
        if addresses.is_empty() {
            let what = format!("it is reached by a name ({}), which cannot be compared with SoftLayer's", host.address);
            return Err(refused(what));
        }
        let hourly = host.vars.get("billing").is_some_and(|billing| billing == "hourly");
        if self.when == When::Immediately && kind == "hardware" && !hourly {
            let what = "cannot be given back immediately: SoftLayer lets hardware that is billed by the month end at its next bill";
            return Err(Finding::refused(&host.name, what).hint("say `when: next_bill`"));
        }
        let (id, kind, name) = (id.clone(), kind.clone(), name.to_ascii_lowercase());
        Ok(Machine { host: host.name.clone(), kind, id, name, addresses, bill: Some(bill.clone()) })
    }

    fn when(&self) -> &'static str {
        match self.when {
            When::NextBill => "at its next bill",
            When::Immediately => "at once",
        }
    }

    fn is_revocable(&self) -> bool {
        self.when == When::NextBill
    }

    fn connect(&self, secrets: Arc<dyn Secrets>) -> Arc<dyn Provider> {
        Arc::new(Account { settings: self.clone(), secrets })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::SshTarget;
    use crate::softlayer::Access;

    fn host(address: &str, vars: &[(&str, &str)]) -> Host {
        let vars: BTreeMap<String, String> = vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Host {
            name: "chat01".into(),
            site: None,
            address: address.into(),
            ssh: SshTarget::default(),
            tags: Default::default(),
            capacity: 100,
            cost_per_month: None,
            vars,
        }
    }

    fn settings(when: When) -> Settings {
        Settings { access: Access::default(), when, reason: "No longer needed".into(), note: None }
    }

    const KNOWN: [(&str, &str); 4] = [(ID, "1001"), (KIND, "hardware"), (NAME, "Chat01.example.com"), (BILL, "1002")];

    #[test]
    fn a_host_is_a_machine_where_the_inventory_says_enough_of_it() {
        let found = settings(When::NextBill).machine(&host("10.1.0.11", &KNOWN)).unwrap();
        assert_eq!(found.to_string(), "hardware 1001 (chat01.example.com)");
        assert_eq!((found.addresses, found.bill.as_deref()), (vec!["10.1.0.11".to_owned()], Some("1002")));
    }

    #[test]
    fn what_the_inventory_does_not_say_is_no_guess() {
        let refused =
            |when, address: &str, vars: &[(&str, &str)]| settings(when).machine(&host(address, vars)).unwrap_err().what;
        for (n, (key, _)) in KNOWN.iter().enumerate() {
            let less: Vec<_> = KNOWN.iter().enumerate().filter(|(at, _)| *at != n).map(|(_, v)| *v).collect();
            let what = refused(When::NextBill, "10.1.0.11", &less);
            assert!(what.ends_with(&format!("the inventory has no `{key}` for it")), "{what}");
        }
        let by_name = refused(When::NextBill, "chat01.example.com", &KNOWN);
        assert!(by_name.contains("by a name (chat01.example.com)"), "{by_name}");
        let odd = [(ID, "x1"), KNOWN[1], KNOWN[2], KNOWN[3]];
        assert!(refused(When::NextBill, "10.1.0.11", &odd).contains("no id of SoftLayer"));
        let now = refused(When::Immediately, "10.1.0.11", &KNOWN);
        assert!(now.contains("end at its next bill"), "{now}");
        let hourly = [&KNOWN[..], &[("billing", "hourly")]].concat();
        assert!(settings(When::Immediately).machine(&host("10.1.0.11", &hourly)).is_ok());
    }
}
