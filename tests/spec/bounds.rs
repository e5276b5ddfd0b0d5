//! What is too large, too deep, too clever or no text at all ends in one clear error.

use std::os::unix::fs::FileExt as _;

use crate::spec::support::Files;

/// What is said about a plan of these bytes.
fn said(plan: &[u8]) -> String {
    let files = Files::new("", "hosts: {}\n");
    files.write("plan.yaml", plan);
    files.problems()
}

#[track_caller]
fn says(plan: impl AsRef<[u8]>, message: &str) {
    let said = said(plan.as_ref());
    assert!(said.contains(&format!("error: {message}")), "{said}");
    assert!(said.lines().count() < 30, "{said}");
}

#[test]
fn a_file_of_a_hundred_megabytes_is_refused_unread() {
    let files = Files::new("", "hosts: {}\n");
    std::fs::File::create(files.path("plan.yaml")).unwrap().set_len(100 << 20).unwrap();
    let said = files.problems();
    assert!(said.contains("cannot read plan.yaml: it has 100.0 MiB, more than the limit of 4.0 MiB"), "{said}");
}

#[test]
fn a_file_just_over_the_limit_is_refused_and_one_at_the_limit_is_read() {
    let files = Files::new("", "hosts: {}\n");
    let file = std::fs::File::create(files.path("plan.yaml")).unwrap();
    file.write_all_at(b"migration: x\n#", 0).unwrap();
    let comment = vec![b'.'; (4 << 20) - 14];
    file.write_all_at(&comment, 14).unwrap();
    assert!(files.problems().contains("the plan needs `services`"));
    file.write_all_at(b".", 4 << 20).unwrap();
    assert!(files.problems().contains("more than the limit"), "{}", files.problems());
}

#[test]
fn a_directory_and_a_device_are_no_plans() {
    let files = Files::new("", "hosts: {}\n");
    for path in [files.path(""), "/dev/zero".into()] {
        let said = migrate::config::load(&path, None, &crate::spec::support::options()).unwrap_err().to_string();
        assert!(said.contains("it is not a regular file"), "{said}");
    }
}

#[test]
fn a_bomb_of_aliases_does_not_go_off() {
    let mut bomb = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
    for (before, name) in ('a'..='y').zip('b'..='z') {
        bomb.push_str(&format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(",")));
    }
    says(bomb, "the aliases of this file stand for too much text");
}

#[test]
fn many_aliases_of_one_large_anchor_do_not_add_up() {
    let large = format!("a: &a [{}]\n", vec!["x"; 20_000].join(","));
    let uses: String = (0..5000).map(|n| format!("k{n}: *a\n")).collect();
    says(format!("{large}{uses}"), "the aliases of this file stand for too much text");
}

#[test]
fn an_alias_cannot_hold_itself() {
    says("a: &a [*a]\n", "this alias stands inside the value it refers to");
    says("a: &a { b: &b [*a, *b] }\n", "this alias stands inside the value it refers to");
}

#[test]
fn nesting_ends_at_thirty_two_levels() {
    says("[".repeat(100_000), "lists and mappings are nested deeper than 32 levels");
    says("{a: ".repeat(100_000), "lists and mappings are nested deeper than 32 levels");
    says("- ".repeat(100_000), "lists and mappings are nested deeper than 32 levels");
    let steps: String = (0..1500).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    says(steps, "lists and mappings are nested deeper than 32 levels");
}

#[test]
fn values_end_at_two_hundred_thousand() {
    says(format!("a: [{}]", "1,".repeat(300_000)), "the file holds more than 200,000 values");
    says(format!("a: [{}]", "[],".repeat(300_000)), "the file holds more than 200,000 values");
}

#[test]
fn hundreds_of_thousands_of_problems_are_counted_not_kept() {
    let keys: String = (0..90_000).map(|n| format!("k{n}: 1\n")).collect();
    let said = said(keys.as_bytes());
    assert!(said.ends_with("90,002 errors"), "{}", said.lines().last().unwrap());
    assert!(said.len() < 50_000);
}

#[test]
fn one_line_of_megabytes_is_shown_in_one_line_of_text() {
    let said = said(format!("migration: x\nservices: {{ {} }}", "bad: 1, worse: 2, ".repeat(50_000)).as_bytes());
    assert!(said.len() < 60_000, "{}", said.len());
    assert!(said.lines().all(|line| line.chars().count() < 250));
}

