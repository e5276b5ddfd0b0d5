//! What a valid plan becomes.

use migrate::config::{load, load_inventory};

use crate::spec::support::{Files, good, options};

#[test]
fn a_plan_that_says_everything_becomes_the_model() {
    let (spec, warnings) = load(&good("plan.yaml"), None, &options()).unwrap_or_else(|e| panic!("{e}"));
    assert!(warnings.is_empty(), "{warnings}");
    let here = good("").display().to_string();
    let shown = format!("{:#?}", spec.plan).replace(&here, "HERE/");
    insta::assert_snapshot!(shown);
}

#[test]
fn an_inventory_that_says_everything_becomes_the_model() {
    let (inventory, inputs, warnings) =
        load_inventory(&[&good("inventory.yaml")], &options()).unwrap_or_else(|e| panic!("{e}"));
    assert!(warnings.is_empty(), "{warnings}");
    // The file, and a saved copy of each of its sources.
    assert_eq!(inputs.len(), 5);
    let here = good("").display().to_string();
    insta::assert_snapshot!(format!("{inventory:#?}").replace(&here, "HERE/"));
}

const HOSTS: &str = "\
sites: { dal: { defaults: { ssh: { jump: [gate] , user: dal }, vars: { data: /dal, zone: d } } }, fra: }
defaults: { site: dal, ssh: { user: all, port: 2222 }, tags: base, vars: { data: /all, port: 80 } }
hosts:
  gate: { address: 10.0.0.1 }
  a-10: { address: 10.0.0.2, tags: web, vars: { data: /own } }
  a-2: { address: 10.0.0.3, tags: [web] }
  b-1: { site: fra, address: 10.0.0.4, ssh: { jump: [] } }
  b-2: { site: fra, address: 10.0.0.5 }
