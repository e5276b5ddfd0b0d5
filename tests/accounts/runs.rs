//! Commands, questions and receipts as another user.

use migrate::host::{Hosts as _, ReceiptKey, ReceiptStatus};

use super::*;
use crate::lab::accounts::PASSWORD;

#[tokio::test]
async fn commands_run_as_root_with_what_they_need() {
    let lab = lab(&Accounts {
        sudoers: "Defaults secure_path=/nowhere\ndeploy ALL=(ALL) NOPASSWD: /bin/sh",
        doas: Some("permit nopass deploy as root"),
        ..Accounts::default()
    });
    for becomes in [sudo(), doas(), Become::Command(["sudo", "-n", "-H"].map(str::to_owned).into())] {
        let host = lab.guarded.becoming(becomes);
        let output = lab
            .run(&host, r#"id -un; echo "$HOME"; pwd; command -v awk | sed 's/.*awk/awk/'; cat; echo err >&2"#)
            .await;
        assert_eq!(text(&output.stdout), "root\n/root\n/root\nawk\n");
        assert_eq!(text(&output.stderr), "err\n");
    }
    assert_eq!(text(&lab.run(&lab.guarded.host(), "id -un").await.stdout), "deploy\n");
}

#[tokio::test]
async fn another_user_than_root_can_be_meant() {
    let lab = lab(&Accounts::default());
    let host = lab.guarded.becoming(Become::Sudo { user: "daemon".to_owned(), password: None });
    assert_eq!(text(&lab.run(&host, "id -un").await.stdout), "daemon\n");
}

#[tokio::test]
async fn a_password_is_told_to_sudo_and_to_nobody_else() {
    let lab = lab(&Accounts { sudoers: "deploy ALL=(ALL) ALL", ..Accounts::default() });
    let host = lab.guarded.becoming(sudo_with(PASSWORD));
    for _ in 0..3 {
        // The second time sudo remembers, and asks for nothing.
        let output = lab.run(&host, "id -un; cat").await;
        assert_eq!((text(&output.stdout), text(&output.stderr)), ("root\n".to_owned(), String::new()));
    }
    let many: Vec<_> = (0..8).map(|_| lab.run(&host, "id -un")).collect();
    for output in futures_util::future::join_all(many).await {
        assert_eq!(text(&output.stdout), "root\n");
    }
}

#[tokio::test]
async fn a_password_that_nobody_asks_for_is_not_taken_for_input() {
    let lab = lab(&Accounts::default());
    let host = lab.guarded.becoming(sudo_with(PASSWORD));
    assert_eq!(text(&lab.run(&host, "cat; id -un").await.stdout), "root\n");
    let mut stream = lab.pool.open(&host, &["cat"]).await.unwrap();
    stream.send("mine".into()).await.unwrap();
    let (mut reader, mut writer, ending) = stream.into_parts();
    writer.end().await;
    assert_eq!(reader.chunk().await.unwrap().unwrap(), "mine");
    assert_eq!(ending.wait().await.unwrap().status, Some(0));
}

#[tokio::test]
async fn receipts_belong_to_whom_commands_run_as() {
    let lab = lab(&Accounts { bashrc: "printf '\\033]0;%s\\007' dal-1\n", ..Accounts::default() });
    let host = lab.guarded.becoming(sudo());
    let key = ReceiptKey::new("run", "step").unwrap();
    let command = Command { script: "id -un; umask".to_owned(), ..Command::default() };
    lab.pool.fetch(&host, &key, 1, std::time::Duration::ZERO).await.unwrap();
    let ended = lab.pool.start(&host, &key, 1, &command, crate::lab::process::PATIENCE).await.unwrap();
    let ReceiptStatus::Finished(output) = ended else { panic!("{ended:?}") };
    assert_eq!(text(&output.stdout), "root\n0022\n");
    assert!(lab.guarded.path(&format!("root/.migrate/receipts/run/{}/step", host.name)).exists());
    assert!(!lab.guarded.path("home/deploy/.migrate").exists());
    lab.pool.forget(&host, "run").await.unwrap();
    assert!(!lab.guarded.path("root/.migrate").exists());
}

#[tokio::test]
async fn facts_and_connections_are_those_of_whom_commands_run_as() {
    let lab = lab(&Accounts::default());
    let host = lab.guarded.becoming(sudo());
    let facts = lab.pool.facts(&host, &["~/".to_owned()]).await.unwrap();
    assert_eq!((facts.uid, facts.user.as_str(), facts.paths[0].writable), (0, "root", true));
    lab.pool.connections(&host, None, 22).await.unwrap();
}