#[test]
fn what_is_no_text_says_where() {
    says(b"migration: x\ndescription: a\0b\n", "the file holds a NUL byte\n --> plan.yaml:2:15");
    says(b"migration: x\ndescription: a\xffb\n", "the file is not valid UTF-8 here\n --> plan.yaml:2:15");
    says(b"\xff\xfem\0i\0g\0", "the file is not valid UTF-8 here\n --> plan.yaml:1:1");
    says("migration: \"a\\0b\"\n", "`migration` holds the control character U+0000");
}

#[test]
fn a_mark_at_the_beginning_and_windows_line_ends_change_nothing() {
    let unix = std::fs::read_to_string(crate::spec::support::good("inventory.yaml")).unwrap();
    let files = Files::new("", &format!("\u{feff}{}", unix.replace('\n', "\r\n")));
    for source in ["dallas", "frankfurt", "old", "mine"] {
        let copy = format!("inventory.{source}.fetched.yaml");
        files.write(&copy, std::fs::read(crate::spec::support::good(&copy)).unwrap());
    }
    assert_eq!(files.inventory_problems(), "");
}

#[test]
fn thousands_of_hosts_fit() {
    let range =
        "hosts:\n  web-[0001-2500]: { address: \"{{ name }}.example.com\", tags: [web], vars: { data: /srv } }\n";
    let written: String = (0..2500)
        .map(|n| format!("  db-{n}: {{ address: db-{n}.example.com, tags: [db], vars: {{ data: /srv, port: 1 }} }}\n"))
        .collect();
    let files = Files::new("", &format!("{range}{written}groups: {{ all: {{}} }}\n"));
    let (inventory, ..) =
        migrate::config::load_inventory(&[&files.path("inventory.yaml")], &crate::spec::support::options()).unwrap();
    assert_eq!(inventory.hosts.len(), 5000);
    assert_eq!(inventory.groups["all"].len(), 5000);
    assert_eq!(inventory.groups["all"][..2], ["db-0", "db-1"]);
}

#[test]
fn ranges_do_not_multiply() {
    let ranges: String =
        (0..400).map(|n| format!("  h{n}-[1-10000]: {{ address: \"{{{{ name }}}}.example.com\" }}\n")).collect();
    let said = Files::new("", &format!("hosts:\n{ranges}")).inventory_problems();
    assert!(said.contains("the ranges of this file stand for more than 100,000 names"), "{said}");
}

/// Each of these would take minutes if a check compared everything with everything.
#[test]
fn many_of_everything_stays_cheap() {
    let many = |n: usize, piece: fn(usize) -> String| (0..n).map(piece).collect::<String>();
    let head = "migration: x\ninventory: inventory.yaml\n";
    let service = "  up: { move: { from: a, to: b }, traffic: { director: d, pool: p } }\n";
    let base =
        "hosts: { a: { address: 10.0.0.1 }, b: { address: 10.0.0.2 } }\ndirectors: { d: { haproxy: \"tcp:a:1\" } }\n";
    let plans = [
        format!(
            "{head}services:\n{service}waves: [{}]",
            many(10_000, |n| format!("{{name: w{n}, services: up, after: w{}}},", n + 1))
        ),
        format!("{head}services: {{ {} }}", many(15_000, |n| format!("s{}: {{}},", n / 2))),
        format!("{head}services:\n  up: {{ move: {{ from: [{0}], to: [{0}] }} }}", many(90_000, |n| format!("h{n},"))),
        format!("{head}services:\n  up: {{ move: {{ pair: {{ {} }} }} }}", many(40_000, |n| format!("h{n}: g{n},"))),
        format!("{head}services:\n  up: {{ state: [{}] }}", many(40_000, |n| format!("directory: /srv/{n},"))),
    ];
    for plan in plans {
        let said = Files::new(&plan, base).problems();
        assert!(said.contains(" errors"), "{said}");
    }
    let hosts = "hosts:\n  h[1-10000]: { address: \"{{ name }}.a\", ssh: { jump: h1 } }\n";
    let inventories = [
        format!("{hosts}groups: {{ {} }}", many(10_000, |n| format!("g{n}: {{}},"))),
        format!("{hosts}groups: {{ g: [{}] }}", many(90_000, |n| format!("x{n},"))),
        format!(
            "hosts:\n{}",
            many(15_000, |n| format!("  h{n}: {{ address: h{n}.a, ssh: {{ jump: h{} }} }}\n", (n + 1) % 15_000))
        ),
        format!("hosts: {{ {} }}", many(10_000, |n| format!("h{n}: {{ secret: hunter{n}, adress: x }},"))),
    ];
    for inventory in inventories {
        let said = Files::new("", &inventory).inventory_problems();
        assert!(said.contains("error"), "{said}");
        assert!(!said.contains("hunter"), "{said}");
    }
}
