//! Databases by what they say when somebody comes: whether they take connections, which a TCP connect does not tell.
//!
//! One exchange over the wire, without logging in where that can be left out. Must never take an answer of something else for one of theirs.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::net::{blames_the_service, resolve};
use super::read::flat;
use super::tcp::host_port;
use super::{Clients, Outcome, ProbeKind, Subject, Verdict, quote};
use crate::fields::kinds::Settings;
use crate::fields::secret;
use crate::fields::template::{self, Role, Sides, Use};
use crate::model::Template;
use crate::secret::SecretRef;
use crate::text;
use crate::yaml::map::Map;
use crate::yaml::reader::Value;

/// The most that is read of an answer.
const LONGEST: usize = 4096;

/// PostgreSQL takes connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Postgres(pub Template);

/// MySQL or MariaDB takes connections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mysql(pub Template);

/// Redis, or what speaks its protocol, answers a PING.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redis {
    /// Who is asked.
    pub to: Template,
    /// The password that it asks for.
    pub password: Option<SecretRef>,
}

fn read_address(value: Value<'_>, example: &str, uses: &mut Vec<Use>) -> Option<Template> {
    let used = template::read(value, Role::Own(host_port), Sides::Both, "a host and a port", example)?;
    let to = used.template.value.clone();
    uses.push(used);
    Some(to)
}

impl Settings for Postgres {
    const KEY: &'static str = "postgres";

    fn read(value: Value<'_>, _: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        read_address(value, "postgres: \"{{ address }}:5432\"", uses).map(Self)
    }
}

impl Settings for Mysql {
    const KEY: &'static str = "mysql";

    fn read(value: Value<'_>, _: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        read_address(value, "mysql: \"{{ address }}:3306\"", uses).map(Self)
    }
}

impl Settings for Redis {
    const KEY: &'static str = "redis";
    const BESIDE: &'static [&'static str] = &["password"];

    fn read(value: Value<'_>, map: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        let to = read_address(value, "redis: \"{{ address }}:6379\"", uses);
        let password = map.get("password").map(secret::read);
        Some(Self { to: to?, password: flat(password)? })
    }
}

/// What an answer says, so far.
type Heard = Option<(Outcome, String)>;

#[async_trait]
impl ProbeKind for Postgres {
    async fn probe(&self, subject: &Subject<'_>, timeout: Duration, _: &Clients) -> Verdict {
        exchange("PostgreSQL", &self.0, subject, timeout, &startup(), postgres).await
    }
}

#[async_trait]
impl ProbeKind for Mysql {
    async fn probe(&self, subject: &Subject<'_>, timeout: Duration, _: &Clients) -> Verdict {
        exchange("MySQL", &self.0, subject, timeout, &[], mysql).await
    }
}

#[async_trait]
impl ProbeKind for Redis {
    async fn probe(&self, subject: &Subject<'_>, timeout: Duration, clients: &Clients) -> Verdict {
        let mut say = Vec::new();
        if let Some(reference) = &self.password {
            match clients.secrets.resolve(reference) {
                Ok(password) => say.extend(command(&["AUTH", password.reveal()])),
                Err(e) => {
                    return Verdict::unknown(format!("Redis at {} → {}", quote(&self.to.0), quote(e.to_string())));
                }
            }
        }
        say.extend(command(&["PING"]));
        exchange("Redis", &self.to, subject, timeout, &say, redis).await
    }
}

/// Dials, says something, and listens until `hear` has heard enough.
async fn exchange(
    what: &str,
    to: &Template,
    subject: &Subject<'_>,
    timeout: Duration,
    say: &[u8],
    hear: fn(&[u8]) -> Heard,
) -> Verdict {
    let start = Instant::now();
    let to = match to.render_plain(&subject.vars()) {
        Ok(to) => to,
        Err(why) => return Verdict::unknown(format!("{what} at {} → {}", quote(&to.0), quote(why.to_string()))),
    };
    let asked = format!("{what} at {}", quote(&to));
    let addresses = match resolve(&asked, &to, timeout).await {
        Ok(addresses) => addresses,
        Err(unknown) => return unknown,
    };
    let talk = async {
        let mut stream = TcpStream::connect(addresses.as_slice()).await?;
        stream.write_all(say).await?;
        let mut heard = Vec::new();
        loop {
            let mut chunk = [0; 512];
            let n = match stream.read(&mut chunk).await {
                // It has closed before it read what was said to it.
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset && heard.is_empty() => 0,
                read => read?,
            };
            heard.extend(chunk.iter().take(n));
            match hear(&heard) {
                Some(said) => return Ok(said),
                None if n == 0 || heard.len() > LONGEST => {
                    let why = if heard.is_empty() {
                        "it ended the connection without a word".to_owned()
                    } else {
                        foreign(&heard)
                    };
                    return Ok((Outcome::Fail, why));
                }
                None => {}
            }
        }
    };
    let left = timeout.saturating_sub(start.elapsed());
    let (outcome, said) = match tokio::time::timeout(left, talk).await {
        Ok(Ok(said)) => said,
        Ok(Err(e)) => return broken(&asked, &e),
        Err(_) => (Outcome::Fail, format!("no answer in {}", text::duration(timeout))),
    };
    let took =
        if outcome == Outcome::Pass { format!(" in {}", text::duration(start.elapsed())) } else { String::new() };
    Verdict { outcome, evidence: format!("{asked} → {said}{took}") }
}

