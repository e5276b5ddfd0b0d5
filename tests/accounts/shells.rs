//! What login shells print, and accounts that run no commands.

use insta::assert_snapshot;

use super::*;

#[tokio::test]
async fn greetings_and_titles_are_not_taken_for_output() {
    let greetings = [
        "echo welcome",
        "printf welcome",
        "printf '\\033]0;%s\\007' \"$HOSTNAME\"",
        "printf 'migrate:dir:/tmp\\nMIGRATE'; printf 'err' >&2",
        "head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2",
        "trap 'echo bye' EXIT",
    ];
    for bashrc in greetings {
        let lab = lab(&Accounts { bashrc, ..Accounts::default() });
        for host in [lab.guarded.host(), lab.guarded.becoming(sudo())] {
            let output = lab.run(&host, "echo mine; echo err >&2").await;
            assert_eq!((text(&output.stdout), text(&output.stderr)), ("mine\n".into(), "err\n".into()), "{bashrc}");
        }
    }
}

#[tokio::test]
async fn accounts_that_run_no_commands_say_so_themselves() {
    let shells = [
        ("a shell that ends by itself", Accounts { bashrc: "exit 0", ..Accounts::default() }),
        ("nologin", Accounts { shell: "/usr/sbin/nologin", ..Accounts::default() }),
        ("rbash", Accounts { shell: "/bin/rbash", ..Accounts::default() }),
        ("sftp only", Accounts { sshd: &["ForceCommand internal-sftp"], ..Accounts::default() }),
    ];
    let mut said = String::new();
    for (name, accounts) in shells {
        let lab = lab(&accounts);
        let host = lab.guarded.host();
        said.push_str(&format!("{name}\n{}\n", lab.shown(&lab.error(&host).await)));
        // Streams say the same.
        let stream = lab.pool.open(&host, &["/bin/cat"]).await.unwrap();
        assert_eq!(stream.finish().await.unwrap_err(), lab.error(&host).await);
    }
    assert_snapshot!(said);
}
