//! Ctrl-C on a real terminal: once, twice, and in a rollback.

use super::support::*;
use super::terminal::Terminal;
use crate::lab::fleet::Fleet;

#[test]
fn ctrl_c_on_a_terminal_stops_at_a_safe_point_and_twice_at_once() {
    let fleet = ramp(1);
    let before = pool(&fleet);
    fleet.place.edit(RAMP, "hold: 200ms", "hold: 1m");
    fleet.place.edit(RAMP, "at: before_shift", "at: before_shift\n        timeout: 2m");
    fleet.place.edit(RAMP, "run: sleep 0.3; echo", "run: test -e {{ lab }}/go || sleep 30; echo");
    let load = fleet.load(USERS);
    let mut terminal = Terminal::start(&fleet, &format!("apply {RAMP}"));
    terminal.wait_for("Apply this plan?");
    terminal.say_yes();
    while begun(&records_if_any(&fleet), false).last().map(String::as_str) != Some("web/dal-1/before_shift") {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // The command is under way: the first waits for it, the second does not.
    terminal.press_ctrl_c();
    terminal.wait_for("safe point");
    terminal.press_ctrl_c();
    let (seen, code) = terminal.finish();
    assert_eq!(code, 130, "{seen}");
    std::fs::write(fleet.place.root().join("go"), "").unwrap();
    for pid in fleet.host("fra-1").sshd.session_processes() {
        // What the command sleeps for is over now.
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.trim() == "sleep" {
            let _ = std::process::Command::new("kill").arg(pid.to_string()).output();
        }
    }
    let mut terminal = Terminal::start(&fleet, &format!("apply {RAMP} --yes"));
    terminal.wait_for("watch");
    terminal.press_ctrl_c();
    let (seen, code) = terminal.finish();
    assert_eq!(code, 3, "{seen}");
    assert!(seen.contains("Stopped at a safe point"), "{seen}");
    migrate(&fleet).run(&["set", "web", "hold=100ms"]).expect(0);
    // The way back can be stopped as well, and gone on with.
    migrate(&fleet).run(&["rollback", "web", "--yes"]).expect(0);
    assert_eq!(pool(&fleet), before);
    assert_kept(&fleet, &load.stop());
}

fn records_if_any(fleet: &Fleet) -> Vec<migrate::event::Record> {
    migrate::store::file::read(&journal(fleet, "web-1")).unwrap_or_default()
}
