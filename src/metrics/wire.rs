//! One request to the API of Prometheus, or of another of its family.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, Method, Url};

use super::answer::{self, Data};
use super::{Server, Silence};
use crate::secret::{SecretRef, Secrets};
use crate::text;
use crate::web::{self, Trust};

/// The largest answer of Prometheus that is read.
const LONGEST: usize = 4 << 20;

/// What is asked of an API.
pub struct Request<'a> {
    /// How.
    pub method: Method,
    /// Where, below the server's URL.
    pub path: &'a str,
    /// Parameters of the URL.
    pub query: &'a [(&'a str, &'a str)],
    /// JSON that goes along.
    pub body: Option<String>,
    /// The largest answer that is read.
    pub longest: usize,
}

/// Clients by what they trust: `None` for plain HTTP, which works on machines without any certificates.
type Clients = HashMap<Option<Option<PathBuf>>, Client>;

/// The way to servers.
pub struct Wire {
    secrets: Arc<dyn Secrets>,
    clients: Mutex<Clients>,
}

impl Wire {
    /// Contacts nobody yet.
    pub fn new(secrets: Arc<dyn Secrets>) -> Self {
        Self { secrets, clients: Mutex::default() }
    }

    /// What the API answers to a request.
    pub async fn get(
        &self,
        server: &Server,
        path: &str,
        query: &[(&str, &str)],
        patience: Duration,
    ) -> Result<Data, Silence> {
        let path = format!("api/v1/{path}");
        let request = Request { method: Method::GET, path: &path, query, body: None, longest: LONGEST };
        let (status, body) = self.ask(server, request, patience).await?;
        answer::open(status, &body)
    }

    /// The status and the whole body with which a server answers.
    pub async fn ask(
        &self,
        server: &Server,
        asked: Request<'_>,
        patience: Duration,
    ) -> Result<(u16, Vec<u8>), Silence> {
        let mut url = Url::parse(&format!("{}/{}", server.url, asked.path))
            .map_err(|e| Silence::new(format!("its URL cannot be used: {e}"), "mend `server`"))?;
        if !asked.query.is_empty() {
            url.query_pairs_mut().extend_pairs(asked.query);
        }
        let client = self.client(server).map_err(|why| Silence::new(why, "mend `ca`, or `url`"))?;
        let mut request = client.request(asked.method, url);
        if let Some(body) = asked.body {
            request = request.header("Content-Type", "application/json").body(body);
        }
        if let Some(token) = &server.token {
            request = request.bearer_auth(self.secret(token)?.reveal());
        }
        if let Some((user, password)) = &server.user {
            request = request.basic_auth(user, Some(self.secret(password)?.reveal()));
        }
        let answer = tokio::time::timeout(patience, whole(request, asked.longest)).await;
        answer.unwrap_or_else(|_| Err(late(patience)))
    }

    fn secret(&self, reference: &SecretRef) -> Result<crate::secret::Secret, Silence> {
        let refused =
            |e: crate::secret::SecretError| Silence::new(format!("there are no credentials: {e}"), CREDENTIALS);
        self.secrets.resolve(reference).map_err(refused)
    }

    fn client(&self, server: &Server) -> Result<Client, String> {
        let key = server.url.starts_with("https:").then(|| server.ca.clone());
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = web::client(match &key {
            None => Trust::Plain,
            Some(None) => Trust::Machine,
            Some(Some(ca)) => Trust::File(ca),
        })?;
        clients.insert(key, client.clone());
        Ok(client)
    }
}

const CREDENTIALS: &str = "mend what `token` or `password` refers to";

/// That no answer came in time.
pub fn late(patience: Duration) -> Silence {
    Silence::new(format!("no answer in {}", text::duration(patience)), "look at Prometheus, or ask for less")
}

async fn whole(request: reqwest::RequestBuilder, longest: usize) -> Result<(u16, Vec<u8>), Silence> {
    let lost = |e: reqwest::Error| {
        let (why, what) =
            (web::innermost(&e), if e.is_connect() { "it cannot be reached" } else { "its answer was lost" });
        Silence::new(format!("{what}: {why}"), "look whether Prometheus runs, and at the way from here to it")
    };
    let mut response = request.send().await.map_err(lost)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        body.extend_from_slice(&chunk);
        if body.len() > longest {
            return Err(Silence::new("its answer is too long", "make one number of it, as in `sum(…)`"));
        }
    }
    Ok((response.status().as_u16(), body))
}
