//! Raw streams to commands and sockets on hosts.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn bytes_go_through_a_command_and_come_back_unchanged() {
    let lab = lab();
    let data: Vec<u8> = (0..8_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let (mut reader, mut writer, ending) = lab.pool.open(&lab.host, &["cat"]).await.unwrap().into_parts();
    let sent = data.clone();
    let send = tokio::spawn(async move {
        let (first, second) = sent.split_at(3_000_001);
        writer.write_all(first).await.unwrap();
        writer.send(Bytes::copy_from_slice(second)).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    reader.read_to_end(&mut back).await.unwrap();
    send.await.unwrap();
    assert!(back == data, "{} bytes came back, {} were sent", back.len(), data.len());
    assert_eq!(ending.wait().await.unwrap().status, Some(0));
}

#[tokio::test]
async fn arguments_reach_a_streamed_command_as_they_are() {
    let lab = lab();
    for args in
        [["plain", "two words"], ["it's", "a\\b!c"], ["line\nbreak", "$HOME `id` ~ *"], ["", "-n"], ["é☃", "a=b %"]]
    {
        let mut stream = lab.pool.open(&lab.host, &["printf", "[%s][%s]", args[0], args[1]]).await.unwrap();
        let mut got = String::new();
        stream.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, format!("[{}][{}]", args[0], args[1]));
    }
}

#[tokio::test]
async fn a_stream_that_nobody_reads_stops_no_other() {
    let lab = lab();
    let unread = lab.pool.open(&lab.host, &["cat", "/dev/zero"]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut other = lab.pool.open(&lab.host, &["head", "-c", "50000000", "/dev/zero"]).await.unwrap();
    let mut got = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), other.read_to_end(&mut got)).await;
    assert_eq!(read.expect("it waits for the other's reader").unwrap(), 50_000_000);
    drop(unread);
}

#[tokio::test]
async fn a_writer_learns_that_the_command_has_ended() {
    let lab = lab();
    let mut stream = lab.pool.open(&lab.host, &["sh", "-c", "echo no room >&2; exit 3"]).await.unwrap();
    let block = Bytes::from(vec![0u8; 1 << 20]);
    while stream.send(block.clone()).await.is_ok() {}
    let exit = stream.finish().await.unwrap();
    assert_eq!((exit.status, text(&exit.stderr)), (Some(3), "no room\n".to_owned()));
}

#[tokio::test]
async fn a_lost_connection_is_an_error_for_reader_and_writer() {
    let lab = lab();
    let mut stream = lab.pool.open(&lab.host, &["sh", "-c", "echo first; exec sleep 600"]).await.unwrap();
    assert_eq!(&stream.chunk().await.unwrap().unwrap()[..], b"first\n");
    let (mut reader, mut writer, ending) = stream.into_parts();
    let block = Bytes::from(vec![0u8; 1 << 20]);
    let writes = tokio::spawn(async move { while writer.send(block.clone()).await.is_ok() {} });
    lab.sshd.cut_connections();
    assert_eq!(reader.chunk().await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    writes.await.unwrap();
    let error = ending.wait().await.unwrap_err();
    assert_eq!((error.kind, error.what.as_str()), (migrate::outside::Kind::Lost, "the connection was closed"));
}

#[tokio::test]
async fn a_writer_to_a_host_that_freezes_is_not_stuck_for_ever() {
    let options = Options { keepalive: Duration::from_secs(1), keepalive_max: 4, ..Options::default() };
    let lab = lab_with(&[], options);
    let mut stream = lab.pool.open(&lab.host, &["sh", "-c", "exec cat >/dev/null"]).await.unwrap();
    let block = Bytes::from(vec![0u8; 1 << 20]);
    stream.send(block.clone()).await.unwrap();
    lab.sshd.freeze();
    while stream.send(block.clone()).await.is_ok() {}
    let error = stream.finish().await.unwrap_err();
    assert_eq!((error.kind, error.what.as_str()), (migrate::outside::Kind::Lost, "the host stopped answering"));
}

#[tokio::test]
async fn sockets_on_the_host_are_reached() {
    let lab = lab();
    let path = lab.dir.path().join("socket");
    let unix = tokio::net::UnixListener::bind(&path).unwrap();
    let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = tcp.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = unix.accept().await.unwrap();
        stream.write_all(b"unix").await.unwrap();
    });
    tokio::spawn(async move {
        let (mut stream, _) = tcp.accept().await.unwrap();
        stream.write_all(b"tcp").await.unwrap();
    });
    let mut got = String::new();
    lab.pool.open_unix(&lab.host, path.to_str().unwrap()).await.unwrap().read_to_string(&mut got).await.unwrap();
    lab.pool.open_tcp(&lab.host, "127.0.0.1", port).await.unwrap().read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "unixtcp");
    let error = lab.pool.open_unix(&lab.host, "/no/such.sock").await.err().unwrap();
    assert_eq!(error.what, "cannot connect to the unix socket /no/such.sock");
}
