//! Who is let in, and who is trusted.

use super::*;

#[tokio::test]
async fn a_key_file_logs_in() {
    let lab = lab();
    assert_eq!(
        text(&lab.run("echo hello; echo $HOME").await.stdout),
        format!("hello\n{}\n", lab.sshd.home().display())
    );
}
