//! Hosts from Ansible, from an ssh_config and from NetBox.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::cli::run::Ran;
use crate::lab::netbox::{Content, NetBox, TOKEN, device};
use crate::lab::{packages, python};

/// What the sources are held to.
const ANSIBLE: &str = "ansible-core==2.19.3";
const PYNETBOX: &str = "pynetbox==7.8.0";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn source(&self, text: &str) {
        self.write("fleet.yaml", &format!("sites: {{ iad1: }}\nsources:\n  own:\n{text}\n"));
    }

    /// `programs` stands before everything else that can be run.
    fn migrate(&self, args: &[&str], programs: &Path) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_migrate"));
        let path = format!("{}:/usr/bin:/bin", programs.display());
        command
            .current_dir(self.0.path())
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.0.path())
            .env("COLUMNS", "100");
        command
            .env("MIGRATE_STATE_DIR", self.0.path().join("state"))
            .env("NETBOX_TOKEN", TOKEN)
            .env("USER", "ops")
            .env("LC_ALL", "C.UTF-8");
        let output = command.args(args).output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    fn hosts(&self, programs: &Path) -> Value {
        let ran = self.migrate(&["inventory", "show", "fleet.yaml", "--format", "json"], programs);
        assert_eq!(ran.code, 0, "{}", ran.err);
        serde_json::from_str(&ran.out).unwrap()
    }

    #[track_caller]
    fn refused(&self, programs: &Path) -> String {
        let ran = self.migrate(&["inventory", "show", "fleet.yaml"], programs);
        assert_eq!(ran.code, 1, "{}", ran.out);
        ran.err
    }
}

const INI: &str = "\
lonely ansible_host=10.20.9.9
[web]
web-[01:02] ansible_user=deploy rack=a1
[web:vars]
port=8080
[db]
db-a ansible_host=10.20.1.21 ansible_port=2222 db_password=hush
[prod:children]
web
db
[prod:vars]
port=80
site=iad1
ansible_become_pass=hush
";

#[test]
fn an_inventory_of_ansible_is_the_same_with_ansible_and_without() {
    let place = Place::new();
    place.write("hosts.ini", INI);
    place.source("    ansible: { inventory: ./hosts.ini }");
    let nothing = place.0.path().join("nothing");
    let with = place.hosts(&python::programs(&[ANSIBLE]));
    let without = place.hosts(&nothing);
    assert_eq!(with, without);
    assert!(!with.to_string().contains("hush"), "{with}");
    let of = |name: &str| with.as_array().unwrap().iter().find(|host| host["name"] == name).cloned().unwrap();
    let web = of("web-01");
    assert_eq!((&web["address"], &web["site"]), (&json!("web-01"), &json!("iad1")));
    assert_eq!((&web["tags"], &web["ssh"]["user"]), (&json!(["prod", "web"]), &json!("deploy")));
    assert_eq!((&web["vars"]["port"], &web["vars"]["rack"]), (&json!("8080"), &json!("a1")));
    let db = of("db-a");
    assert_eq!((&db["address"], &db["ssh"]["port"]), (&json!("10.20.1.21"), &json!(2222)));
    assert_eq!(of("lonely")["site"], json!(null));
    // The same as YAML, and of one group only.
    let yaml = "all:\n  hosts: {lonely: {ansible_host: 10.20.9.9}}\n  children:\n    prod:\n      vars: {port: 80, site: iad1}\n      children:\n        web: {hosts: {\"web-[01:02]\": {ansible_user: deploy, rack: a1}}, vars: {port: 8080}}\n        db: {hosts: {db-a: {ansible_host: 10.20.1.21, ansible_port: 2222}}}\n";
    place.write("hosts.yaml", yaml);
    place.source("    ansible: { inventory: ./hosts.yaml }");
    assert_eq!(place.hosts(&nothing), with);
    place.source("    ansible: { inventory: ./hosts.yaml, groups: web }");
    assert_eq!(place.hosts(&nothing).as_array().unwrap().len(), 2);
}

#[test]
fn what_only_ansible_can_read_is_not_passed_over() {
    let place = Place::new();
    let nothing = place.0.path().join("nothing");
    place.source("    ansible: { inventory: ./hosts.ini }");
    assert!(place.refused(&nothing).contains("there is no hosts.ini"));
    place.write("hosts.ini", "[web]\nweb-[1:2\n");
    let told = place.refused(&nothing);
    assert!(told.contains("line 2") && told.contains("install ansible-core"), "{told}");
    place.write("hosts.ini", INI);
    std::fs::create_dir(place.0.path().join("group_vars")).unwrap();
    assert!(place.refused(&nothing).contains("group_vars, which only Ansible itself reads"));
    place.source("    ansible: { inventory: ./hosts.ini, groups: wbe }");
    let told = place.refused(&python::programs(&[ANSIBLE]));
    assert!(told.contains("has no group `wbe`") && told.contains("`web`"), "{told}");
}

