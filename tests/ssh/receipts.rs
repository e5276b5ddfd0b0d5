//! Commands that run once per key, whatever happens to connections and controllers.

use std::time::Duration;

use migrate::clock::SystemClock;
use migrate::host::{Hosts, ReceiptKey, ReceiptStatus, run_once};

use super::*;

fn key(step: &str) -> ReceiptKey {
    ReceiptKey::new("run-1", step).unwrap()
}

fn command(script: &str) -> Command {
    Command { script: script.to_owned(), ..Command::default() }
}

fn finished(outcome: ReceiptStatus) -> Output {
    let ReceiptStatus::Finished(output) = outcome else { panic!("{outcome:?}") };
    output
}

/// How many times a script that appends to `count` has run.
fn count(lab: &Lab, name: &str) -> usize {
    std::fs::read_to_string(lab.sshd.home().join(name)).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn a_key_runs_once_and_gives_its_first_result_again() {
    let lab = lab();
    let command = Command {
        args: vec!["a 'b'\nc".to_owned()],
        env: [("TOKEN".to_owned(), "hunter2".to_owned())].into(),
        ..command("echo ran >>$HOME/count; printf '%s|%s' \"$1\" \"$TOKEN\"; echo err >&2; exit 3")
    };
    for _ in 0..3 {
        let output = finished(run_once(&lab.pool, &SystemClock, &lab.host, &key("one"), 1, &command).await.unwrap());
        assert_eq!(
            (output.status, text(&output.stdout), text(&output.stderr)),
            (3, "a 'b'\nc|hunter2".into(), "err\n".into())
        );
    }
    assert_eq!(count(&lab, "count"), 1);
    let fetched = lab.pool.fetch(&lab.host, &key("one"), 1, Duration::ZERO).await.unwrap();
    assert_eq!(finished(fetched).status, 3);
}

fn files_with(dir: &Path, text_to_find: &str) -> String {
    text(&std::process::Command::new("grep").args(["-r", text_to_find]).arg(dir).output().unwrap().stdout)
}

/// Command lines of all processes that hold a text.
fn arguments_with(text_to_find: &str) -> Vec<String> {
    let lines = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| std::fs::read(entry.path().join("cmdline")));
    lines.flatten().map(|line| text(&line)).filter(|line| line.contains(text_to_find)).collect()
}

#[tokio::test]
async fn a_receipt_holds_no_secret_and_is_removed_with_its_run() {
    let lab = lab();
    let secret = "s3cret-canary";
    let command = Command { env: [("TOKEN".to_owned(), secret.to_owned())].into(), ..command("sleep 1; : $TOKEN") };
    let one = key("one");
    let look = async {
        let running = lab.sshd.home().join(".migrate/receipts/run-1").join(&lab.host.name).join("one/go");
        while !running.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (files_with(&lab.sshd.home(), secret), arguments_with(secret))
    };
    let (outcome, (files, arguments)) =
        tokio::join!(run_once(&lab.pool, &SystemClock, &lab.host, &one, 1, &command), look);
    assert_eq!((files, arguments), (String::new(), Vec::<String>::new()), "while it ran");
    assert_eq!(finished(outcome.unwrap()).status, 0);
    assert_eq!(files_with(&lab.sshd.home(), secret), "", "afterwards");
    lab.pool.forget(&lab.host, "run-1").await.unwrap();
    assert!(!lab.sshd.home().join(".migrate").exists());
}

#[tokio::test]
async fn a_sealed_key_never_runs() {
    let lab = lab();
    assert_eq!(lab.pool.fetch(&lab.host, &key("s"), 1, Duration::ZERO).await.unwrap(), ReceiptStatus::NotClaimed);
    assert_eq!(lab.pool.seal(&lab.host, &key("s"), 1).await.unwrap(), ReceiptStatus::NeverStarted);
    let late =
        run_once(&lab.pool, &SystemClock, &lab.host, &key("s"), 1, &command("echo ran >>$HOME/count")).await.unwrap();
    assert_eq!((late, count(&lab, "count")), (ReceiptStatus::NeverStarted, 0));
}

#[tokio::test]
async fn a_key_that_ran_cannot_be_sealed() {
    let lab = lab();
    run_once(&lab.pool, &SystemClock, &lab.host, &key("r"), 1, &command("exit 4")).await.unwrap();
    assert_eq!(finished(lab.pool.seal(&lab.host, &key("r"), 1).await.unwrap()).status, 4);
}

#[tokio::test]
async fn an_older_fence_does_nothing() {
    let lab = lab();
    assert_eq!(lab.pool.fetch(&lab.host, &key("x"), 10, Duration::ZERO).await.unwrap(), ReceiptStatus::NotClaimed);
    let stale =
        run_once(&lab.pool, &SystemClock, &lab.host, &key("y"), 9, &command("echo ran >>$HOME/count")).await.unwrap();
    assert_eq!((stale, count(&lab, "count")), (ReceiptStatus::Fenced { newest: 10 }, 0));
}

#[tokio::test]
async fn the_receipt_of_a_step_that_is_called_fence_is_none() {
    let lab = lab();
    let fence = key("fence.0123456789abcdef.0.7");
    let ran = run_once(&lab.pool, &SystemClock, &lab.host, &fence, 2, &command("echo ran >>$HOME/count")).await;
    assert_eq!((finished(ran.unwrap()).status, count(&lab, "count")), (0, 1));
    let next = run_once(&lab.pool, &SystemClock, &lab.host, &key("next"), 2, &command("exit 0")).await;
    assert_eq!(finished(next.unwrap()).status, 0);
}

