//! A reload of HAProxy after the run keeps what the run did, or the run says what is missing and is not finished.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use super::support::*;
use crate::lab::fleet::{BACKEND, Fleet};

fn config(fleet: &Fleet) -> PathBuf {
    fleet.haproxy().config().to_owned()
}

fn text(fleet: &Fleet) -> String {
    fs::read_to_string(config(fleet)).unwrap()
}

fn edit(fleet: &Fleet, from: &str, to: &str) {
    let old = text(fleet);
    assert!(old.contains(from), "{old}");
    fs::write(config(fleet), old.replace(from, to)).unwrap();
}

/// The line of a server, and its number.
fn line(fleet: &Fleet, server: &str) -> (usize, String) {
    let text = text(fleet);
    let found = text.lines().zip(1..).find(|(line, _)| line.contains(&format!("server {server} ")));
    found.map(|(line, n)| (n, line.to_owned())).unwrap()
}

/// Reloads, and what the pool is then: name, administrative state and weight.
fn reloaded(fleet: &mut Fleet) -> Vec<String> {
    fleet.haproxy_mut().reload();
    let state = fleet.haproxy().command(&format!("show servers state {BACKEND}"));
    let servers = state.lines().filter(|line| line.contains(BACKEND)).map(|line| line.split(' ').collect::<Vec<_>>());
    servers.map(|at| format!("{} {} {}", at[3], if at[6] == "0" { "ready" } else { "out" }, at[7])).collect()
}

fn leftovers(fleet: &Fleet) -> Vec<String> {
    let names = fs::read_dir(config(fleet).parent().unwrap()).unwrap().map(|e| e.unwrap().file_name());
    names.map(|n| n.to_string_lossy().into_owned()).filter(|n| n.contains("migrate-")).collect()
}

#[test]
fn a_service_is_not_finished_while_a_reload_would_take_it_back() {
    let mut fleet = ramp(1);
    fleet.place.edit(RAMP, "    persist: write\n", "");
    let path = fleet.place.root().join("haproxy.cfg").display().to_string();
    let lines = [("dal-1", "weight 100", "disabled"), ("fra-1", "weight 0", "weight 100")].map(|(server, from, to)| {
        format!("{path}:{}: `server {server} … {from}` → `server {server} … {to}`", line(&fleet, server).0)
    });
    let planned = migrate(&fleet).run(&["plan", RAMP]).expect(0).stdout;
    let held = migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(3);
    let said = unwrapped(&format!("{}{}", held.stdout, held.stderr));
    for line in lines {
        assert!(unwrapped(&planned).contains(&line), "plan does not say {line}: {planned}");
        assert!(said.contains(&line), "apply does not say {line}: {said}");
    }
    assert_eq!(weight(&fleet, "fra-1"), 100, "the move itself is done");
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(3);
    edit(&fleet, " weight 100 ", " weight 100 disabled ");
    edit(&fleet, " weight 0 ", " weight 100 ");
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert_status(&fleet, "web-1", "finished");
    assert_eq!(reloaded(&mut fleet), ["dal-1 out 100", "fra-1 ready 100"]);
}

/// Without line breaks and what surrounds them.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn only_the_words_that_say_otherwise_are_written_and_a_rollback_takes_them_back() {
    let mut fleet = ramp(2);
    let path = config(&fleet);
    edit(&fleet, "global\n", "# caf\u{e9} \t\nglobal\n");
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"# \xff is not UTF-8\r\n");
    fs::write(&path, &bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let (mode, owner) = (fs::metadata(&path).unwrap().mode(), fs::metadata(&path).unwrap().uid());
    let before = bytes;
    let planned = unwrapped(&migrate(&fleet).run(&["plan", RAMP]).expect(0).stdout);
    assert!(planned.contains("`server dal-2 … weight 100` → `server dal-2 … disabled`"), "{planned}");
    assert_eq!(fs::read(&path).unwrap(), before, "plan writes nothing");
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    let after = fs::read(&path).unwrap();
    let lines = |bytes: &[u8]| bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    for (old, new) in lines(&before).into_iter().zip(lines(&after)) {
        let (old_text, new_text) = (String::from_utf8_lossy(&old), String::from_utf8_lossy(&new));
        match old_text.trim_start() {
            dal if dal.starts_with("server dal-") => assert_eq!(new_text, old_text.replace("100 ", "100 disabled ")),
            fra if fra.starts_with("server fra-") => assert_eq!(new_text, old_text.replace("weight 0 ", "weight 100 ")),
            _ => assert_eq!(old, new, "{old_text}"),
        }
    }
    let now = fs::metadata(&path).unwrap();
    assert_eq!((now.mode(), now.uid()), (mode, owner));
    assert_eq!(leftovers(&fleet), Vec::<String>::new());
    let kept = ["dal-1 out 100", "dal-2 out 100", "fra-1 ready 100", "fra-2 ready 100"];
    assert_eq!(reloaded(&mut fleet), kept);
    migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(0);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::metadata(&path).unwrap().mode(), mode);
    assert_eq!(leftovers(&fleet), Vec::<String>::new());
}

