//! What to do about a host key that is not trusted.
//!
//! Owns the line that adds a key. Must never name a file that is not the user's own, and never a command that asks another host than
//! the one that was dialled.

use russh::keys::PublicKey;

use crate::ssh::config::{Endpoint, shown};
use crate::text::shell::quote;

/// The kind of a key, as `ssh-keyscan -t` and the names of host key files have it.
fn kind(key: &PublicKey) -> String {
    let kind = key.algorithm().to_string();
    if kind.starts_with("ecdsa") { "ecdsa".to_owned() } else { kind.trim_start_matches("ssh-").to_owned() }
}

/// About a key that is another than the known one.
pub(super) fn changed(key: &PublicKey) -> String {
    format!(
        "someone may be in between, or the host was installed anew: compare with the host's own `ssh-keygen -lf \
         /etc/ssh/ssh_host_{}_key.pub` on its console before anything is trusted",
        kind(key)
    )
}

/// About a key that nobody knows.
pub(super) fn how_to_add(endpoint: &Endpoint, key: &PublicKey) -> String {
    let kind = kind(key);
    let (file, remark) = own_file(endpoint);
    format!(
        "compare the fingerprint with the host's own (`ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub` on its console); \
         if it is the same, add it: {} >> {file}{remark}",
        line(endpoint, key, &kind)
    )
}

/// The user's own file, and what more has to be done so that it is read.
fn own_file(endpoint: &Endpoint) -> (String, &'static str) {
    let own = endpoint.known_hosts.iter().find(|file| !file.starts_with("/etc") && !file.starts_with("/dev"));
    match own {
        Some(file) => (shown(file), ""),
        None => (
            "~/.ssh/known_hosts".to_owned(),
            ", and name that file by `known_hosts` under `ssh` in the inventory, since ssh_config does not",
        ),
    }
}

/// A command that prints the line to add. Where the host cannot be asked from here, the key that it has just shown is taken.
fn line(endpoint: &Endpoint, key: &PublicKey, kind: &str) -> String {
    let name = &endpoint.known_as.name;
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:".contains(c));
    let is_alias = !name.contains(&endpoint.address.to_lowercase());
    if endpoint.is_direct() && (is_plain || !is_alias) {
        let port = if endpoint.port == 22 { String::new() } else { format!("-p {} ", endpoint.port) };
        let alias = if is_alias { format!(" | sed \"s/^[^ ]*/{name}/\"") } else { String::new() };
        return format!("ssh-keyscan {port}-t {kind} {}{alias}", endpoint.address);
    }
    let key = key.to_openssh().unwrap_or_default();
    format!("echo {}", quote(&format!("{name} {}", key.trim())))
}
