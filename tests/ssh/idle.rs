//! Many hosts: connections that nobody uses do not stay open.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Connections to all of these hosts together, once there are no more than so many.
async fn settled(hosts: &[Sshd], most: usize) -> usize {
    let began = Instant::now();
    loop {
        let open = hosts.iter().map(|host| host.connections().len()).sum();
        if open <= most || began.elapsed() > Duration::from_secs(60) {
            return open;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn of_many_connections_only_some_stay_open_and_none_that_is_in_use_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let sshds: Vec<Sshd> = (0..6)
        .map(|n| {
            let ip = crate::lab::sshd::next_address();
            let addr = (ip, crate::lab::process::free_port(ip)).into();
            Sshd::start_at(&dir.path().join(format!("dal-{n}")), &format!("dal-{n}"), addr, &[])
        })
        .collect();
    let pool = Pool::new(environment(dir.path()), BTreeMap::new(), Options { max_idle: 2, ..Options::default() });
    let mut stream = pool.open(&sshds[0].host(), &["cat"]).await.unwrap();
    for _ in 0..2 {
        for sshd in &sshds {
            let command = Command { script: "echo ran".to_owned(), ..Command::default() };
            let output = pool.run(&sshd.host(), &command).await.unwrap();
            assert_eq!(text(&output.stdout), "ran\n");
        }
    }
    assert!(settled(&sshds, 3).await <= 3, "two, and the one in use");
    stream.write_all(b"still there\n").await.unwrap();
    let mut back = [0; 12];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"still there\n");
}
