//! `migrate audit` and `migrate lock` as their users meet them.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use migrate::lock::Locks;
use migrate::store::file::CHECKPOINTS;
use migrate::store::file::LockDir;

use super::support::{RUN, operator, whole_run, write};
use crate::lab::packages;

fn migrate(state: &Path, args: &[&str]) -> (i32, String, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_migrate")).env("MIGRATE_STATE_DIR", state).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn state_with_a_run() -> tempfile::TempDir {
    let state = tempfile::tempdir().unwrap();
    let run = state.path().join("runs").join(RUN);
    std::fs::create_dir_all(&run).unwrap();
    write(&run, state.path(), whole_run(2));
    state
}

fn journal(state: &Path) -> std::path::PathBuf {
    state.join("runs").join(RUN).join("journal")
}

#[test]
fn an_intact_run_is_called_so_and_a_changed_one_ends_with_1_and_its_record() {
    let state = state_with_a_run();
    let (code, key, _) = migrate(state.path(), &["audit", "key"]);
    assert!(code == 0 && key.starts_with("ed25519:"), "{key}");
    let (code, out, _) = migrate(state.path(), &["audit", "verify", RUN]);
    assert_eq!(code, 0, "{out}");
    let shown: Vec<String> = out
        .replace(key.trim(), "KEY")
        .lines()
        .map(|l| if l.starts_with("  sealed") { l.split(" at ").next().unwrap().to_owned() } else { l.to_owned() })
        .collect();
    insta::assert_snapshot!(shown.join("\n"), @r"
    run web-1: 8 records and 4 checkpoints, expected of KEY
      sealed up to record 7
    intact: no sealed record was altered, removed, moved or cut off
    not excluded: that the run was cut off at its end, or written anew and sealed again, by someone who can read the audit key: compare with copies from another place, `--since FILE`
    ");

    let copies = journal(state.path()).with_file_name(CHECKPOINTS);
    let (code, out, _) =
        migrate(state.path(), &["audit", "verify", RUN, "--since", copies.to_str().unwrap(), "--key", key.trim()]);
    assert!(code == 0 && out.contains("compared with 4 copied checkpoints, the newest at record 7"), "{out}");

    let mut bytes = std::fs::read(journal(state.path())).unwrap();
    let middle = bytes.len() * 3 / 4;
    bytes[middle] ^= 1;
    std::fs::write(journal(state.path()), bytes).unwrap();
    let (code, out, _) = migrate(state.path(), &["audit", "verify", RUN]);
    assert!(code == 1 && out.contains("NOT INTACT") && out.contains("record "), "{out}");
    let (code, out, _) = migrate(state.path(), &["audit", "verify", RUN, "--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["intact"], &report["findings"][0]["kind"]), (1, &false.into(), &"changed".into()));
}

#[test]
fn a_run_whose_journal_was_emptied_is_not_passed_over() {
    let state = state_with_a_run();
    let bytes = std::fs::read(journal(state.path())).unwrap();
    let header = bytes.iter().position(|b| *b == b'\n').unwrap() + 1;
    std::fs::write(journal(state.path()), &bytes[..header]).unwrap();
    let (_, out, _) = migrate(state.path(), &["status"]);
    assert!(out.contains(RUN), "{out}");
    let (code, out, _) = migrate(state.path(), &["audit", "verify", RUN]);
    assert!(code == 1 && out.contains("records 0 to 7 are missing"), "{out}");
}

#[test]
fn without_a_key_to_expect_nothing_is_called_intact() {
    let state = state_with_a_run();
    let (_, key, _) = migrate(state.path(), &["audit", "key"]);
    std::fs::remove_file(state.path().join("audit-key.pem")).unwrap();
    let (code, _, err) = migrate(state.path(), &["audit", "verify", RUN]);
    assert!(code == 1 && err.contains("--key ed25519:"), "{err}");
    assert_eq!(migrate(state.path(), &["audit", "verify", RUN, "--key", key.trim()]).0, 0);
    let other = format!("ed25519:{}", "5866".repeat(16));
    let (code, out, err) = migrate(state.path(), &["audit", "verify", RUN, "--key", &other]);
    assert!(code != 0 && !out.contains("intact: no"), "{out}{err}");
    let (code, _, err) = migrate(state.path(), &["audit", "verify", "nope"]);
    assert!(code == 1 && err.contains("there is no run named nope"), "{err}");
    assert_eq!(migrate(state.path(), &["audit", "verify", "../runs/web-1"]).0, 1);
}

/// The recipe of docs/audit.md.
#[test]
fn another_tool_agrees_with_the_signature() {
    let state = state_with_a_run();
    let lines = std::fs::read_to_string(journal(state.path()).with_file_name(CHECKPOINTS)).unwrap();
    let (body, signature) = lines.lines().next().unwrap().rsplit_once(",\"sig\":\"").unwrap();
    let signature = migrate::text::unhex(signature.strip_suffix("\"}").unwrap()).unwrap();
    std::fs::write(state.path().join("signed"), format!("migrate checkpoint\n{body}}}")).unwrap();
    std::fs::write(state.path().join("signature"), signature).unwrap();
    let openssl = |args: &str| {
        let output = Command::new(packages::program("openssl", "openssl"))
            .current_dir(state.path())
            .args(args.split(' '))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    openssl("pkey -in audit-key.pem -pubout -out public.pem");
    openssl("pkeyutl -verify -pubin -inkey public.pem -rawin -in signed -sigfile signature");
}

#[test]
fn every_act_is_exported_with_who_where_what_when_and_how_it_ended() {
    let state = state_with_a_run();
    let (code, out, _) = migrate(state.path(), &["audit", "export", RUN]);
    assert_eq!(code, 0);
    let acts: Vec<serde_json::Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(acts.len(), 8);
    for (seq, act) in acts.iter().enumerate() {
        assert_eq!(
            (&act["seq"], &act["run"], &act["operator"]["user"]),
            (&seq.into(), &RUN.into(), &"ada".into()),
            "{act}"
        );
        assert!(act["at"].as_str().unwrap().starts_with("20"), "{act}");
    }
    let named: Vec<&str> = acts.iter().map(|a| a["act"].as_str().unwrap()).collect();
    assert_eq!(named, ["started", "intent", "outcome", "held", "resumed", "intent", "outcome", "finished"]);
    let outcome = &acts[2];
    assert_eq!(
        (&outcome["step"], &outcome["result"], &outcome["says"]),
        (&"step-0".into(), &"done".into(), &"seen".into())
    );
    assert_eq!(outcome["command"], "until all before it is done");
}

#[test]
fn locks_are_shown_and_broken_by_name() {
    let state = tempfile::tempdir().unwrap();
    let (code, out, _) = migrate(state.path(), &["lock", "show"]);
    assert_eq!((code, out.as_str()), (0, "Nothing is locked.\n"));
    assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0, "looking writes nothing");

    let locks = Locks::new(std::sync::Arc::new(LockDir::new(state.path())), &operator(), Duration::from_secs(60));
    let lease = locks.acquire(["plan:web".into(), "pair:a:b".into()].into(), "migrate apply web.yaml").unwrap();
    let (_, out, _) = migrate(state.path(), &["lock", "show"]);
    for part in
        ["ada@desk", "migrate apply web.yaml", "in force", "  pair:a:b\n  plan:web\n", &lease.fence().to_string()]
    {
        assert!(out.contains(part), "{part} is not in: {out}");
    }
    let (_, out, _) = migrate(state.path(), &["lock", "show", "--format", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&shown[0]["standing"], &shown[0]["owner"]["host"]), (&"held".into(), &"desk".into()));

    let (code, _, err) = migrate(state.path(), &["lock", "break", "pair:a:b"]);
    assert!(code == 1 && err.contains("--yes"), "nobody is there to ask: {err}");
    let (code, out, _) = migrate(state.path(), &["lock", "break", "pair:a:b", "--yes"]);
    assert!(code == 0 && out.contains("2 locks") && out.contains("is void"), "{out}");
    assert!(lease.check(Duration::ZERO).is_err());
    let (code, _, err) = migrate(state.path(), &["lock", "break", "pair:a:b", "--yes"]);
    assert!(code == 1 && err.contains("migrate lock show"), "{err}");
}

#[test]
fn apply_is_refused_while_another_run_moves_the_same_pair_and_says_by_whom() {
    let state = tempfile::tempdir().unwrap();
    let locks = Locks::new(std::sync::Arc::new(LockDir::new(state.path())), &operator(), Duration::from_secs(60));
    let _lease = locks.acquire(["plan:other".into(), "pair:a:b".into()].into(), "migrate apply other.yaml").unwrap();
    std::fs::write(state.path().join("inv.yaml"), "hosts: { a: { address: 127.0.0.1 }, b: { address: 127.0.0.2 } }\n")
        .unwrap();
    let plan = "migration: web\ninventory: inv.yaml\nservices: { web: { move: { from: [a], to: [b] }, state: { directory: /srv } } }\n";
    let path = state.path().join("plan.yaml");
    std::fs::write(&path, plan).unwrap();
    let (code, _, err) = migrate(state.path(), &["apply", "--yes", path.to_str().unwrap()]);
    assert_eq!(code, 1);
    for part in ["pair:a:b is locked by ada@desk", "migrate apply other.yaml", "migrate lock break pair:a:b --yes"] {
        assert!(err.contains(part), "{part} is not in: {err}");
    }
    assert!(!state.path().join("runs").exists(), "nothing was begun");
}
