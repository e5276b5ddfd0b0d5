//! Machines of SoftLayer are given back: the double held to slcli, and what the provider makes of it on good and on bad days.

use std::collections::BTreeMap;
use std::sync::Arc;

use migrate::outside::{Certainty, Error};
use migrate::provider::{Connected, Machine, Provider, ProviderConfig, Providers, Standing};
use migrate::secret::{Secret, SecretError, SecretRef, Secrets};
use serde_json::json;

use crate::lab::softlayer::cli::{run as slcli, said};
use crate::lab::softlayer::world::{self, World};
use crate::lab::softlayer::{Fault, KEY, SoftLayer, USER};

/// Secrets under the names of environment variables, without an environment.
struct Known(BTreeMap<&'static str, &'static str>);

impl Secrets for Known {
    fn resolve(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        let SecretRef::Env(name) = reference else { panic!("tests keep secrets under `env`") };
        let missing = SecretError { from: name.clone(), why: "not there".into() };
        self.0.get(name.as_str()).map(|value| Secret::new(*value)).ok_or(missing)
    }
}

struct Lab {
    api: SoftLayer,
    machine: Machine,
}

impl Lab {
    fn start() -> Self {
        Self::of(&world::Machine { hostname: "chat01".into(), ..world::Machine::default() })
    }

    fn of(machine: &world::Machine) -> Self {
        let mut world = World::default();
        world.add_hardware(&world::Machine {
            hostname: "stranger".into(),
            private: Some("10.9.9.9".into()),
            ..machine.clone()
        });
        let id = world.add_hardware(machine);
        let bill = world.hardware[1]["billingItem"]["id"].to_string();
        let machine = Machine {
            host: "chat01".into(),
            kind: "hardware".into(),
            id: id.to_string(),
            name: "chat01.example.com".into(),
            addresses: vec!["10.1.0.11".into()],
            bill: Some(bill),
        };
        Self { api: SoftLayer::start(world), machine }
    }

    fn provider(&self) -> Arc<dyn Provider> {
        self.provider_with("next_bill", KEY)
    }

    fn provider_with(&self, when: &str, key: &'static str) -> Arc<dyn Provider> {
        let access = json!({ "username": { "env": "USER" }, "api_key": { "env": "KEY" }, "endpoint": self.api.endpoint(), "files": [] });
        let settings =
            json!({ "soft_layer": { "access": access, "when": when, "reason": "No longer needed", "note": null } });
        let config: ProviderConfig = serde_json::from_value(settings).unwrap();
        Connected { secrets: Arc::new(Known([("USER", USER), ("KEY", key)].into())) }.find(&config)
    }

    /// How often anything was cancelled.
    fn calls(&self) -> usize {
        self.api.called().iter().filter(|call| *call == "Billing_Item::cancelItem").count()
    }

    /// Nothing was, and this is why.
    async fn refused(&self, machine: &Machine) -> Error {
        let error = self.provider().cancel(machine, "note").await.unwrap_err();
        assert_eq!((self.calls(), self.api.world().cancellations.len()), (0, 0), "{error}");
        assert_ne!(error.certainty, Certainty::Unknown, "{error}");
        error
    }
}

#[test]
fn slcli_cancels_in_the_double_as_it_does_at_softlayer() {
    let lab = Lab::start();
    let cancel = ["hardware", "cancel", "chat01", "--reason", "moving", "--comment", "to fra1", "--force"];
    assert!(slcli(&lab.api, &cancel).status.success());
    let listed = said(&lab.api, &["order", "cancelation"]);
    assert_eq!((&listed[0]["Status"], &listed[0]["Items"]), (&"Approved".into(), &1.into()));
    let world_says = lab.api.world().cancellations[0].clone();
    assert_eq!(world_says["reason"], "Moving to competitor");
    assert_eq!(listed[0]["Case Number"], world_says["ticketId"]);
    // A second time is answered by the ticket, with the bill still shown and without.
    let again = || {
        let out = slcli(&lab.api, &cancel);
        assert!(!out.status.success());
        String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned()
    };
    assert!(again().contains("A cancellation ticket already exists"));
    lab.api.world().hardware[1].as_object_mut().unwrap().remove("billingItem");
    let told = again();
    assert!(told.contains("already exists for this server"), "{told}");
    assert_eq!(lab.api.world().cancellations.len(), 1);
    lab.api.world().reclaim();
    let left = said(&lab.api, &["hardware", "list"]);
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_eq!(said(&lab.api, &["order", "cancelation"])[0]["Status"], "Complete");
}