#[test]
fn hosts_of_an_ssh_config_are_what_ssh_makes_of_them() {
    packages::program("ssh", "openssh-client");
    let place = Place::new();
    place.write("more", "Host dal-2\n  HostName 10.1.0.12\n  ProxyJump elsewhere\n");
    let more = place.0.path().join("more").display().to_string();
    place.write(
        "config",
        &"Include MORE\nHost bastion\n  HostName 203.0.113.1\n  User jump\nHost dal-1\n  HostName 10.1.0.11\n  ProxyJump bastion\n  IdentityFile ~/.ssh/dal\nHost dal-* !x\n  User deploy\n  Port 2222\n"
            .replace("MORE", &more),
    );
    place.source("    ssh_config: { file: ./config }\n    site: iad1");
    let hosts = place.hosts(Path::new("/usr/bin"));
    let names: Vec<&str> = hosts.as_array().unwrap().iter().map(|h| h["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["bastion", "dal-1", "dal-2"]);
    let one = &hosts[1];
    assert_eq!((&one["address"], &one["site"]), (&json!("10.1.0.11"), &json!("iad1")));
    assert_eq!(
        (&one["ssh"]["user"], &one["ssh"]["port"], &one["ssh"]["jump"]),
        (&json!("deploy"), &json!(2222), &json!(["bastion"]))
    );
    assert!(one["ssh"]["key"].as_str().unwrap().ends_with(".ssh/dal"));
    assert!(hosts[2]["warnings"][0].as_str().unwrap().contains("through `elsewhere`"), "{hosts}");
    place.source("    ssh_config: { file: ./config, hosts: \"dal-2\" }");
    assert_eq!(place.hosts(Path::new("/usr/bin")).as_array().unwrap().len(), 1);
}

/// More than a page of devices, one of them of another site, and a virtual machine.
fn content() -> Content {
    let mut content = Content::default();
    for n in 1..=230 {
        content.devices.push(device(n, &format!("fra-{n:03}"), &format!("10.20.0.{n}"), json!({})));
    }
    content.devices[1]["site"]["slug"] = json!("ams1");
    content.devices[2]["tags"] = json!([{ "id": 1, "name": "SSD", "slug": "ssd" }]);
    content.devices[3]["status"] = json!({ "value": "planned", "label": "Planned" });
    let machine =
        json!({ "vcpus": 4.0, "memory": 8192, "disk": 40_000, "custom_fields": {}, "cluster": { "name": "kvm" } });
    content.machines.push(device(900, "vm-1", "10.20.1.1", machine));
    content
}

#[test]
fn pynetbox_finds_in_the_double_what_it_finds_in_netbox() {
    let netbox = NetBox::start(content());
    let script = "import sys, pynetbox\n\
        nb = pynetbox.api(sys.argv[1], token=sys.argv[2])\n\
        all = list(nb.dcim.devices.all())\n\
        one = nb.dcim.devices.get(name='fra-003')\n\
        print(nb.version, len(all), len({d.id for d in all}), one.primary_ip.address, one.tags[0].slug, one.site.slug)\n\
        print(len(list(nb.dcim.devices.filter(site='ams1'))), len(list(nb.virtualization.virtual_machines.all())))\n";
    let python = python::programs(&[PYNETBOX]).join("python");
    let out =
        Command::new(python).args(["-c", script, &netbox.url(), TOKEN]).env("NO_PROXY", "127.0.0.1").output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(said, "4.6 230 230 10.20.0.3/24 ssd fra1\n1 1\n", "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn machines_of_netbox_are_hosts() {
    let netbox = NetBox::start(content());
    let place = Place::new();
    let programs = Path::new("/usr/bin");
    let source = |more: &str| {
        place.source(&format!("    netbox: {{ url: \"{}\", token: {{ env: NETBOX_TOKEN }}{more} }}", netbox.url()))
    };
    source(", site: fra1");
    let hosts = place.hosts(programs);
    assert_eq!(hosts.as_array().unwrap().len(), 230);
    let one = &hosts[0];
    assert_eq!((&one["name"], &one["address"], &one["site"]), (&json!("fra-001"), &json!("10.20.0.1"), &json!("fra1")));
    assert_eq!(
        (&one["vars"]["cores"], &one["vars"]["rack"], &one["vars"]["serial"]),
        (&json!("64"), &json!("A7"), &json!("S1"))
    );
    let all = hosts.as_array().unwrap();
    let planned = all.iter().find(|host| host["name"] == "fra-004").unwrap();
    assert_eq!(planned["warnings"], json!(["its status in NetBox is planned"]));
    let vm = all.iter().find(|host| host["name"] == "vm-1").unwrap();
    assert_eq!(
        (&vm["vars"]["cores"], &vm["vars"]["memory_gib"], &vm["vars"]["disk_gb"]),
        (&json!("4"), &json!("8"), &json!("40"))
    );
    // No host that was not asked for, whatever comes; and what passes is waited for.
    netbox.change(|content| content.ignores_filters = true);
    assert_eq!(place.hosts(programs), hosts);
    netbox.change(|content| (content.ignores_filters, content.down) = (false, 1));
    assert_eq!(place.hosts(programs), hosts);
    source(", machines: devices, tags: ssd, role: chat, custom_fields: { cores: \"64\" }");
    assert_eq!(place.hosts(programs).as_array().unwrap().len(), 1);
    netbox.change(|content| content.down = 4);
    assert!(place.refused(programs).contains("status 502"));
    place.source(&format!("    netbox: {{ url: \"{}\", token: {{ file: ./token }} }}", netbox.url()));
    place.write("token", "wrong\n");
    let told = place.refused(programs);
    assert!(told.contains("does not accept the token (403): Invalid token"), "{told}");
    place.source("    netbox: { url: \"http://netbox.example.com\", token: { env: NETBOX_TOKEN } }");
    assert!(place.refused(programs).contains("would carry the token unencrypted"));
}