fn broken(asked: &str, error: &std::io::Error) -> Verdict {
    let evidence = format!("{asked} → {}", quote(error.to_string()));
    if blames_the_service(error.kind()) { Verdict::fail(evidence) } else { Verdict::unknown(evidence) }
}

fn foreign(heard: &[u8]) -> String {
    format!("what answers is something else: `{}`", text::escape(heard, 60))
}

/// A user that need not exist: whether it takes connections is said before who comes, as with `pg_isready`.
fn startup() -> Vec<u8> {
    let parameters = b"user\0migrate\0database\0postgres\0application_name\0migrate\0\0";
    let length = u32::try_from(parameters.len() + 8).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &0x0003_0000_u32.to_be_bytes()[..], parameters].concat()
}

/// The first message of a server: a question for who comes, or an error.
fn postgres(heard: &[u8]) -> Heard {
    let (kind, rest) = heard.split_first()?;
    let Some((length, body)) = rest.split_first_chunk::<4>() else {
        return (!matches!(kind, b'R' | b'E')).then(|| (Outcome::Fail, foreign(heard)));
    };
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?.checked_sub(4);
    match (kind, length) {
        (b'R', Some(4..LONGEST)) => Some((Outcome::Pass, "takes connections".to_owned())),
        (b'E', Some(length @ ..LONGEST)) => Some(refused(body.get(..length)?)),
        _ => Some((Outcome::Fail, foreign(heard))),
    }
}

fn refused(fields: &[u8]) -> (Outcome, String) {
    let field = |tag: u8| {
        let found = fields.split(|b| *b == 0).find(|field| field.first() == Some(&tag));
        found.and_then(|field| field.get(1..)).map(quote).unwrap_or_default()
    };
    let (code, message) = (field(b'C'), field(b'M'));
    // It starts up, shuts down, recovers, or has no room: classes 57 and 53. What else it says no to is who comes.
    match code.get(..2) {
        Some("57" | "53" | "58" | "XX") => (Outcome::Fail, format!("{message} ({code})")),
        Some(_) => (Outcome::Pass, format!("takes connections ({message})")),
        None => (Outcome::Fail, foreign(fields)),
    }
}

/// The greeting of a server, or an error in its place.
fn mysql(heard: &[u8]) -> Heard {
    let (head, body) = heard.split_first_chunk::<4>()?;
    let [a, b, c, number] = *head;
    let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
    if number != 0 || length > LONGEST {
        return Some((Outcome::Fail, foreign(heard)));
    }
    match body.get(..length)?.split_first() {
        Some((10, rest)) => {
            let version = rest.split(|b| *b == 0).next().unwrap_or_default();
            // MariaDB says this first, for the sake of old replicas.
            let version = quote(version.strip_prefix(b"5.5.5-").unwrap_or(version));
            Some((Outcome::Pass, format!("greets as {version}")))
        }
        Some((0xff, [low, high, message @ ..])) => {
            let code = u16::from_le_bytes([*low, *high]);
            Some((Outcome::Fail, format!("{} ({code})", quote(message))))
        }
        _ => Some((Outcome::Fail, foreign(heard))),
    }
}

/// A command of Redis' protocol.
fn command(words: &[&str]) -> Vec<u8> {
    let said: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{said}", words.len()).into_bytes()
}

