//! Commands on hosts.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use insta::assert_snapshot;
use migrate::ssh::Upload;

use super::*;
use proptest::test_runner::{Config, TestRunner};

#[tokio::test]
async fn a_command_gives_its_status_and_both_outputs() {
    let lab = lab();
    let output = lab.run("echo out; echo err >&2; exit 7").await;
    let expected = Output { status: 7, stdout: b"out\n".into(), stderr: b"err\n".into(), truncated: false };
    assert_eq!(output, expected);
}

#[tokio::test]
async fn what_a_background_process_holds_open_does_not_delay_the_result() {
    let lab = lab();
    assert_eq!(text(&lab.run("sleep 600 & echo started").await.stdout), "started\n");
}

#[tokio::test]
async fn death_by_a_signal_is_told() {
    let lab = lab();
    assert_eq!(lab.run("kill -9 $$").await.status, 128 + 9);
    assert_eq!(lab.run("kill -TERM $$").await.status, 128 + 15);
}

#[test]
fn any_text_survives_as_argument_and_as_environment() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let lab = runtime.block_on(async { lab() });
    let texts = proptest::collection::vec("[^\0]{0,40}|[-'\"$\\\\! \n\t`;&|<>(){}*?~#=%äé☃\u{1}\u{7f}]{0,12}", 0..6);
    TestRunner::new(Config { cases: 60, ..Config::default() })
        .run(&(texts, "[^\0]{0,60}"), |(args, value)| {
            let command = Command {
                script: r#"printf '%s\0' "$#" "$@" "$VALUE""#.to_owned(),
                args: args.clone(),
                env: [("VALUE".to_owned(), value.clone())].into(),
                timeout: Some(Duration::from_secs(20)),
            };
            let output = runtime.block_on(lab.pool.run(&lab.host, &command)).unwrap();
            let mut expected = vec![args.len().to_string()];
            expected.extend(args);
            expected.push(value);
            let got: Vec<String> = text(&output.stdout).split_terminator('\0').map(str::to_owned).collect();
            proptest::prop_assert_eq!(got, expected);
            Ok(())
        })
        .unwrap();
}