groups:
  web: { tags: [web, base] }
  a: { name: \"a-*\", except: a-10 }
  mixed: [b-2, b-1]
directors: { edge: { haproxy: \"unix:run/../x.sock\" } }
";

fn plan(rest: &str) -> String {
    format!("migration: x\ninventory: inventory.yaml\n{rest}")
}

#[test]
fn hosts_inherit_from_their_site_and_then_from_everybody() {
    let files = Files::new("", HOSTS);
    let (inventory, ..) =
        load_inventory(&[&files.path("inventory.yaml")], &options()).unwrap_or_else(|e| panic!("{e}"));
    let (gate, a, b) = (&inventory.hosts["gate"], &inventory.hosts["a-10"], &inventory.hosts["b-2"]);
    assert!(gate.ssh.jump.is_empty(), "a bastion is not reached through itself");
    assert_eq!(a.ssh.jump, ["gate"]);
    assert!(b.ssh.jump.is_empty());
    assert_eq!((a.ssh.user.as_deref(), b.ssh.user.as_deref()), (Some("dal"), Some("all")));
    assert_eq!((a.ssh.port, a.site.as_deref(), b.site.as_deref()), (Some(2222), Some("dal"), Some("fra")));
    assert_eq!((a.vars["data"].as_str(), a.vars["zone"].as_str(), a.vars["port"].as_str()), ("/own", "d", "80"));
    assert_eq!((b.vars["data"].as_str(), gate.vars["data"].as_str()), ("/all", "/dal"));
    assert!(a.tags.contains("web") && a.tags.contains("base"));
}

#[test]
fn a_group_says_how_one_logs_in_before_the_site_does_and_after_the_host() {
    let groups = "groups:
  ours: { name: \"a-*\", ssh: { port: 22, user: ops, become: sudo, jump: b-2 } }
  through: { hosts: gate, ssh: { jump: [gate] } }
";
    let own = HOSTS.replace("10.0.0.3, tags", "10.0.0.3, ssh: { user: me, become: none }, tags");
    let files = Files::new("", &own.replace("groups:\n", groups));
    let (inventory, ..) =
        load_inventory(&[&files.path("inventory.yaml")], &options()).unwrap_or_else(|e| panic!("{e}"));
    let ssh = |host: &str| inventory.hosts[host].ssh.clone();
    let (by_group, by_itself) = (ssh("a-10"), ssh("a-2"));
    assert_eq!(
        (by_group.user.as_deref(), by_group.port, by_group.jump.as_slice()),
        (Some("ops"), Some(22), &["b-2".to_owned()][..])
    );
    assert!(by_group.becomes.is_some());
    assert_eq!((by_itself.user.as_deref(), by_itself.port), (Some("me"), Some(22)));
    assert!(by_itself.becomes.is_none(), "`none` undoes what a group says");
    assert!(ssh("gate").jump.is_empty(), "nobody is reached through himself");
}

#[test]
fn groups_by_selector_are_counted_and_groups_by_name_keep_their_order() {
    let files = Files::new("", HOSTS);
    let (inventory, ..) = load_inventory(&[&files.path("inventory.yaml")], &options()).unwrap();
    assert_eq!(inventory.groups["web"], ["a-2", "a-10"]);
    assert_eq!(inventory.groups["a"], ["a-2"]);
    assert_eq!(inventory.groups["mixed"], ["b-2", "b-1"]);
}

#[test]
fn services_get_what_they_do_not_say_from_the_plans_defaults() {
    let files = Files::new(
        &plan(
            "\
defaults:
  drain: { deadline: 7s }
  shift: 100%
  health: { tcp: \"{{ address }}:80\" }
  traffic: { director: edge, pool: all }
services:
  one: { move: { from: a-2, to: b-1 } }
  two: { move: { from: a-10, to: b-2 }, drain: { interval: 2s }, traffic: { director: edge, pool: two } }
",
        ),
        HOSTS,
    );
    let (spec, _) = files.load().unwrap_or_else(|e| panic!("{e}"));
    let [one, two] = spec.plan.services.as_slice() else { panic!() };
    assert_eq!((one.drain.deadline.as_secs(), two.drain.deadline.as_secs()), (7, 300));
    assert_eq!((one.shift.steps.as_slice(), two.shift.steps.as_slice()), ([100].as_slice(), [100].as_slice()));
    let pool = |s: &migrate::spec::Service| s.traffic[0].pool.clone();
    assert_eq!((pool(one), pool(two)), ("all".to_owned(), "two".to_owned()));
    assert_eq!((one.health.len(), two.health.len()), (1, 1));
    assert_eq!(spec.plan.waves[0].services, ["one", "two"]);
}

#[test]
fn a_mistake_in_the_defaults_is_said_once() {
    let text = "defaults: { drain: { deadline: 7 } }\nservices:\n  one: { move: { from: a-2, to: b-1 } }\n  two: { move: { from: a-10, to: b-2 } }\n";
    let said = Files::new(&plan(text), HOSTS).problems();
    assert_eq!(said.matches("has no unit").count(), 1, "{said}");
}

#[test]
fn an_inventory_that_is_given_replaces_those_of_the_plan_and_every_input_has_its_digest() {
    let text = "services: { one: { move: { from: a-2, to: b-1 }, traffic: { director: edge, pool: p }, health: { tcp: \"{{ address }}:1\" } } }\n";
    let files = Files::new(&format!("migration: x\ninventory: ./nope/../gone.yaml\n{text}"), HOSTS);
    let (spec, warnings) = load(&files.path("plan.yaml"), Some(&files.path("inventory.yaml")), &options()).unwrap();
    assert!(warnings.is_empty(), "{warnings}");
    let paths: Vec<_> = spec.inputs.iter().map(|i| i.path.clone()).collect();
    assert_eq!(paths, [files.path("plan.yaml"), files.path("inventory.yaml")]);
    assert_eq!(spec.inputs[1].digest, blake3::hash(HOSTS.as_bytes()).to_hex().to_string());
    assert!(files.load().is_err());
}

#[test]
fn paths_are_relative_to_the_file_they_are_written_in() {
    let files = Files::new("", "");
    std::fs::create_dir_all(files.path("plans")).unwrap();
    std::fs::create_dir_all(files.path("inventories")).unwrap();
    files.write("inventories/x.yaml", HOSTS);
    let text = "services: { one: { move: { from: a-2, to: b-1 }, traffic: { director: edge, pool: p } } }\n";
    files.write("plans/x.yaml", format!("migration: x\ninventory: ../inventories/x.yaml\n{text}"));
    let (spec, _) = load(&files.path("plans/x.yaml"), None, &options()).unwrap();
    assert_eq!(spec.inputs[1].path, files.path("inventories/x.yaml"));
    let migrate::traffic::DirectorConfig::Haproxy(config) = &spec.inventory.directors["edge"] else { panic!() };
    let socket = files.path("inventories/run/../x.sock");
    assert_eq!(config.endpoints, [migrate::traffic::haproxy::Endpoint::Unix(socket)]);
}

#[test]
fn one_dns_name_is_one_pool_however_it_is_written() {
    let zone = "directors: { zone: { dns: { zone: example.com, primary: 10.0.0.53 } },";
    let inventory = HOSTS.replace("directors: {", zone);
    for (written, pool) in [
        ("www", "www.example.com"),
        ("www.example.com", "www.example.com"),
        ("WWW.Example.com.", "www.example.com"),
        ("\"@\"", "example.com"),
    ] {
        let traffic = format!("{{ director: zone, pool: {written}, port: 80 }}");
        let plan = format!(
            "migration: x\ninventory: inventory.yaml\nservices: {{ one: {{ move: {{ from: a-2, to: b-1 }}, traffic: {traffic} }} }}\n"
        );
        let files = Files::new(&plan, &inventory);
        let (spec, _) = files.load().unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(spec.plan.services[0].traffic[0].pool, pool);
    }
}

#[test]
fn quoting_of_values_in_commands_goes_by_the_host() {
    let inventory = HOSTS.replace("data: /own", "data: \"it's $HOME\"");
    let files = Files::new("", &inventory);
    let (inventory, ..) = load_inventory(&[&files.path("inventory.yaml")], &options()).unwrap();
    let run = migrate::model::Template("rm -- {{ data }}".to_owned());
    assert_eq!(run.render_shell(&inventory.hosts["a-10"].vars).unwrap(), r"rm -- 'it'\''s $HOME'");
    assert_eq!(run.render_plain(&inventory.hosts["a-10"].vars).unwrap(), "rm -- it's $HOME");
}
