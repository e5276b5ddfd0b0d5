//! SSH against the real OpenSSH server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs
)]

mod lab;

use lab::sshd::Sshd;

#[test]
fn a_lab_host_has_its_own_home_and_leaves_nothing_running() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = Sshd::start(&dir.path().join("a"), "a");
    let out = std::process::Command::new("ssh")
        .args(["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-i"])
        .arg(host.client_key())
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", host.known_hosts().display()))
        .args(["-p", &host.addr().port().to_string(), &host.addr().ip().to_string()])
        .arg("echo $HOME; setsid sleep 600 >/dev/null 2>&1 </dev/null &")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&out.stdout).trim(),
        host.home().to_str().unwrap(),
        "{}\n{}",
        String::from_utf8_lossy(&out.stderr),
        host.log_text()
    );
    assert_eq!(host.session_processes().len(), 1);
    host.stop();
    assert_eq!(host.session_processes().len(), 0);
    host.start_again();
}
