//! Targets are asked by Redfish how they are: on good days, on bad ones, and where nobody answers.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::support::*;
use crate::lab::fleet::Fleet;
use crate::lab::redfish::{Bmc, PASSWORD, USER, system};

/// What the double is held to: a client of people who ask real machines with it.
const SUSHY: &str = "
import sys, sushy, sushy.auth
url, user, password, ca = sys.argv[1:]
auth = sushy.auth.BasicAuth(user, password)
root = sushy.Sushy(url + '/redfish/v1', auth=auth, verify=ca)
for path in root.get_system_collection().members_identities:
    s = root.get_system(path)
    print(s.identity, s.power_state.value, s.status.health.value, s.status.state.value, s.serial_number, s.sku)
";

#[test]
fn sushy_finds_in_the_double_what_it_finds_at_a_machine() {
    let sick =
        json!({ "PowerState": "Off", "SerialNumber": "S2", "Status": { "State": "Disabled", "Health": "Critical" } });
    let bmc = Bmc::start(&[("1", system("S1")), ("Node.2", sick)]);
    let python = crate::lab::python::programs(&["sushy==5.14.0"]).join("python");
    let ask = |password: &str| {
        let ca = bmc.file("ca.pem");
        let mut command = Command::new(&python);
        command.args(["-c", SUSHY, &bmc.url(), USER, password]).arg(ca);
        command.output().unwrap()
    };
    let asked = ask(PASSWORD);
    let said = String::from_utf8_lossy(&asked.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert_eq!(said, "1 On OK Enabled S1 TAG-S1\nNode.2 Off Critical Disabled S2 None\n", "{complaint}");
    let denied = ask("another");
    assert!(!denied.status.success() && String::from_utf8_lossy(&denied.stderr).contains("AccessError"));
}

/// A fleet whose only target has a controller.
fn watched(settings: &str) -> Fleet {
    let fleet = ramp(1);
    let inventory = fleet.place.root().join("inventories/lab.yaml");
    let text = fs::read_to_string(&inventory).unwrap();
    let at = text.find("  fra-[").unwrap();
    let place = at + text[at..].find('{').unwrap() + 1;
    let more = format!("bmc: {settings}, vars: {{serial: S1}}, ");
    fs::write(&inventory, format!("{}{more}{}", &text[..place], &text[place..])).unwrap();
    fleet
}

#[test]
fn a_target_that_is_not_well_is_known_before_anything_moves() {
    let bmc = Bmc::start(&[("437XR1138R2", system("S1"))]);
    let fleet = watched(&bmc.settings());
    let plan = |code: i32| {
        let ended = migrate(&fleet).run(&["plan", RAMP]);
        assert_eq!(ended.code(), code, "{}{}", ended.stdout, ended.stderr);
        ended.stdout
    };
    let well = plan(0);
    assert!(well.contains("on and well, as their management controllers say: fra-1"), "{well}");
    let asked = bmc.change(|content| std::mem::take(&mut content.asked));
    assert!(asked.len() == 3 && asked.iter().all(|call| call.starts_with("GET /redfish/v1")), "{asked:?}");

    let with = |pointer: &str, value: Value, code: i32| {
        let before = bmc.change(|content| content.systems[0].1.clone());
        bmc.change(|content| *content.systems[0].1.pointer_mut(pointer).unwrap() = value);
        let said = plan(code);
        bmc.change(|content| content.systems[0].1 = before);
        said
    };
    let told = [
        with("/PowerState", json!("Off"), 1),
        with("/PowerState", Value::Null, 0),
        with("/Status/Health", json!("Warning"), 0),
        with("/Status/HealthRollup", json!("Critical"), 1),
        with("/Status", json!({}), 0),
        with("/Status/State", json!("InTest"), 0),
        with("/SerialNumber", json!("S2"), 1),
    ];
    let wanted = [
        "says that it is Off, and not On",
        "does not say whether it is on",
        "its health is Warning",
        "its health is Critical",
        "says nothing of its health",
        "says that it is InTest, and not Enabled",
        "is that of another machine: its serial number is S2 and TAG-S1, and S1 in the inventory",
    ];
    for (said, wanted) in told.iter().zip(wanted) {
        assert!(said.contains(wanted) && !said.contains("on and well"), "{wanted}: {said}");
    }
    // What people call its number may be the service tag.
    let tagged = json!({ "PowerState": "On", "SerialNumber": "CN7016", "SKU": "s1", "Status": { "State": "Enabled", "Health": "OK" } });
    bmc.change(|content| content.systems[0].1 = tagged);
    assert!(plan(0).contains("on and well"));

    let bad = |change: &dyn Fn(&mut crate::lab::redfish::Content)| {
        bmc.change(|content| change(content));
        let said = plan(1);
        bmc.change(|content| (content.starting, content.forbids, content.answers) = (0, false, None));
        said
    };
    let starts = bad(&|content| content.starting = 100);
    assert!(starts.contains("it cannot answer now (503)"), "{starts}");
    let forbids = bad(&|content| content.forbids = true);
    assert!(forbids.contains("its user may not read that (403)"), "{forbids}");
    let web = bad(&|content| content.answers = Some("<html>welcome</html>".into()));
    assert!(web.contains("its answer is no resource of Redfish"), "{web}");
    let other = bad(&|content| {
        let link = json!({ "Systems": { "@odata.id": "//evil.example.com/redfish/v1/Systems" } });
        content.answers = Some(link.to_string());
    });
    assert!(other.contains("it names a resource of another server"), "{other}");
    // One of its answers was lost: that is asked again.
    bmc.change(|content| content.starting = 1);
    assert!(plan(0).contains("on and well"));

    fs::write(bmc.file("password"), "another").unwrap();
    let denied = plan(1);
    assert!(denied.contains("user and password are not accepted (401)") && !denied.contains("another"), "{denied}");
    fs::write(bmc.file("password"), PASSWORD).unwrap();
    bmc.change(|content| content.systems.push(("2".into(), system("S2"))));
    let several = plan(1);
    assert!(several.contains("it has several systems: 437XR1138R2 and 2"), "{several}");
    fleet.place.edit("inventories/lab.yaml", "bmc: {", "bmc: {system: 437XR1138R2, ");
    assert!(plan(0).contains("on and well"));

    // A certificate of somebody else, and nobody at all.
    let stranger = Bmc::start(&[]);
    let (ca, url) = (bmc.file("ca.pem").display().to_string(), bmc.url());
    fleet.place.edit("inventories/lab.yaml", &ca, &stranger.file("ca.pem").display().to_string());
    let distrusted = plan(1);
    assert!(distrusted.contains("it cannot be reached: invalid peer certificate"), "{distrusted}");
    fleet.place.edit("inventories/lab.yaml", &url, "https://127.0.0.1:1");
    let nobody = plan(1);
    assert!(nobody.contains("does not say how it is") && nobody.contains("refused"), "{nobody}");
    fleet.place.edit("inventories/lab.yaml", "https://127.0.0.1:1", "http://127.0.0.1:1");
    let ended = migrate(&fleet).run(&["plan", RAMP]);
    assert!(ended.stderr.contains("it does not begin with https://, and a password is sent there"), "{}", ended.stderr);
}
