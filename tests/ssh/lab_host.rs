//! The lab's own promises, checked with OpenSSH's client.

use crate::lab::sshd::Sshd;

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
    let home = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    assert_eq!(home, host.home().to_str().unwrap(), "{}", host.log_text());
    assert_eq!(host.session_processes().len(), 1);
    host.stop();
    assert_eq!(host.session_processes().len(), 0);
    host.start_again();
}