#[tokio::test]
async fn a_machine_goes_back_once_and_can_be_taken_again_until_the_cutoff() {
    for hides in [false, true] {
        let lab = Lab::start();
        lab.api.world().hides_bills = hides;
        let provider = lab.provider();
        assert_eq!(provider.look(&lab.machine).await.unwrap(), Standing::Rented);
        let leaving = provider.cancel(&lab.machine, "run 1").await.unwrap();
        assert!(leaving.to_string().ends_with(", Approved, ends 2026-12-03T23:00:00-06:00"), "{leaving}");
        assert_eq!(lab.api.world().cancellations[0]["notes"], "run 1");
        // Whoever asks again gets the answer of the first time, and so does who has lost that.
        assert_eq!(provider.cancel(&lab.machine, "run 2").await.unwrap(), leaving);
        assert_eq!(provider.look(&lab.machine).await.unwrap(), Standing::Leaving(leaving.clone()));
        assert_eq!(lab.calls(), 1);
        if !hides {
            provider.void(&lab.machine).await.unwrap();
            assert_eq!(provider.look(&lab.machine).await.unwrap(), Standing::Rented);
            provider.cancel(&lab.machine, "run 3").await.unwrap();
            assert_eq!(lab.calls(), 2);
        }
        lab.api.world().is_past_cutoff = true;
        let late = provider.void(&lab.machine).await.unwrap_err();
        assert!(late.what.contains("contact sales") && late.certainty == Certainty::Refused, "{late:?}");
        lab.api.world().reclaim();
        assert!(matches!(provider.look(&lab.machine).await.unwrap(), Standing::Gone(_)));
        assert!(provider.void(&lab.machine).await.unwrap_err().what.contains("is gone: ticket"));
        // The other one is still there.
        assert_eq!(lab.api.world().hardware.len(), 1);
    }
}

#[tokio::test]
async fn what_is_not_the_machine_that_was_meant_is_never_cancelled() {
    let lab = Lab::start();
    let machine = &lab.machine;
    let stranger = lab.api.world().hardware[0]["id"].to_string();
    let other = |change: &dyn Fn(&mut Machine)| {
        let mut other = machine.clone();
        change(&mut other);
        other
    };
    for (what, other) in [
        ("is called stranger.example.com", other(&|m| m.id.clone_from(&stranger))),
        ("is called chat01.example.com", other(&|m| m.name = "chat02.example.com".into())),
        ("and not 10.1.0.12", other(&|m| m.addresses.push("10.1.0.12".into()))),
        ("in the inventory", other(&|m| m.bill = Some("7".into()))),
        ("there is no hardware 424242", other(&|m| (m.id, m.bill) = ("424242".into(), None))),
    ] {
        let error = lab.refused(&other).await;
        assert!(error.what.contains(what), "{error}");
    }
    // Whatever the API gives where it was asked for one: another one, one without a name, one that is billed under another name.
    let was = lab.api.world().hardware[1].clone();
    for (key, value) in [("fullyQualifiedDomainName", json!("x.example.com")), ("primaryBackendIpAddress", json!(null))]
    {
        lab.api.world().hardware[1][key] = value;
        lab.refused(machine).await;
        lab.api.world().hardware[1] = was.clone();
    }
    lab.api.world().hardware[1]["billingItem"]["hostName"] = "stranger".into();
    assert!(lab.refused(machine).await.what.contains("is billed under the name stranger"));
    lab.api.world().hardware[1] = was;
    // A list that holds everything is no reason to take another request for its own.
    let own = lab.provider();
    let bill = lab.api.world().hardware[0]["billingItem"]["id"].to_string();
    let stranger = Machine {
        id: stranger,
        name: "stranger.example.com".into(),
        addresses: vec!["10.9.9.9".into()],
        bill: Some(bill),
        ..machine.clone()
    };
    own.cancel(&stranger, "note").await.unwrap();
    lab.api.manners().ignores_filters = true;
    assert_eq!(own.look(machine).await.unwrap(), Standing::Rented);
}

#[tokio::test]
async fn bad_days_cancel_nothing_twice_and_tell_what_is_known() {
    let busy = Lab::of(&world::Machine {
        hostname: "chat01".into(),
        transaction: Some("OS Reload".into()),
        ..Default::default()
    });
    assert!(busy.refused(&busy.machine).await.what.contains("SoftLayer is working on it (OS Reload)"));
    let lab = Lab::start();
    let now = lab.provider_with("immediately", KEY).cancel(&lab.machine, "note").await.unwrap_err();
    assert!(now.what.contains("ends at its next bill alone") && lab.calls() == 0, "{now}");
    let denied = lab.provider_with("next_bill", "wrong").cancel(&lab.machine, "note").await.unwrap_err();
    assert!(denied.what.contains("not accepted (401)"), "{denied}");
    // Before it asks, it looks: so many reads.
    let provider = lab.provider();
    let before = lab.api.called().len();
    provider.look(&lab.machine).await.unwrap();
    let reads = lab.api.called().len() - before;
    let none = || std::iter::repeat_n(None, reads);
    // Cut off before anything was done: nobody can tell, and nothing is claimed.
    lab.api.manners().planned = none().chain([Some(Fault::Cut)]).collect();
    let cut = provider.cancel(&lab.machine, "note").await.unwrap_err();
    assert!(cut.is_unknown(), "{cut:?}");
    assert_eq!(provider.look(&lab.machine).await.unwrap(), Standing::Rented);
    // Done, and the answer is lost: it is looked for, and not asked for again.
    lab.api.manners().planned = none().chain([Some(Fault::Lost)]).collect();
    let leaving = provider.cancel(&lab.machine, "note").await.unwrap();
    assert!(leaving.by.starts_with("ticket "), "{leaving}");
    // Down while it is read back.
    let lab = Lab::start();
    lab.api.manners().planned = none().chain([None]).chain(std::iter::repeat_n(Some(Fault::Gateway(503)), 9)).collect();
    let down = lab.provider().cancel(&lab.machine, "note").await.unwrap_err();
    assert!(down.is_unknown() && down.what.contains("cannot be read back"), "{down:?}");
    lab.api.manners().planned.clear();
    lab.provider().cancel(&lab.machine, "note").await.unwrap();
    assert_eq!((lab.calls(), lab.api.world().cancellations.len()), (1, 1));
}