/// The answer to a PING, behind that to an AUTH where there was one.
fn redis(heard: &[u8]) -> Heard {
    let text = String::from_utf8_lossy(heard);
    let lines = text.split_inclusive("\r\n").filter_map(|line| line.strip_suffix("\r\n"));
    for line in lines {
        match line {
            "+OK" => {}
            "+PONG" => return Some((Outcome::Pass, "PONG".to_owned())),
            _ if line.starts_with("-NOAUTH") || line.starts_with("-NOPERM") => {
                let why = format!("{}: nobody can tell whether it is ready; give `password`", quote(line));
                return Some((Outcome::Unknown, why));
            }
            _ if line.starts_with("-WRONGPASS") || line.starts_with("-ERR") => {
                return Some((Outcome::Unknown, format!("{}: mend `password`", quote(line))));
            }
            _ if line.starts_with('-') => return Some((Outcome::Fail, quote(line))),
            _ => return Some((Outcome::Fail, foreign(heard))),
        }
    }
    let begins = heard.is_empty() || matches!(heard.first(), Some(b'+' | b'-'));
    (!begins).then(|| (Outcome::Fail, foreign(heard)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(code: &str, message: &str) -> Vec<u8> {
        let fields = format!("SFATAL\0VFATAL\0C{code}\0M{message}\0\0");
        [b"E", &(fields.len() as u32 + 4).to_be_bytes()[..], fields.as_bytes()].concat()
    }

    #[test]
    fn a_postgres_that_asks_who_comes_takes_connections_and_one_that_starts_up_does_not() {
        let outcome = |heard: &[u8]| postgres(heard).map(|(outcome, _)| outcome);
        assert_eq!(outcome(b"R\0\0\0\x08\0\0\0\x05salt"), Some(Outcome::Pass));
        assert_eq!(outcome(&error("28P01", "password authentication failed")), Some(Outcome::Pass));
        assert_eq!(outcome(b"HTTP/1.1 400 Bad Request\r\n"), Some(Outcome::Fail));
        assert_eq!(outcome(b"R\0"), None);
        assert_eq!(outcome(&error("57P03", "the database system is starting up")[..20]), None);
        let starting = postgres(&error("57P03", "the database system is starting up"));
        assert_eq!(starting, Some((Outcome::Fail, "the database system is starting up (57P03)".to_owned())));
    }

    #[test]
    fn a_mysql_that_greets_takes_connections_and_one_that_is_full_does_not() {
        let packet = |body: &[u8]| [&[body.len() as u8, 0, 0, 0], body].concat();
        assert_eq!(mysql(&packet(b"\x0a8.0.36\0rest")), Some((Outcome::Pass, "greets as 8.0.36".to_owned())));
        let maria = packet(b"\x0a5.5.5-10.11.19-MariaDB\0rest");
        assert_eq!(mysql(&maria), Some((Outcome::Pass, "greets as 10.11.19-MariaDB".to_owned())));
        let full = packet(b"\xff\x10\x04Too many connections");
        assert_eq!(mysql(&full), Some((Outcome::Fail, "Too many connections (1040)".to_owned())));
        assert_eq!(mysql(&full[..9]), None);
        assert_eq!(mysql(b"SSH-2.0-OpenSSH_9.2").map(|(outcome, _)| outcome), Some(Outcome::Fail));
    }

    #[test]
    fn a_redis_that_loads_fails_and_one_that_asks_for_a_password_is_unknown() {
        let outcome = |heard: &str| redis(heard.as_bytes()).map(|(outcome, _)| outcome);
        assert_eq!(outcome("+PONG\r\n"), Some(Outcome::Pass));
        assert_eq!(outcome("+OK\r\n+PONG\r\n"), Some(Outcome::Pass));
        assert_eq!(outcome("+OK\r\n"), None);
        assert_eq!(outcome("-LOADING Redis is loading the dataset in memory\r\n"), Some(Outcome::Fail));
        assert_eq!(outcome("-NOAUTH Authentication required.\r\n"), Some(Outcome::Unknown));
        assert_eq!(outcome("-WRONGPASS invalid\r\n-NOAUTH\r\n"), Some(Outcome::Unknown));
        assert_eq!(outcome("220 mail\r\n"), Some(Outcome::Fail));
        assert_eq!(command(&["AUTH", "$x"]), b"*2\r\n$4\r\nAUTH\r\n$2\r\n$x\r\n");
    }

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), first in prop::sample::select(vec![b'R', b'E', 0u8])) {
            let heard = [&[first], bytes.as_slice()].concat();
            let _ = (postgres(&heard), mysql(&heard), redis(&heard), postgres(&bytes), mysql(&bytes), redis(&bytes));
        }
    }
}
