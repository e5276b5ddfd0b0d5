//! Credentials of a machine's role, from the metadata server that machines of AWS have (version 2, with a session of its own).
//!
//! They are kept until shortly before they end. Must never show any of it.

use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Mutex;

use super::super::hosted::exchange::{self, Client, Failure};
use super::credentials;
use super::sign::Credentials;

/// How long a session with the metadata server may be used, in seconds.
const SESSION: &str = "60";
/// How long before their end credentials are not used any more.
const SPARE: Duration = Duration::from_secs(300);
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

/// The role of this machine.
#[derive(Default)]
pub(super) struct Role {
    kept: Mutex<Option<(Credentials, Timestamp)>>,
    client: Client,
}

impl Role {
    /// Its credentials; else why there are none, for people.
    pub async fn get(&self, server: &str) -> Result<Credentials, String> {
        let mut kept = self.kept.lock().await;
        if let Some((found, until)) = kept.as_ref()
            && Timestamp::now() < *until
        {
            return Ok(found.clone());
        }
        let (found, ends) = self.fetch(server).await?;
        *kept = ends.map(|ends| (found.clone(), ends - SPARE));
        Ok(found)
    }

    async fn fetch(&self, server: &str) -> Result<(Credentials, Option<Timestamp>), String> {
        let client = self.client.of(server)?;
        let session = client.put(format!("{server}/latest/api/token"));
        let session = asked(session.header("x-aws-ec2-metadata-token-ttl-seconds", SESSION)).await?;
        let ask = |path: String| {
            asked(client.get(format!("{server}{path}")).header("x-aws-ec2-metadata-token", session.as_str()))
        };
        let roles = ask(ROLES.to_owned()).await?;
        let role = roles.lines().next().unwrap_or_default();
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b);
        if role.is_empty() || !role.bytes().all(fits) {
            return Err("the metadata server names no role of this machine".to_owned());
        }
        let (found, ends) = credentials::from_process(&ask(format!("{ROLES}{role}")).await?, "the metadata server")?;
        Ok((credentials::checked(found)?, ends))
    }
}

/// The text of an answer.
async fn asked(request: reqwest::RequestBuilder) -> Result<String, String> {
    let (status, bytes) = match exchange::send(request).await {
        Ok(answer) => answer,
        Err(Failure::Lost(why) | Failure::Said(_, why)) => {
            return Err(format!("the metadata server does not answer: {why}"));
        }
        Err(Failure::Unsent(e) | Failure::Overwrote(e)) => {
            return Err(format!("the metadata server cannot be asked: {e}"));
        }
    };
    match status {
        200 => String::from_utf8(bytes).map_err(|_| "the answer of the metadata server is not text".to_owned()),
        404 => Err("this machine has no role".to_owned()),
        _ => Err(format!("the metadata server says no with status {status}")),
    }
}
