//! What is said about what is wrong: every problem of a file at once.

use crate::spec::support::Files;

const INVENTORY: &str = "\
sites: { dal: {}, fra: {} }
hosts:
  dal-1: { site: dal, address: 10.1.0.1, tags: [old], vars: { data: /srv/up, port: 8080 } }
  dal-2: { site: dal, address: 10.1.0.2, tags: [old], vars: { data: /srv/up, port: 8080 } }
  fra-1: { site: fra, address: 10.2.0.1, tags: [new], vars: { data: /srv/up, port: 8080 } }
  fra-2: { site: fra, address: 10.2.0.2, tags: [new], vars: { data: /srv/up, port: 8080 } }
groups:
  old: { tags: old }
  new: { tags: new }
directors:
  edge: { haproxy: \"tcp:10.0.0.1:9999\" }
  zone: { dns: { zone: example.com, primary: 10.0.0.53 } }
";

/// A snapshot of what is said about a plan next to a good inventory.
macro_rules! plan {
    ($name:ident, $text:expr) => {
        #[test]
        fn $name() {
            insta::with_settings!({ omit_expression => true }, {
                insta::assert_snapshot!(Files::new($text, INVENTORY).problems());
            });
        }
    };
}

/// One problem, and not one for each key.
#[track_caller]
fn assert_only(said: &str, what: &str) {
    assert!(said.contains(what) && said.matches("error:").count() == 1, "{said}");
}

#[test]
fn an_inventory_that_is_given_as_a_plan_is_called_one_and_so_is_the_reverse() {
    assert_only(&Files::new(INVENTORY, INVENTORY).problems(), "error: this is an inventory, and a plan is wanted here");
    let plan = "migration: x\ninventory: inventory.yaml\nservices: { up: { move: { from: old, to: new }, state: { directory: /srv } } }\n";
    let said = Files::new(plan, plan).problems();
    assert!(said.contains("error: this is a plan, and an inventory is wanted here"), "{said}");
    assert!(!said.contains("does not know") && !said.contains("unknown"), "{said}");
}

plan!(
    unknown_keys_are_all_named_with_what_may_have_been_meant,
    "\
migraton: x
inventory: inventory.yaml
services:
  up:
    moves: { from: old, to: new }
    traffic: { directr: edge, pool: up }
    heath:
      - http: \"http://{{ address }}/\"
    health:
      - htp: \"http://{{ address }}/\"
      - http: \"http://{{ address }}/\"
        tcp: \"{{ address }}:80\"
      - tcp: \"{{ address }}:80\"
        status: 200
    state:
      - database: x
    hooks:
      - at: frezee
        run: \"true\"
        on: sorce
    strategy: blue-green
    drain: { on_deadline: explode }
colour: red
"
);

plan!(
    patterns_and_streams_are_checked_where_they_stand,
    "\
migration: x
inventory: inventory.yaml
services:
  up:
    move: { from: old, to: new }
    strategy: ramp
    traffic: { director: edge, pool: up }
    state:
      - directory: /srv/up
        exclude: [\"*.tmp\", \"[0-9\", \"a\\\\\", \"/\"]
        include: [\"+ keep\", \"[[:x\"]
      - directory: /srv/other
        idempotent: true
        delete: false
        allow_empty: true
      - stream: { from: pg_dump app, to: \"psql '{{ name }}' {{ nothing }}\", form: x }
      - stream: pg_dump app
        verify: true
      - stream: { from: pg_dump app, to: psql app }
        bandwidth: 5
      - stream: { from: \"\", to: psql app }
"
);

plan!(
    quantities_need_units_and_stay_in_their_limits,
    "\
migration: x
inventory: inventory.yaml
services:
  up:
    move: { from: old, to: new }
    traffic: { director: zone, pool: up.example.com, port: 8080, ttl: 1500ms }
    state:
      - directory: /srv/up
        bandwidth: 50
        settle_below: 1mb
        max_passes: 0
    drain: { deadline: 30, interval: 5 s }
    health:
      - tcp: \"{{ address }}:80\"
        interval: 1.5s
        timeout: 2 weeks
        rise: many
        fall: 0x2
      - tcp: \"{{ address }}:80\"
        rise: 100
    shift:
      steps: [5%, 101%, 0, half, 20%, 20%, 10%, 90%]
      hold: -5s
    hooks:
      - { at: freeze, run: stop, timeout: 400d }
waves:
  - name: w
    services: [up]
    max_unavailable: 0
    pause: 10
"
);

plan!(
    scalars_that_yaml_readers_disagree_on_are_refused,
    "\
migration: yes
description: ~
inventory: inventory.yaml
services:
  no:
    move: { from: old, to: new }
  up:
    move: { from: old, to: new }
    traffic: { director: edge, pool: 0x1f, port: 012 }
    state:
      - directory: /srv/up
        delete: yes
        verify: \"true\"
        max_passes: 1e1
    health:
      - tcp: \"{{ address }}:80\"
        rise: \"3\"
      - exec: true
    drain: { deadline: 12:30:00 }
    shift: [1_0%, 1_00]
"
);

plan!(
    wrong_types_say_what_is_wanted_and_what_was_found,
    "\
- migration: x
"
);

plan!(
    every_type_can_be_wrong,
    "\
migration: [a]
description: { a: b }
inventory: { a: b }
services:
  up:
    move: old to new
    traffic: edge
    state: /srv/up
    drain: 5m
    health: http://x
    shift:
    hooks: { freeze: systemctl stop up }
  down: []
waves: first
"
);

plan!(
    duplicate_keys_name_both_places,
    "\
migration: x
migration: y
inventory: inventory.yaml
services:
  up: { move: { from: old, to: new, from: new }, traffic: { director: edge, pool: up } }
  up:
    move: { from: old, to: new }
"
);

plan!(
    names_that_nothing_has_are_named_with_what_there_is,
    "\
migration: x
inventory: inventory.yaml
services:
  up:
    move: { from: olt, to: [new, fra-9] }
    traffic: { director: egde, pool: up }
  down:
    move: { pair: { dal-1: fra-7, dal-2: fra-2 } }
    traffic: { director: edge, pool: up }
waves:
  - { name: first, services: [up, dwon], after: lats }
  - { name: last, services: [down, up] }
  - { name: last, services: [down] }
"
);

plan!(
    pairs_that_do_not_match_up_list_what_has_no_partner,
    "\
migration: x
inventory: inventory.yaml
services:
  by-order:
    move: { from: old, to: fra-1 }
    traffic: { director: edge, pool: up }
  by-name:
    move: { from: [dal-1, dal-2], to: [fra-2, bastion], pair: by_name }
    traffic: { director: edge, pool: up }
  explicit:
    move: { from: old, to: new, pair: { dal-1: fra-1, fra-2: dal-2 } }
    traffic: { director: edge, pool: up }
  by-luck:
    move: { from: old, to: new, pair: by_luck }
    traffic: { director: edge, pool: up }
"
);

plan!(
    a_host_moves_once_and_never_to_itself,
    "\
migration: x
inventory: inventory.yaml
services:
  one:
    move: { from: old, to: new }
    traffic: { director: edge, pool: up }
  two:
    move: { from: dal-2, to: fra-2 }
    traffic: { director: edge, pool: other }
  three:
    move: { from: [dal-1, dal-1], to: [dal-1, fra-1] }
    traffic: { director: edge, pool: third }
  four:
    move: { from: dal-1, to: dal-1 }
    traffic: { director: edge, pool: fourth }
"
);

plan!(
    several_directors_have_a_pool_each_and_one_port,
    "\
migration: x
inventory: inventory.yaml
services:
  one:
    move: { from: dal-1, to: fra-1 }
    traffic:
      - { director: zone, pool: www, port: 8080 }
      - { director: edge, pool: up, port: 8081, ttl: 5s }
      - { director: egde, pool: up }
      - { director: zone, pool: www.example.com, member: up }
    health: { tcp: \"{{ address }}:8080\" }
    drain: { connections: { by: close, pace: 10/s } }
  two:
    move: { from: dal-2, to: fra-2 }
    traffic: []
    state: { directory: /srv/up }
"
);

plan!(
    waves_that_wait_for_each_other_are_a_cycle,
    "\
migration: x
inventory: inventory.yaml
services:
  one: { move: { from: dal-1, to: fra-1 }, traffic: { director: edge, pool: up } }
  two: { move: { from: dal-2, to: fra-2 }, traffic: { director: edge, pool: up } }
waves:
  - { name: a, services: one, after: c }
  - { name: b, services: two, after: a }
  - { name: c, services: [], after: [b] }
"
);

plan!(
    templates_are_filled_for_every_host_before_anything_runs,
    "\
migration: x
inventory: inventory.yaml
services:
  up:
    move: { from: old, to: new }
    traffic: { director: edge, pool: up, member: \"{{ naem }}\", port: \"{{ data }}\" }
    state:
      - directory: \"{{ dta }}\"
      - directory: \"{{ data }\"
      - directory: { from: \"{{ port }}/x\", to: / }
      - directory: { from: /srv/../etc, to: \"{{ data }}/a\" }
      - directory: { from: /srv/b, to: \"{{data}}//./a/b/\" }
    health:
      - http: \"ftp://{{ address }}/\"
      - http: \"http://{{ address }}:99999/\"
      - tcp: \"{{ address }}\"
      - exec: sh -c \"test -d {{ data }}\"
    hooks:
      - { at: freeze, run: \"echo '{{ data }}' {{ no way }}\" }
      - { at: thaw, run: \"docker ps --format '{{.Names}}'\" }
      - at: after_pair
        run: |
          cat <<EOF
          {{ data }}
          EOF
"
);

plan!(
    a_service_has_something_to_move_and_a_way_to_do_it,
    "\
migration: x
inventory: inventory.yaml
services:
  nothing: { move: { from: dal-1, to: fra-1 } }
  ramp:
    move: { from: dal-2, to: fra-2 }
    strategy: ramp
    state: { directory: /srv/up }
    hooks:
      - { at: freeze, run: stop }
      - { at: before_shift, run: look }
"
);

plan!(
    what_is_probably_not_meant_is_a_warning,
    "\
migration: x
inventory: inventory.yaml
services:
  up:
    move: { from: dal-1, to: fra-1 }
    state: { directory: /srv/up }
    traffic: { director: edge, pool: up }
  dns:
    move: { from: dal-2, to: fra-2 }
    traffic: { director: zone, pool: up.example.com }
    health: { tcp: \"{{ address }}:80\" }
    hooks: { at: before_seed, run: look }
"
);

plan!(
    directors_are_asked_only_for_what_they_can_do,
    "\
migration: x
inventory: inventory.yaml
services:
  up:
    move: { from: dal-1, to: fra-1 }
    traffic: { director: edge, pool: \"up; disable server x/y\", member: \"a b\", ttl: 5s }
    health: { tcp: \"{{ address }}:80\" }
  dns:
    move: { from: dal-2, to: fra-2 }
    traffic: { director: zone, pool: www.example.org, member: \"{{ name }}\", port: 80 }
    health: { tcp: \"{{ address }}:80\" }
"
);

plan!(
    connections_are_let_go_in_ways_that_there_are,
    "\
migration: x
inventory: inventory.yaml
defaults: { health: { tcp: \"{{ address }}:80\" } }
services:
  one:
    move: { from: dal-1, to: fra-1 }
    traffic: { director: edge, pool: up }
    drain: { connections: { by: reset } }
  two:
    move: { from: dal-2, to: fra-2 }
    traffic: { director: edge, pool: up }
    drain: { connections: { by: close, run: shed, timeout: 5s, within: 0s } }
"
);

plan!(
    connections_are_let_go_at_a_pace,
    "\
migration: x
inventory: inventory.yaml
defaults: { health: { tcp: \"{{ address }}:80\" } }
services:
  one:
    move: { from: dal-1, to: fra-1 }
    traffic: { director: edge, pool: up }
    drain: { connections: { by: close, pace: 100 } }
  two:
    move: { from: dal-2, to: fra-2 }
    traffic: { director: edge, pool: up }
    drain: { connections: { by: hint, pace: 0/s } }
"
);

plan!(
    connections_are_governed_by_what_can_be_measured,
    "\
migration: x
inventory: inventory.yaml
services:
  one:
    move: { from: dal-1, to: fra-1 }
    traffic: { director: edge, pool: up }
    drain: { connections: { by: close, govern: [accept_queue, checks] } }
  two:
    move: { from: dal-2, to: fra-2 }
    traffic: { director: edge, pool: up }
    drain: { connections: { by: hint, run: shed, govern: [away, load] } }
"
);

plan!(
    a_query_that_governs_connections_says_whom_it_asks_and_what_is_too_much,
    "\
migration: x
inventory: inventory.yaml
defaults: { health: { tcp: \"{{ address }}:80\" } }
services:
  one:
    move: { from: dal-1, to: fra-1 }
    traffic: { director: edge, pool: up }
    drain: { connections: { by: close, govern: [{ prometheus: { query: up } }] } }
"
);

plan!(
    a_copy_is_governed_below_its_limit,
    "\
migration: x
inventory: inventory.yaml
services:
  one:
    move: { from: dal-1, to: fra-1 }
    state: { directory: /srv/a, govern: { prometheus: { server: \"http://metrics.example.com:9090\", query: up, below: 1 } } }
  two:
    move: { from: dal-2, to: fra-2 }
    state: { directory: /srv/a, bandwidth: 1MiB/s, govern: [{ prometheus: { server: \"http://metrics.example.com:9090\", query: \"{{ pool }}\", below: 1 } }, load] }
"
);

plan!(
    connections_are_governed_within_limits,
    "\
migration: x
inventory: inventory.yaml
defaults: { health: { tcp: \"{{ address }}:80\" } }
services:
  one:
    move: { from: dal-1, to: fra-1 }
    traffic: { director: edge, pool: up }
    drain: { connections: { by: close, govern: [load, load, weather] } }
  two:
    move: { from: dal-2, to: fra-2 }
    traffic: { director: edge, pool: up }
    drain: { connections: { by: close, max_pace: 100/s } }
  three:
    move: { from: old, to: new }
    traffic: { director: edge, pool: up }
    drain: { connections: { by: close, pace: 50/s, max_pace: 20/s, govern: load } }
"
);

plan!(
    connections_are_let_go_where_somebody_can,
    "\
migration: x
inventory: inventory.yaml
defaults: { health: { tcp: \"{{ address }}:80\" } }
services:
  one:
    move: { from: dal-1, to: fra-1 }
    traffic: { director: zone, pool: www.example.com, member: \"{{ address }}\" }
    drain: { connections: { by: close } }
  two:
    move: { from: dal-2, to: fra-2 }
    traffic: { director: zone, pool: www.example.com, member: \"{{ address }}\" }
    drain: { connections: { by: hint, run: \"shed {{ nme }}\" } }
"
);

plan!(
    connections_are_let_go_of_what_is_drained,
    "\
migration: x
inventory: inventory.yaml
defaults: { health: { tcp: \"{{ address }}:80\" } }
services:
  one:
    move: { from: dal-1, to: fra-1 }
    state: { directory: /srv }
    drain: { connections: { by: close } }
  two:
    move: { from: dal-2, to: fra-2 }
    state: { directory: /srv }
    drain: { connections: { by: hint, run: shed } }
"
);

plan!(
    two_hosts_cannot_be_one_member,
    "\
migration: x
inventory: inventory.yaml
services:
  up:
    move: { from: old, to: new }
    traffic: { director: edge, pool: up, member: web }
    health: { tcp: \"{{ address }}:80\" }
"
);

plan!(
    merge_keys_and_keys_that_are_no_text_are_refused,
    "\
migration: x
inventory: inventory.yaml
services:
  up: &up
    move: { from: old, to: new }
    traffic: { director: edge, pool: up, member: {{ name }} }
    health: { tcp: \"{{ address }}:80\" }
  down:
    <<: *up
  ? [a, b]
  : c
"
);

plan!(
    a_plan_without_an_inventory_says_how_to_name_one,
    "migration: x\nservices: { up: { move: { from: a, to: b } } }\n"
);
plan!(
    an_inventory_that_is_not_there_is_named_where_it_is_named,
    "migration: x\ninventory: [inventory.yaml, ./nope.yaml, ./inventory.yaml]\nservices: {}\n"
);
plan!(an_empty_plan_says_how_one_begins, "# nothing\n");
plan!(two_documents_are_refused, "migration: x\n---\nmigration: y\n");
plan!(an_unknown_tag_is_refused, "migration: !important x\n");
plan!(tabs_are_refused, "migration: x\nservices:\n\tup: 1\n");
plan!(an_unclosed_bracket_is_found, "migration: x\nservices: [a, b\nwaves: c\n");
plan!(an_unknown_anchor_is_found, "migration: *nobody\n");
plan!(braces_without_quotes_say_so, "migration: x\nservices: {up: {hooks: [{at: thaw, run: start {{ port }}}]}}\n");
plan!(
    long_lines_are_cut_around_the_marker,
    &format!("migration: x\n# {0}\nservices: {{ \"{0}\": 1, zz: 5, \"{0}b\": 1 }}\n", "é".repeat(300))
);
plan!(
    control_characters_reach_no_terminal,
    "migration: \"a\\e[2Jb\"\ndescription: \"\u{202e}abc\"\n\"k\\e[31m\": 1\n\u{5927}\u{962a}: 1\n"
);

#[test]
fn all_problems_of_all_files_come_at_once() {
    let plan =
        "migration: x\ninventory: [inventory.yaml, second.yaml]\nservices:\n  up: { mvoe: { from: a, to: b } }\n";
    let files = Files::new(plan, "hosts: { a: { adress: 10.0.0.1 } }\n");
    files.write("second.yaml", "hosts: { b: { address: nope! } }\ngroups: 5\n");
    insta::assert_snapshot!(files.problems());
}

#[test]
fn a_host_that_two_inventories_define_names_both_places() {
    let files = Files::new("migration: x\ninventory: [inventory.yaml, second.yaml]\nservices: {}\n", INVENTORY);
    files.write(
        "second.yaml",
        "sites: { fra: }\nhosts: { dal-1: { address: 10.0.0.9 } }\ndirectors: { edge: { haproxy: \"tcp:a:1\" } }\n",
    );
    insta::assert_snapshot!(files.problems());
}

#[test]
fn a_host_that_cannot_be_read_is_not_called_unknown() {
    let plan = "migration: x\ninventory: inventory.yaml\nservices:\n  up: { move: { from: a, to: g }, traffic: { director: edge, pool: p } }\n";
    let inventory = "hosts: { a: { addres: 10.0.0.1 }, b: { address: 10.0.0.2, ssh: { jump: a } } }\ngroups: { g: [b], h: [a] }\ndirectors: { edge: { haproxy: \"ssh:a:/x\" } }\n";
    insta::assert_snapshot!(Files::new(plan, inventory).problems());
}

#[test]
fn problems_are_shown_up_to_fifty_and_counted_beyond() {
    let keys: String = (0..62).map(|n| format!("key{n}: 1\n")).collect();
    let shown = Files::new(&keys, INVENTORY).problems();
    assert_eq!(shown.matches("error: ").count(), 50);
    assert!(shown.ends_with("… and 14 more\n\n64 errors"), "{shown}");
    let keys: String = (0..5000).map(|n| format!("key{n}: 1\n")).collect();
    let shown = Files::new(&keys, INVENTORY).problems();
    assert!(shown.ends_with("… and 4,952 more\n\n5,002 errors"), "{shown}");
}

#[test]
fn a_literal_secret_is_not_shown() {
    let inventory =
        "directors: { z: { dns: { zone: a.b, primary: 10.0.0.1, key: { name: k, secret: hunter2, colour: red } } } }\n";
    let shown = Files::new("", inventory).inventory_problems();
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("•••••••"), "{shown}");
}

#[test]
fn problems_can_be_read_by_machines() {
    let found = Files::new("migration: x\nheath: 1\n", INVENTORY).load().unwrap_err();
    let mut json = serde_json::to_value(&found).unwrap();
    for problem in json["problems"].as_array_mut().unwrap() {
        problem["file"] = "plan.yaml".into();
    }
    insta::assert_snapshot!(serde_json::to_string_pretty(&json).unwrap());
}

plan!(
    checkpoints_are_copied_to_places_that_exist,
    "\
migration: x
inventory: inventory.yaml
services:
  up:
    move: { from: old, to: new }
    traffic: { director: edge, pool: up }
audit:
  copy_to: [\"file:\", \"syslog:logs:0\", \"syslog:-x\", s3://bucket, 5, { file: x }, syslog: , \"~me/x\"]
  copies: 3
"
);

#[test]
fn a_way_back_that_cannot_be_kept_is_refused_where_something_is_missing() {
    let inventory = "\
hosts:
  dal-[1-7]: { address: \"10.1.0.[1-7]\" }
  fra-[1-7]: { address: \"10.2.0.[1-7]\" }
directors:
  edge: { haproxy: \"tcp:10.0.0.1:9999\" }
";
    let service = |n: usize, rest: &str| {
        format!(
            "  s{n}:\n    move: {{ from: dal-{n}, to: fra-{n} }}\n    health: {{ tcp: \"{{{{ address }}}}:80\" }}\n{rest}"
        )
    };
    let thaw = "      - { at: thaw, run: start, undo: stop }\n";
    let tree = "    state: { directory: /srv/up }\n";
    let services = [
        format!("{tree}    reverse: 7d\n    hooks:\n      - {{ at: freeze, run: stop }}\n{thaw}"),
        format!(
            "    state: {{ stream: {{ from: a, to: b }} }}\n    reverse: {{ until: commit }}\n    hooks:\n      - {{ at: freeze, run: stop, undo: start }}\n{thaw}"
        ),
        "    traffic: { director: edge, pool: up }\n    strategy: ramp\n    reverse: 1d\n".to_owned(),
        format!(
            "{tree}    reverse: 0s\n    hooks:\n      - {{ at: freeze, run: stop, undo: start }}\n      - {{ at: thaw, run: start, undo: none }}\n"
        ),
        format!("{tree}    reverse: 400d\n    hooks:\n      - {{ at: freeze, run: stop, undo: start }}\n{thaw}"),
        format!(
            "{tree}    reverse: {{ until: friday }}\n    hooks:\n      - {{ at: freeze, run: stop, undo: start }}\n{thaw}"
        ),
        format!("{tree}    reverse: sometimes\n    hooks:\n      - {{ at: freeze, run: stop, undo: start }}\n{thaw}"),
    ];
    let services: String = services.iter().zip(1..).map(|(rest, n)| service(n, rest)).collect();
    let plan = format!("migration: x\ninventory: inventory.yaml\nservices:\n{services}");
    insta::with_settings!({ omit_expression => true }, {
        insta::assert_snapshot!(Files::new(&plan, inventory).problems());
    });
}

plan!(
    a_fence_stands_at_a_port_and_before_a_freeze,
    "\
migration: x
inventory: inventory.yaml
services:
  ramps:
    move: { from: dal-1, to: fra-1 }
    strategy: ramp
    traffic: { director: zone, pool: up.example.com, port: 80 }
    drain: { fence: firewall }
  portless:
    move: { from: dal-2, to: fra-2 }
    strategy: cutover
    state: { directory: /srv/up }
    traffic: { director: edge, pool: down }
    drain: { fence: firewall }
"
);

plan!(
    a_freeze_that_is_bounded_is_one_and_can_be_taken_back,
    "\
migration: x
inventory: inventory.yaml
services:
  ramps:
    move: { from: dal-1, to: fra-1 }
    strategy: ramp
    traffic: { director: zone, pool: up.example.com, port: 80 }
    freeze: { within: 30s }
  unsaid:
    move: { from: dal-2, to: fra-2 }
    state: { directory: /srv/up }
    freeze: { within: 30s, attempts: 0, pause: later }
    hooks: { at: freeze, run: stop }
  endless:
    move: { from: dal-2, to: fra-2 }
    state: { directory: /srv/up }
    freeze: { attempts: 2 }
"
);

#[test]
fn a_pooler_is_on_a_host_that_exists() {
    let plan = "migration: x\ninventory: inventory.yaml\nservices:\n  db:\n    move: { from: dal-1, to: fra-1 }\n    state:\n      postgres:\n        \
                from: { data: /srv/pg }\n        to: { data: /srv/pg }\n        link: { user: replicator }\n        \
                pooler: { pgbouncer: dal-3, database: app }\n";
    let said = Files::new(plan, INVENTORY).problems();
    assert_only(&said, "error: unknown host `dal-3`");
    assert_eq!(Files::new(&plan.replace("dal-3", "dal-2"), INVENTORY).problems(), "");
}

#[test]
fn a_pooler_keeps_its_clients_for_longer_than_the_freeze_may_take() {
    let plan = |freeze: &str, pooler: &str| {
        let plan = format!(
            "migration: x\ninventory: inventory.yaml\nservices:\n  db:\n    move: {{ from: dal-1, to: fra-1 }}\n    freeze: {{ within: {freeze} }}\n    \
             state:\n      postgres:\n        from: {{ data: /srv/pg }}\n        to: {{ data: /srv/pg }}\n        link: {{ user: replicator }}\n        \
             pooler: {{ pgbouncer: dal-2, database: app{pooler} }}\n"
        );
        Files::new(&plan, INVENTORY).problems()
    };
    let said = plan("60s", "");
    assert_only(&said, "error: clients of `db` wait for 1m 00s (`resumes_after`), and the freeze may take 1m 00s");
    assert!(said.contains("`freeze` is asked for at plan.yaml:6:5"), "{said}");
    assert_eq!(plan("59s", ""), "");
    assert_eq!(plan("60s", ", resumes_after: 61s"), "");
}

#[test]
fn off_is_off_however_it_is_written() {
    for off in ["off", "\"off\"", "false"] {
        let plan = format!(
            "migration: x\ninventory: inventory.yaml\nservices:\n  up:\n    move: {{ from: old, to: new }}\n    state: {{ directory: /srv/up }}\n    \
             reverse: {off}\n    hooks:\n      - {{ at: freeze, run: stop, undo: start }}\n      - {{ at: thaw, run: start, undo: stop }}\n"
        );
        assert_eq!(Files::new(&plan, INVENTORY).problems(), "", "{off}");
    }
}
