//! What is said when sudo or doas refuse.

use insta::assert_snapshot;

use super::*;
use crate::lab::accounts::PASSWORD;

async fn refused(accounts: &Accounts<'_>, becomes: Become) -> String {
    let lab = lab(accounts);
    let error = lab.error(&lab.guarded.becoming(becomes)).await;
    assert!(!error.transient, "{error}");
    lab.shown(&error)
}

fn rules(sudoers: &str) -> Accounts<'_> {
    Accounts { sudoers, ..Accounts::default() }
}

#[tokio::test]
async fn a_password_that_was_not_given() {
    assert_snapshot!(refused(&rules("deploy ALL=(ALL) ALL"), sudo()).await);
}

#[tokio::test]
async fn nobody_in_sudoers() {
    assert_snapshot!(refused(&rules(""), sudo_with(PASSWORD)).await);
}

#[tokio::test]
async fn a_command_that_is_not_allowed() {
    assert_snapshot!(refused(&rules("deploy ALL=(root) /usr/bin/rsync"), sudo_with(PASSWORD)).await);
}

#[tokio::test]
async fn a_terminal_is_wanted() {
    assert_snapshot!(refused(&rules("Defaults requiretty\ndeploy ALL=(ALL) NOPASSWD: ALL"), sudo()).await);
}

#[tokio::test]
async fn a_user_that_is_not_there() {
    let becomes = Become::Sudo { user: "nobody-here".to_owned(), password: None };
    assert_snapshot!(refused(&Accounts::default(), becomes).await);
}

#[tokio::test]
async fn no_sudo_there() {
    assert_snapshot!(refused(&Accounts { bashrc: "PATH=/nowhere", ..Accounts::default() }, sudo()).await);
    assert_snapshot!(refused(&Accounts::default(), Become::Command(vec!["/opt/bin/dzdo".to_owned()])).await);
}

#[tokio::test]
async fn doas_that_asks_or_forbids() {
    assert_snapshot!(refused(&Accounts { doas: Some("permit deploy as root"), ..Accounts::default() }, doas()).await);
    assert_snapshot!(refused(&Accounts { before: "rm /etc/doas.conf", ..Accounts::default() }, doas()).await);
    assert_snapshot!(refused(&Accounts { doas: Some("permit nopass other"), ..Accounts::default() }, doas()).await);
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    let lab = lab(&rules("Defaults passwd_tries=3\ndeploy ALL=(ALL) ALL"));
    let host = lab.guarded.becoming(sudo_with("wrong"));
    let commands: Vec<_> = (0..5).map(|_| lab.error(&host)).collect();
    let errors = futures_util::future::join_all(commands).await;
    assert_snapshot!(lab.shown(&errors[0]));
    assert!(errors.iter().all(|e| *e == errors[0]), "{errors:?}");
}

#[tokio::test]
async fn a_password_that_cannot_be_found_is_named() {
    let becomes = Become::Sudo { user: "root".to_owned(), password: Some(SecretRef::File("/nowhere".into())) };
    assert_snapshot!(refused(&rules("deploy ALL=(ALL) ALL"), becomes).await);
}
