//! Speaking to a cluster: on a thread of its own, to whichever of its servers answers.
//!
//! Must never send again what may have landed unless a second time changes nothing: every transaction that writes says what it expects to
//! find, and who sends one learns whether an earlier try may have landed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc as wait};
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::json;
use tokio::runtime::{Builder, Handle, RuntimeFlavor};
use tokio::sync::mpsc;

use super::address::Address;
use super::trouble::Trouble;
use super::wire::{self, Do, Outcome, Txn};
use crate::secret::Secrets;
use crate::text;
use crate::web::{self, Trust};

/// How long one server may take for an answer: a cluster that elects a leader needs a second or two.
const TRY: Duration = Duration::from_secs(4);
/// How long the whole cluster may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(150);

/// What is sent to the thread.
enum Job {
    Ask { path: &'static str, body: Vec<u8>, answer: wait::Sender<Result<Heard, Trouble>> },
    Watch { keys: (String, String), from: u64, at_most: Duration, answer: wait::Sender<()> },
}

/// An answer, and whether what it answers was sent before.
struct Heard {
    bytes: Vec<u8>,
    again: bool,
}

/// What a transaction found.
pub struct Answered {
    /// What it found.
    pub outcome: Outcome,
    /// Whether it was sent before, and may have landed then.
    pub again: bool,
}

/// A cluster to speak to. Its copies use one thread.
#[derive(Debug, Clone)]
pub struct Client {
    jobs: mpsc::UnboundedSender<Job>,
}

impl Client {
    /// Contacts nobody yet; an error says what is wrong with the address.
    pub fn new(address: &Address, secrets: &Arc<dyn Secrets>) -> Result<Self, String> {
        let speaker = Arc::new(Speaker::new(address, secrets)?);
        let (jobs, mut given) = mpsc::unbounded_channel();
        let runtime = Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        // It ends, and takes the runtime with it, when nobody can give it a job any more.
        let work = async move {
            while let Some(job) = given.recv().await {
                tokio::spawn(Arc::clone(&speaker).work(job));
            }
        };
        let thread = std::thread::Builder::new().name("etcd".into()).spawn(move || runtime.block_on(work));
        thread.map_err(|e| format!("no thread could be started: {e}"))?;
        Ok(Self { jobs })
    }

    /// Sends a transaction, to one server after the other for as long as that may help.
    pub fn run(&self, txn: &Txn) -> Result<Answered, Trouble> {
        let Heard { bytes, again } = self.ask("kv/txn", txn.body())?;
        Ok(Answered { outcome: wire::outcome(&bytes).map_err(strange)?, again })
    }

    /// The same, for one that only reads.
    pub fn read(&self, what: Vec<Do>) -> Result<Outcome, Trouble> {
        Ok(self.run(&Txn::read(what))?.outcome)
    }

    /// Gets a lease of etcd's own, which ends by itself: for keys that nobody may be left to take away.
    pub fn grant(&self, seconds: u64) -> Result<i64, Trouble> {
        wire::granted(&self.ask("lease/grant", wire::grant(seconds))?.bytes).map_err(strange)
    }

    fn ask(&self, path: &'static str, body: Vec<u8>) -> Result<Heard, Trouble> {
        let (answer, answered) = wait::channel();
        let ended = || Trouble::Unreachable("the thread that speaks to it has ended".to_owned());
        self.jobs.send(Job::Ask { path, body, answer }).map_err(|_| ended())?;
        blocking(|| answered.recv()).map_err(|_| ended())?
    }

    /// Returns when one of the keys from the first on and below the second may have changed since a revision; at most after so long. Whether
    /// it has is to be read.
    pub fn changed(&self, keys: (String, String), from: u64, at_most: Duration) {
        let (answer, answered) = wait::channel();
        if self.jobs.send(Job::Watch { keys, from, at_most, answer }).is_ok() {
            let _ = blocking(|| answered.recv());
        }
    }
}

/// Waits without keeping the other tasks of a runtime from going on.
fn blocking<T>(wait: impl FnOnce() -> T) -> T {
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => tokio::task::block_in_place(wait),
        Ok(_) | Err(_) => wait(),
    }
}

