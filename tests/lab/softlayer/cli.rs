//! The client that the double is held to, run against it.

use std::process::{Command, Output};

use super::SoftLayer;
use crate::lab::python;

const SLCLI: &str = "SoftLayer==6.2.9";

/// slcli with these words.
pub fn run(api: &SoftLayer, words: &[&str]) -> Output {
    let dir = tempfile::tempdir().expect("a private directory");
    let program = python::programs(&[SLCLI]).join("slcli");
    let mut command = Command::new(program);
    command.arg("-C").arg(api.settings(dir.path())).args(["--format", "jsonraw", "-y"]).args(words);
    command.env_clear().env("HOME", dir.path()).env("NO_PROXY", "127.0.0.1").env("COLUMNS", "200");
    command.output().expect("slcli runs")
}

/// What slcli says of the double, as JSON.
#[track_caller]
pub fn said(api: &SoftLayer, words: &[&str]) -> serde_json::Value {
    let out = run(api, words);
    let (text, errors) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "slcli {words:?}: {text}{errors}");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("slcli {words:?}: {e}: {text}"))
}
