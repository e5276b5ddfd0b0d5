//! Name servers: one DNS message there and one back, over UDP or TCP.
//!
//! Must never take a message for an answer that does not belong to the question.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use domain::base::Message;
use domain::base::iana::Opcode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::text;

/// UDP may lose a packet; three in a row is an answer, too.
const TRIES: u32 = 3;
const UDP_PATIENCE: Duration = Duration::from_secs(2);
const TCP_PATIENCE: Duration = Duration::from_secs(10);

/// Why no answer came. What was sent may have been carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Lost(
    /// The reason.
    pub String,
);

impl From<std::io::Error> for Lost {
    fn from(error: std::io::Error) -> Self {
        Self(text::escape(crate::outside::reason(&error).as_bytes(), 200))
    }
}

/// Asks over UDP, and over TCP when the answer does not fit. For questions only: it repeats itself.
pub async fn ask(server: SocketAddr, request: &Message<Vec<u8>>) -> Result<Message<Vec<u8>>, Lost> {
    for _ in 0..TRIES {
        match timeout(UDP_PATIENCE, udp(server, request)).await {
            Ok(Ok(answer)) if answer.header().tc() => return send(server, request).await,
            Ok(answer) => return answer,
            Err(_) => {}
        }
    }
    Err(Lost(format!("no answer in {} s", UDP_PATIENCE.as_secs() * u64::from(TRIES))))
}

async fn udp(server: SocketAddr, request: &Message<Vec<u8>>) -> Result<Message<Vec<u8>>, Lost> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    // A connected socket takes datagrams from this server only, and hears that its port is closed.
    socket.connect(server).await?;
    socket.send(request.as_slice()).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let n = socket.recv(&mut buffer).await?;
        let bytes = buffer.get(..n).unwrap_or_default().to_vec();
        if let Some(answer) = answer_to(request, bytes) {
            return Ok(answer);
        }
    }
}

/// Sends once over TCP and waits for the answer.
pub async fn send(server: SocketAddr, request: &Message<Vec<u8>>) -> Result<Message<Vec<u8>>, Lost> {
    let talk = async {
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(request.as_slice().len()).map_err(|_| Lost("the message is too long".to_owned()))?;
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(request.as_slice());
        stream.write_all(&framed).await?;
        let length = stream.read_u16().await?;
        let mut bytes = vec![0; usize::from(length)];
        stream.read_exact(&mut bytes).await?;
        answer_to(request, bytes).ok_or_else(|| Lost("the answer belongs to another question".to_owned()))
    };
    let late = |_| Lost(format!("no answer in {} s", TCP_PATIENCE.as_secs()));
    timeout(TCP_PATIENCE, talk).await.map_err(late)?
}

/// The bytes as a message, when it answers this request. Refusals and answers to updates may leave the question out.
fn answer_to(request: &Message<Vec<u8>>, bytes: Vec<u8>) -> Option<Message<Vec<u8>>> {
    let answer = Message::from_octets(bytes).ok()?;
    let (asked, header) = (request.header(), answer.header());
    let ours = header.qr() && header.id() == asked.id() && header.opcode() == asked.opcode();
    let may_be_short = answer.is_error() || header.opcode() == Opcode::UPDATE;
    let short = may_be_short && answer.header_counts().qdcount() == 0;
    (ours && (short || answer.question() == request.question())).then_some(answer)
}

#[cfg(test)]
mod tests {
    use domain::base::{MessageBuilder, Name, Rtype};
    use proptest::prelude::*;

    use super::*;

    fn request(name: &str) -> Message<Vec<u8>> {
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(7);
        let mut builder = builder.question();
        builder.push((name.parse::<Name<Vec<u8>>>().unwrap(), Rtype::A)).unwrap();
        builder.into_message()
    }

    #[test]
    fn only_the_answer_to_the_question_is_taken() {
        let asked = request("www.lab.test");
        let answered = |change: &dyn Fn(&mut Message<Vec<u8>>)| {
            let mut answer = asked.clone();
            answer.header_mut().set_qr(true);
            change(&mut answer);
            answer_to(&asked, answer.into_octets()).is_some()
        };
        assert!(answered(&|_| {}));
        assert!(!answered(&|a| a.header_mut().set_qr(false)));
        assert!(!answered(&|a| a.header_mut().set_id(8)));
        assert!(!answered(&|a| {
            *a = request("ftp.lab.test");
            a.header_mut().set_qr(true);
        }));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = answer_to(&request("www.lab.test"), bytes);
        }
    }
}