/// Why one try failed.
struct Failed {
    trouble: Trouble,
    /// Whether what was asked for may have been done.
    may_have_landed: bool,
    /// Whether the login was forgotten there.
    stale: bool,
}

impl Failed {
    fn not_sent(trouble: Trouble) -> Self {
        Self { trouble, may_have_landed: false, stale: false }
    }
}

struct Speaker {
    http: reqwest::Client,
    scheme: &'static str,
    address: Address,
    secrets: Arc<dyn Secrets>,
    token: Mutex<Option<String>>,
    /// Which server answered last.
    current: AtomicUsize,
    /// Whether any ever did.
    answered: AtomicBool,
}

impl Speaker {
    fn new(address: &Address, secrets: &Arc<dyn Secrets>) -> Result<Self, String> {
        let identity = address.identity.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
        let (scheme, trust) = match &address.ca {
            Some(ca) => ("https", Trust::File(ca)),
            None => ("http", Trust::Plain),
        };
        Ok(Self {
            http: web::client_as(trust, identity)?,
            scheme,
            address: address.clone(),
            secrets: Arc::clone(secrets),
            token: Mutex::default(),
            current: AtomicUsize::new(0),
            answered: AtomicBool::new(false),
        })
    }

    async fn work(self: Arc<Self>, job: Job) {
        // Whoever asked may have gone away.
        match job {
            Job::Ask { path, body, answer } => drop(answer.send(self.ask(path, &body).await)),
            Job::Watch { keys, from, at_most, answer } => {
                let _ = tokio::time::timeout(at_most, self.watch(&keys, from)).await;
                let _ = answer.send(());
            }
        }
    }

