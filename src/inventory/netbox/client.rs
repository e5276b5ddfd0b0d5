//! Lists of NetBox, page by page.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::{Url, redirect};
use serde_json::Value;

use super::super::SourceError;
use crate::secret::Secret;
use crate::text;

/// Rows asked for at once.
const PAGE: usize = 200;
/// The largest answer that is read.
const MAX_ANSWER: usize = 64 << 20;
/// How often a list that changes while it is read is begun again.
const TRIES: usize = 3;
/// How often a page is asked for, and the pause before the second time.
const ASKED: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// NetBox, asked with a token.
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Secret,
}

/// A page, or why there is none.
enum Page {
    Rows(usize, Vec<Value>),
    /// Asking again may help.
    Later(String),
}

impl Client {
    pub fn new(url: &str, token: Secret) -> Result<Self, SourceError> {
        let builder = reqwest::Client::builder()
            .user_agent(concat!("migrate/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .timeout(Duration::from_secs(60))
            .no_proxy();
        let builder = if url.starts_with("http:") { builder.tls_certs_only([]) } else { builder };
        let http =
            builder.build().map_err(|e| SourceError { what: format!("NetBox cannot be asked: {e}"), hint: None })?;
        Ok(Self { http, url: url.to_owned(), token })
    }

    /// All rows below a path, by their ids.
    pub async fn list(&self, path: &str, query: &[(String, String)]) -> Result<Vec<Value>, SourceError> {
        for _ in 0..TRIES {
            let (mut rows, mut seen, mut whole) = (BTreeMap::new(), 0, None);
            loop {
                let (count, page) = self.page(path, query, seen).await?;
                let end = page.is_empty() || seen + page.len() >= count;
                seen += page.len();
                whole = Some(whole.unwrap_or(count)).filter(|whole| *whole == count);
                for row in page {
                    let id = row.get("id").and_then(Value::as_u64);
                    rows.insert(id.ok_or_else(|| self.error(path, "a row has no id"))?, row);
                }
                if end || whole.is_none() {
                    break;
                }
            }
            if whole == Some(rows.len()) && rows.len() == seen {
                return Ok(rows.into_values().collect());
            }
        }
        Err(self.error(path, "the list changed each time it was read"))
    }

    fn error(&self, path: &str, what: &str) -> SourceError {
        SourceError {
            what: format!("NetBox ({}{path}): {what}", self.url),
            hint: Some("see whether it can be reached from this machine, and what it logs".to_owned()),
        }
    }

    async fn page(
        &self,
        path: &str,
        query: &[(String, String)],
        offset: usize,
    ) -> Result<(usize, Vec<Value>), SourceError> {
        let mut last = String::new();
        for failed in 0..ASKED {
            match self.ask(path, query, offset).await? {
                Page::Rows(count, rows) => return Ok((count, rows)),
                Page::Later(why) => last = why,
            }
            tokio::time::sleep(PAUSE * (failed + 1)).await;
        }
        Err(self.error(path, &last))
    }

    async fn ask(&self, path: &str, query: &[(String, String)], offset: usize) -> Result<Page, SourceError> {
        let mut url = Url::parse(&format!("{}{path}", self.url)).map_err(|_| self.error(path, "no URL"))?;
        let paging = [("limit", PAGE.to_string()), ("offset", offset.to_string()), ("ordering", "id".to_owned())];
        url.query_pairs_mut().extend_pairs(query).extend_pairs(paging);
        // Tokens of the second kind name themselves.
        let scheme = if self.token.reveal().starts_with("nbt_") { "Bearer" } else { "Token" };
        let request = self.http.get(url).header("authorization", format!("{scheme} {}", self.token.reveal()));
        let mut response = match request.header("accept", "application/json").send().await {
            Ok(response) => response,
            Err(error) => return Ok(Page::Later(text::escape(error.without_url().to_string().as_bytes(), 200))),
        };
        let status = response.status().as_u16();
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_ANSWER => body.extend_from_slice(&chunk),
                Ok(Some(_)) => return Err(self.error(path, "the answer is too large")),
                Ok(None) => break,
                Err(error) => return Ok(Page::Later(text::escape(error.without_url().to_string().as_bytes(), 200))),
            }
        }
        let parsed: Value = serde_json::from_slice(&body).unwrap_or_default();
        let detail = parsed.get("detail").and_then(Value::as_str).unwrap_or_default();
        let detail = text::escape(detail.as_bytes(), 200);
        match (status, parsed.get("count").and_then(Value::as_u64), parsed.get("results")) {
            (200, Some(count), Some(Value::Array(rows))) => {
                Ok(Page::Rows(usize::try_from(count).unwrap_or(usize::MAX), rows.clone()))
            }
            (401 | 403, ..) => Err(SourceError {
                what: format!("NetBox ({}) does not accept the token ({status}): {detail}", self.url),
                hint: Some(
                    "see that the token is one of this NetBox, has not expired, and may read devices".to_owned(),
                ),
            }),
            (200 | 429 | 500..=999, ..) => Ok(Page::Later(format!("status {status} without a list: {detail}"))),
            _ => Err(self.error(path, &format!("status {status}: {}", text::escape(&body, 200)))),
        }
    }
}