/// A connection that is so slow that the run is over, and cleaned up, when a start arrives.
struct TooLate<'a>(&'a Pool);

#[async_trait::async_trait]
impl Remote for TooLate<'_> {
    async fn run(&self, host: &Host, command: &Command) -> Result<Output, Error> {
        if command.args.iter().any(|arg| arg.contains("count")) {
            self.0.forget(host, "run-1").await?;
        }
        self.0.run(host, command).await
    }
}

#[tokio::test]
async fn a_start_that_comes_after_the_clean_up_does_nothing() {
    let lab = lab();
    let command = command("echo ran >>$HOME/count");
    let late = run_once(&TooLate(&lab.pool), &SystemClock, &lab.host, &key("late"), 1, &command).await.unwrap_err();
    assert!(late.what.contains("taken away: nothing was started"), "{late}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(count(&lab, "count"), 0);
    assert!(!lab.sshd.home().join(".migrate").exists());
}

#[tokio::test]
async fn a_command_that_outlives_the_wait_is_running_and_one_that_was_killed_is_unknown() {
    let lab = lab();
    let slow = command("echo $PPID >$HOME/runner; echo $$ >>$HOME/runner; sleep 600");
    let (one, runner) = (key("k"), lab.sshd.home().join("runner"));
    let runs = async {
        while std::fs::read_to_string(&runner).map_or(0, |text| text.lines().count()) < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        ended = run_once(&lab.pool, &SystemClock, &lab.host, &one, 1, &slow) => panic!("it cannot have ended: {ended:?}"),
        () = runs => {}
    }
    let ask = async || lab.pool.fetch(&lab.host, &key("k"), 1, Duration::ZERO).await.unwrap();
    assert_eq!(ask().await, ReceiptStatus::Running);
    let refused = lab.pool.forget(&lab.host, "run-1").await.unwrap_err();
    insta::assert_snapshot!(refused.what, @"its receipts were not removed: k still runs");
    for pid in lab.sshd.session_processes() {
        let _ = std::process::Command::new("kill").args(["-9", &pid.to_string()]).output();
    }
    assert_eq!(ask().await, ReceiptStatus::Unknown);
}

#[tokio::test]
async fn a_command_is_stopped_at_its_timeout() {
    let lab = lab();
    let slow = Command { timeout: Some(Duration::from_secs(1)), ..command("sleep 600") };
    assert_eq!(finished(run_once(&lab.pool, &SystemClock, &lab.host, &key("t"), 1, &slow).await.unwrap()).status, 124);
}

#[tokio::test]
async fn a_daemon_that_a_command_leaves_behind_does_not_delay_its_result() {
    let lab = lab();
    let output = finished(
        run_once(&lab.pool, &SystemClock, &lab.host, &key("d"), 1, &command("sleep 600 & echo up; echo w >&2"))
            .await
            .unwrap(),
    );
    assert_eq!((output.status, text(&output.stdout)), (0, "up\n".to_owned()));
}

#[tokio::test]
async fn output_is_bounded() {
    let lab = lab();
    let loud = command("head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2; echo end >&2");
    let output = finished(run_once(&lab.pool, &SystemClock, &lab.host, &key("o"), 1, &loud).await.unwrap());
    assert_eq!((output.stdout.len(), output.stderr.len(), output.truncated), (64_000, 64_000, true));
    assert!(output.stderr.ends_with(b"end\n"));
}

/// Steps that are under way at the same time.
const WORKERS: u32 = 16;

/// Every so many-th step is this worker's; how often it had to ask.
async fn run_steps(lab: &Lab, worker: u32, runs: u32) -> u32 {
    let mut asked = 0;
    for n in (worker..runs).step_by(WORKERS as usize) {
        let step = key(&format!("step-{n}"));
        let script = command(&format!("echo {n} >>$HOME/count; sleep 0.0$(({n} % 9))"));
        loop {
            asked += 1;
            match run_once(&lab.pool, &SystemClock, &lab.host, &step, 1, &script).await {
                Ok(outcome) => break assert_eq!(finished(outcome).status, 0),
                Err(error) => assert_ne!(error.kind, migrate::outside::Kind::Refused, "{error}"),
            }
        }
    }
    asked
}

/// Every step appends a line of its own; connections are cut at random all the time.
#[tokio::test(flavor = "multi_thread")]
async fn steps_run_exactly_once_while_connections_are_cut() {
    let runs: u32 = std::env::var("MIGRATE_KEYED_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let lab = lab();
    let (done, mut stop) = tokio::sync::oneshot::channel::<()>();
    let work = async {
        let asked = futures_util::future::join_all((0..WORKERS).map(|worker| run_steps(&lab, worker, runs))).await;
        drop(done);
        asked.into_iter().sum::<u32>()
    };
    let cuts = async {
        let mut cuts = 0;
        while stop.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
            let millis = (u64::from(cuts) * 7919) % 1000;
            tokio::time::sleep(Duration::from_millis(millis)).await;
            lab.sshd.cut_connections();
            cuts += 1u32;
        }
        cuts
    };
    let (asked, cuts) = tokio::join!(work, cuts);
    println!("{runs} steps, asked {asked} times, {cuts} cuts");
    let mut lines: Vec<u32> =
        std::fs::read_to_string(lab.sshd.home().join("count")).unwrap().lines().map(|l| l.parse().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, (0..runs).collect::<Vec<_>>());
}
