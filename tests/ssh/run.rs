//! Commands on hosts.

use std::time::Duration;

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