#[test]
fn a_rollback_never_takes_somebody_elses_change_along() {
    let fleet = ramp(1);
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    edit(&fleet, "  retries 3\n", "  retries 4\n");
    let theirs = text(&fleet);
    let held = migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(3);
    let (n, _) = line(&fleet, "fra-1");
    let said = unwrapped(&format!("{}{}", held.stdout, held.stderr));
    for words in ["somebody else has changed it", &format!("line {n} (fra-1) was to go from `100` to `0`")] {
        assert!(said.contains(words), "does not say {words:?}: {said}");
    }
    assert_eq!(text(&fleet), theirs);
    assert_eq!(leftovers(&fleet), Vec::<String>::new());
    // Somebody puts the words back by hand, and the rest goes back by itself.
    edit(&fleet, " weight 100 disabled ", " weight 100 ");
    migrate(&fleet).run(&["resolve", "web", "web/write-config", "--done", "--why", "by hand"]).expect(0);
    migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(0);
    assert_eq!((weight(&fleet, "dal-1"), weight(&fleet, "fra-1")), (100, 0));
}

#[test]
fn what_haproxy_would_not_take_is_not_written_and_is_tried_again_when_it_is_mended() {
    let fleet = ramp(1);
    edit(&fleet, "  retries 3\n", "  retires 3\n");
    let broken = text(&fleet);
    let held = migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(3);
    let said = unwrapped(&format!("{}{}", held.stdout, held.stderr));
    assert!(said.contains("would not be taken by HAProxy") && said.contains("'retires'"), "{said}");
    assert_eq!((text(&fleet), leftovers(&fleet)), (broken, Vec::new()));
    edit(&fleet, "  retires 3\n", "  retries 3\n");
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert!(line(&fleet, "dal-1").1.contains("weight 100 disabled"), "{}", text(&fleet));
}

#[test]
fn the_file_on_another_host_is_written_there() {
    let mut fleet = ramp(1);
    let path = fleet.place.root().join("haproxy.cfg").display().to_string();
    fleet.place.edit(
        "inventories/lab.yaml",
        "config: /tmp/migrate-lab/haproxy.cfg",
        "config: \"ssh:dal-1:/tmp/migrate-lab/haproxy.cfg\"",
    );
    let planned = unwrapped(&migrate(&fleet).run(&["plan", RAMP]).expect(0).stdout);
    assert!(planned.contains(&format!("{path}:{}: `server dal-1", line(&fleet, "dal-1").0)), "{planned}");
    let before = text(&fleet);
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    assert_eq!(leftovers(&fleet), Vec::<String>::new());
    assert_eq!(reloaded(&mut fleet), ["dal-1 out 100", "fra-1 ready 100"]);
    migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(0);
    assert_eq!(text(&fleet), before);
}

#[test]
fn states_that_are_saved_at_a_reload_keep_the_move_and_are_no_drift() {
    let mut fleet = ramp(1);
    fleet.place.edit(RAMP, "    persist: write\n", "");
    let saved = fleet.place.root().join("haproxy.state");
    fs::write(&saved, "").unwrap();
    edit(&fleet, "global\n", &format!("global\n  server-state-file {}\n", saved.display()));
    edit(&fleet, "defaults\n", "defaults\n  load-server-state-from-file global\n");
    reloaded(&mut fleet);
    let save = |fleet: &Fleet| fs::write(&saved, fleet.haproxy().command("show servers state")).unwrap();
    // In the middle of the run as well: what was saved is what the run has set.
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 3s");
    let mut running = apply(&fleet, RAMP);
    wait_for_intent(&mut running, "web/watch-10", false);
    save(&fleet);
    fleet.haproxy_mut().reload();
    let ended = running.finish().expect(3);
    let told = unwrapped(&format!("{}{}", ended.stdout, ended.stderr));
    assert!(told.contains("a restart would not keep") && !told.contains("drifted"), "{told}");
    // Nobody has saved what was set after that.
    save(&fleet);
    migrate(&fleet).run(&["apply", RAMP, "--yes"]).expect(0);
    let kept = reloaded(&mut fleet);
    assert_eq!(kept, ["dal-1 out 100", "fra-1 ready 100"]);
    let planned = migrate(&fleet).run(&["plan", RAMP]).expect(0).stdout;
    assert!(!planned.contains("a reload would change"), "{planned}");
}

#[test]
fn what_runs_is_compared_with_the_disk_before_anything_moves() {
    let fleet = ramp(1);
    fleet.haproxy().command(&format!("set weight {BACKEND}/dal-1 50"));
    let planned = unwrapped(&migrate(&fleet).run(&["plan", RAMP]).expect(0).stdout);
    let (n, _) = line(&fleet, "dal-1");
    let words = format!(
        "a reload would change what runs: {}:{n} says `server dal-1 … weight 100`, and `server dal-1 … weight 50` runs",
        fleet.place.root().join("haproxy.cfg").display()
    );
    assert!(planned.contains(&words), "{planned}");
}
