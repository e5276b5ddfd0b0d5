//! Change watches on the sources, from before the first pass of a job to the last.
//!
//! Owns their lives: they end with the engine, with the clean-up, and by themselves when the controller is gone. A copy never fails
//! for lack of one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::deploy::Installed;
use super::frames::skip_noise;
use super::transport::{Channel, Transport};
use crate::copy::job::CopyJob;
use crate::copy::watch::{PER_HOST, WATCHING};
use crate::model::Host;

/// How long one may take to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// The watches of one engine, by host and job.
#[derive(Default)]
pub struct Watches(Mutex<HashMap<(String, String), Watch>>);

enum Watch {
    Held(JoinHandle<()>),
    /// The host said why not.
    Refused(String),
}

impl Watches {
    /// Makes sure that the source of a job is watched; else says why it is not.
    pub async fn ensure(&self, transport: &dyn Transport, on_source: &Installed, job: &CopyJob) -> Result<(), String> {
        let key = (job.source.name.clone(), job.id.clone());
        match self.lock().get(&key) {
            Some(Watch::Held(task)) if !task.is_finished() => return Ok(()),
            Some(Watch::Refused(why)) => return Err(why.clone()),
            _ => {}
        }
        let held = |(host, _): &&(String, String)| *host == key.0;
        if self.lock().keys().filter(held).count() >= PER_HOST {
            return Err("enough other trees of this host are watched".to_owned());
        }
        let Installed { agent, work, .. } = on_source;
        let argv = [agent, "agent", "watch", "--work", work, "--job", &job.id, "--root", &job.from];
        let mut channel =
            transport.open(&job.source, &argv).await.map_err(|_| "no watch could be started".to_owned())?;
        let said = timeout(PATIENCE, said(&mut channel.reader)).await.ok().and_then(Result::ok).unwrap_or_default();
        let (watch, result) = match said.as_str() {
            WATCHING => (Watch::Held(tokio::spawn(hold(channel))), Ok(())),
            "" => return Err("the watch did not start".to_owned()),
            why => {
                let why = crate::text::escape(why.as_bytes(), 200);
                (Watch::Refused(why.clone()), Err(why))
            }
        };
        self.lock().insert(key, watch);
        result
    }

    /// Ends those of some jobs.
    pub fn end(&self, host: &Host, jobs: &[String]) {
        for job in jobs {
            if let Some(Watch::Held(task)) = self.lock().remove(&(host.name.clone(), job.clone())) {
                task.abort();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Watch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        for watch in self.lock().values() {
            if let Watch::Held(task) = watch {
                task.abort();
            }
        }
    }
}

/// The first line.
async fn said(reader: &mut Box<dyn AsyncRead + Send + Unpin>) -> std::io::Result<String> {
    skip_noise(reader).await?;
    let mut line = Vec::new();
    while line.len() < 1000 {
        match reader.read_u8().await? {
            b'\n' => break,
            byte => line.push(byte),
        }
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// Keeps its input open until it ends.
async fn hold(channel: Channel) {
    let Channel { mut reader, writer, ended, .. } = channel;
    let mut rest = [0; 64];
    while matches!(reader.read(&mut rest).await, Ok(1..)) {}
    drop(writer);
    let _ = ended.await;
}