    async fn ask(&self, path: &str, body: &[u8]) -> Result<Heard, Trouble> {
        let until = Instant::now() + PATIENCE;
        let (mut again, mut tries, mut logged_in) = (false, 0, false);
        loop {
            let failed = match self.try_once(path, body).await {
                Ok(bytes) => return Ok(Heard { bytes, again }),
                Err(failed) => failed,
            };
            tries += 1;
            again |= failed.may_have_landed;
            if failed.stale && !logged_in {
                logged_in = true;
                self.set_token(None);
                continue;
            }
            // A place where nobody has ever answered is a mistyped one rather than a cluster in trouble.
            let hopeless = !self.answered.load(Ordering::Relaxed) && tries >= self.address.servers.len();
            if !failed.trouble.may_pass() || hopeless || Instant::now() >= until {
                return Err(failed.trouble);
            }
            self.current.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_once(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, Failed> {
        let token = self.token().await?;
        let at = self.server();
        self.post(&at, path, body.to_vec(), token).await
    }

    fn server(&self) -> String {
        let servers = &self.address.servers;
        let at = self.current.load(Ordering::Relaxed) % servers.len().max(1);
        servers.get(at).cloned().unwrap_or_default()
    }

    fn set_token(&self, token: Option<String>) {
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    /// The token of this login; none where there is no login.
    async fn token(&self) -> Result<Option<String>, Failed> {
        let Some((user, password)) = self.address.login.clone() else { return Ok(None) };
        let known = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.is_some() {
            return Ok(known);
        }
        let secrets = Arc::clone(&self.secrets);
        let password = tokio::task::spawn_blocking(move || secrets.resolve(&password)).await;
        let password = password.map_err(|e| Failed::not_sent(Trouble::Secret(e.to_string())))?;
        let password = password.map_err(|e| Failed::not_sent(Trouble::Secret(e.to_string())))?;
        let body = json!({ "name": user, "password": password.reveal() }).to_string().into_bytes();
        let at = self.server();
        match self.post(&at, "auth/authenticate", body, None).await {
            Ok(bytes) => {
                let answer: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
                let token = answer.get("token").and_then(|t| t.as_str()).map(str::to_owned);
                let none = || Failed::not_sent(Trouble::Strange("a login without a token".to_owned()));
                let token = token.ok_or_else(none)?;
                self.set_token(Some(token.clone()));
                Ok(Some(token))
            }
            // A cluster that asks nobody for a login needs none.
            Err(failed) if failed.trouble.to_string().contains("authentication is not enabled") => Ok(None),
            Err(failed) => Err(Failed { may_have_landed: false, stale: false, ..failed }),
        }
    }

    fn request(&self, at: &str, path: &str, body: Vec<u8>, token: Option<String>) -> reqwest::RequestBuilder {
        let request = self.http.post(format!("{}://{at}/v3/{path}", self.scheme));
        let request = request.header(CONTENT_TYPE, "application/json").body(body);
        match token {
            Some(token) => request.header(AUTHORIZATION, token),
            None => request,
        }
    }

    async fn post(&self, at: &str, path: &str, body: Vec<u8>, token: Option<String>) -> Result<Vec<u8>, Failed> {
        let lost = |e: reqwest::Error| Failed {
            trouble: Trouble::Unreachable(format!("{at}: {}", why(&e))),
            may_have_landed: !e.is_connect(),
            stale: false,
        };
        let response = self.request(at, path, body, token).timeout(TRY).send().await.map_err(lost)?;
        self.answered.store(true, Ordering::Relaxed);
        let status = response.status().as_u16();
        let bytes = response.bytes().await.map_err(lost)?;
        if status == 200 {
            return Ok(bytes.to_vec());
        }
        let Some(error) = wire::refusal(&bytes) else {
            let said = format!("{at}: status {status}: {}", text::escape(&bytes, 100));
            // Something between here and etcd, perhaps.
            return Err(Failed { trouble: Trouble::Strange(said), may_have_landed: true, stale: false });
        };
        let trouble = Trouble::refusal(status, &error);
        let stale = error.contains("invalid auth token") || error.contains("revision of auth store is old");
        Err(Failed { may_have_landed: trouble.may_pass(), trouble, stale })
    }

    /// Returns with the first word of a change, or when the watch has ended for whatever reason.
    async fn watch(&self, keys: &(String, String), from: u64) {
        if self.await_change(keys, from).await.is_none() {
            // It does not work there now; whoever asked reads instead, at another server.
            self.current.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE * 2).await;
        }
    }

    async fn await_change(&self, (first, end): &(String, String), from: u64) -> Option<()> {
        let token = self.token().await.ok()?;
        let (key, end) = (wire::encode(first.as_bytes()), wire::encode(end.as_bytes()));
        let create = json!({ "create_request": { "key": key, "range_end": end, "start_revision": from.to_string() } });
        let body = create.to_string().into_bytes();
        let mut response = self.request(&self.server(), "watch", body, token).send().await.ok()?;
        let mut line = Vec::new();
        while let Some(part) = response.chunk().await.ok()? {
            line.extend_from_slice(&part);
            while let Some(end) = line.iter().position(|b| *b == b'\n') {
                let said: serde_json::Value = serde_json::from_slice(line.get(..end)?).ok()?;
                line.drain(..=end);
                let result = said.get("result")?;
                // One that was compacted away is read from where it is now.
                if result.get("canceled").is_some() {
                    return None;
                }
                if result.get("events").is_some() {
                    return Some(());
                }
            }
        }
        None
    }
}

fn strange(what: String) -> Trouble {
    Trouble::Strange(text::escape(what.as_bytes(), 200))
}

fn why(error: &reqwest::Error) -> String {
    match error.is_timeout() {
        true => "no answer in time".to_owned(),
        false => web::innermost(error),
    }
}