#[tokio::test]
async fn a_script_that_arrives_cut_is_refused() {
    // The server cuts what arrives: the start of the script would be a whole command.
    let lab = lab_with(&["ForceCommand head -c 120 | /bin/sh -c \"$SSH_ORIGINAL_COMMAND\""], Options::default());
    let command = Command { script: format!("touch $HOME/ran; : {}", "x".repeat(400)), ..Command::default() };
    let error = lab.pool.run(&lab.host, &command).await.unwrap_err();
    assert_snapshot!(lab.shown(&error), @r#"
    Refused: dal-1 (USER@ADDRESS:PORT): the script arrived cut or changed, so the host refused it: nothing was run
    hint: -
    "#);
    assert!(!lab.sshd.home().join("ran").exists());
}

#[tokio::test]
async fn a_host_that_does_not_start_commands_says_what_it_printed() {
    let lab = lab_with(&["ForceCommand echo This account is not available; exit 1"], Options::default());
    assert_snapshot!(lab.shown(&lab.error(&lab.host).await), @r#"
    Refused: dal-1 (USER@ADDRESS:PORT): the login worked, but the account's shell did not start the command (exit status 1); it printed: This account is not available
    hint: the account needs a working login shell, /bin/sh, and a key without a forced command
    "#);
}

#[tokio::test]
async fn what_the_login_shell_prints_is_not_taken_for_output() {
    let lab =
        lab_with(&["ForceCommand echo welcome; echo hello >&2; eval \"$SSH_ORIGINAL_COMMAND\""], Options::default());
    let output = lab.run("echo mine").await;
    assert_eq!((text(&output.stdout), text(&output.stderr)), ("mine\n".into(), String::new()));
}

#[tokio::test]
async fn output_is_bounded_and_the_command_still_ends() {
    let lab = lab();
    let output = lab.run("echo first; head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; echo last >&2").await;
    assert_eq!((output.status, output.truncated), (0, true));
    assert_eq!((output.stdout.len(), output.stderr.len()), (64 << 10, 64 << 10));
    assert!(output.stdout.starts_with(b"first\n") && output.stderr.ends_with(b"last\n"));
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_given_up_and_its_slot_is_free_again() {
    let lab = lab_with(&[], Options { max_sessions: 1, ..Options::default() });
    let slow =
        Command { script: "sleep 600".to_owned(), timeout: Some(Duration::from_millis(300)), ..Command::default() };
    assert_snapshot!(lab.shown(&lab.pool.run(&lab.host, &slow).await.unwrap_err()), @r#"
    Lost: dal-1 (USER@ADDRESS:PORT): the command did not end within 300 ms: whether it did its work is unknown
    hint: it was told to stop; see on the host whether it still runs
    "#);
    assert_eq!(text(&lab.run("echo next").await.stdout), "next\n");
}

#[tokio::test]
async fn bad_values_are_refused_before_anything_is_sent() {
    let lab = lab();
    let nul = Command { args: vec!["a\0b".to_owned()], ..Command::default() };
    assert_snapshot!(lab.shown(&lab.pool.run(&lab.host, &nul).await.unwrap_err()), @r#"
    Config: dal-1: the script or one of its arguments holds a NUL byte
    hint: -
    "#);
    let name = Command { env: [("A-B".to_owned(), String::new())].into(), ..Command::default() };
    assert_snapshot!(lab.shown(&lab.pool.run(&lab.host, &name).await.unwrap_err()), @r#"
    Config: dal-1: `A-B` cannot be the name of an environment variable
    hint: -
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_commands_share_a_connection_that_takes_few() {
    let lab = lab_with(&["MaxSessions 3"], Options::default());
    let tasks: Vec<_> = (0..40)
        .map(|n| {
            let (pool, host) = (lab.pool.clone(), lab.host.clone());
            tokio::spawn(async move {
                let command = Command { script: format!("sleep 0.05; echo {n}"), ..Command::default() };
                text(&pool.run(&host, &command).await.unwrap().stdout)
            })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap(), format!("{n}\n"));
    }
    assert_eq!(lab.sshd.log_text().matches("Accepted publickey").count(), 1);
}

/// Says that it has begun, and does not end by itself.
const BEGINS: &str = "touch $HOME/begun; exec sleep 600";

async fn begun(lab: &Lab) {
    while !lab.sshd.home().join("begun").exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_host_that_freezes_is_noticed_and_its_command_is_not_called_done() {
    let options = Options { keepalive: Duration::from_secs(1), keepalive_max: 4, ..Options::default() };
    let lab = lab_with(&[], options);
    lab.run("true").await;
    let run = async { lab.pool.run(&lab.host, &Command { script: BEGINS.to_owned(), ..Command::default() }).await };
    let freeze = async {
        begun(&lab).await;
        lab.sshd.freeze();
    };
    let (outcome, ()) = tokio::join!(run, freeze);
    assert_snapshot!(lab.shown(&outcome.unwrap_err()), @r#"
    Lost: dal-1 (USER@ADDRESS:PORT): the connection broke while a command ran: the host stopped answering; whether it did its work is unknown
    hint: see on the host what it did before it is run again
    "#);
    lab.sshd.thaw();
    assert_eq!(text(&lab.run("echo back").await.stdout), "back\n");
}

#[tokio::test]
async fn a_lost_connection_is_made_again_for_the_next_command() {
    let mut lab = lab();
    lab.run("true").await;
    lab.sshd.cut_connections();
    lab.run("true").await;
    lab.sshd.stop();
    assert_eq!(lab.error(&lab.host).await.kind, migrate::outside::Kind::Unreachable);
    lab.sshd.start_again();
    lab.run("true").await;
}

#[tokio::test]
async fn a_connection_cut_while_a_command_runs_leaves_its_outcome_unknown() {
    let lab = lab();
    lab.run("true").await;
    let run = async { lab.pool.run(&lab.host, &Command { script: BEGINS.to_owned(), ..Command::default() }).await };
    let cut = async {
        begun(&lab).await;
        lab.sshd.cut_connections();
    };
    let (outcome, ()) = tokio::join!(run, cut);
    assert_snapshot!(lab.shown(&outcome.unwrap_err()), @r#"
    Lost: dal-1 (USER@ADDRESS:PORT): the connection broke while a command ran: the connection was closed; whether it did its work is unknown
    hint: see on the host what it did before it is run again
    "#);
}

#[tokio::test]
async fn a_file_is_uploaded_whole_and_only_once() {
    let lab = lab();
    let file = lab.dir.path().join("local");
    let content: Vec<u8> = (0..3_000_000u32).map(|n| (n >> 3) as u8).collect();
    std::fs::write(&file, &content).unwrap();
    let to = lab.sshd.home().join("deep/er/it's here");
    for upload in [Upload::File(&file), Upload::File(&file), Upload::Bytes(content.clone().into())] {
        lab.pool.upload(&lab.host, &upload, "~/deep/er/it's here").await.unwrap();
        assert!(std::fs::read(&to).unwrap() == content);
    }
    assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(std::fs::read_dir(to.parent().unwrap()).unwrap().count(), 1);
    let error = lab.pool.upload(&lab.host, &Upload::File(&file), "/proc/nope/x").await.unwrap_err();
    assert_snapshot!(lab.shown(&error), @r#"
    Refused: dal-1 (USER@ADDRESS:PORT): cannot write /proc/nope/x: mkdir: cannot create directory '/proc/nope': No such file or directory
    hint: is there room, and may the login user write there?
    "#);
    let error = lab.pool.upload(&lab.host, &Upload::File(&lab.dir.path().join("no")), "/tmp/x").await.unwrap_err();
    assert_snapshot!(lab.shown(&error), @r#"
    Config: dal-1 (USER@ADDRESS:PORT): cannot read $DIR/no: No such file or directory (os error 2)
    hint: -
    "#);
}
