//! Brings a message to its receiver: one POST, again while the receiver is away.
//!
//! Must never let a URL, a header or an answer into what it says of a failure: an answer may repeat what was asked.

use std::error::Error as _;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use reqwest::{Client, Url, redirect};

use super::{Notify, Post};
use crate::model::{Delivery, Message};
use crate::secret::Secrets;
use crate::text;

/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pauses double from here.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Brings messages.
pub struct Courier {
    secrets: Arc<dyn Secrets>,
    plain: OnceLock<Result<Client, String>>,
    tls: OnceLock<Result<Client, String>>,
}

/// Why a message was not taken.
enum Refusal {
    /// Another try may help; the pause that the receiver asks for.
    Later(String, Option<Duration>),
    /// None does.
    Never(String),
}

impl Courier {
    /// Contacts nobody yet. Secrets are looked up for each message.
    pub fn new(secrets: Arc<dyn Secrets>) -> Self {
        Self { secrets, plain: OnceLock::new(), tls: OnceLock::new() }
    }

    /// Brings one. Ends at the latest when `retry_for` has passed and the last try has ended.
    pub async fn bring(&self, notify: &Notify, message: &Message) -> Delivery {
        let given_up = |tries, why| Delivery::GivenUp { tries, why };
        let post = match notify.channel.kind().post(message, self.secrets.as_ref()) {
            Ok(post) => post,
            Err(why) => return given_up(0, text::escape(why.to_string().as_bytes(), 200)),
        };
        let (began, mut pause, mut tries) = (Instant::now(), PAUSE, 0);
        loop {
            tries += 1;
            let (why, asked) = match self.once(&post).await {
                Ok(()) => return Delivery::Taken { tries },
                Err(Refusal::Never(why)) => return given_up(tries, why),
                Err(Refusal::Later(why, asked)) => (why, asked),
            };
            let rest = asked.unwrap_or(pause).min(LONGEST_PAUSE);
            if began.elapsed() + rest > notify.retry_for {
                return given_up(tries, why);
            }
            tokio::time::sleep(rest).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn once(&self, post: &Post) -> Result<(), Refusal> {
        let never = |why: &str| Refusal::Never(why.to_owned());
        let url = Url::parse(post.url.reveal().trim()).map_err(|_| never("what its secret holds is not a URL"))?;
        let client = match url.scheme() {
            "https" => self.tls.get_or_init(|| build(builder())),
            "http" => self.plain.get_or_init(|| build(builder().tls_certs_only([]))),
            _ => return Err(never("what its secret holds is not an HTTP or HTTPS URL")),
        };
        let client = client.as_ref().map_err(|why| Refusal::Never(format!("cannot speak TLS: {why}")))?;
        let mut request = client.post(url).timeout(PATIENCE).header("Content-Type", "application/json");
        for (name, value) in &post.headers {
            let value = reqwest::header::HeaderValue::from_str(value.reveal())
                .map_err(|_| Refusal::Never(format!("the secret for `{name}` cannot be the value of a header")))?;
            request = request.header(name, value);
        }
        match request.body(post.body.reveal().to_owned()).send().await {
            Ok(response) => judge(&response),
            Err(e) if e.is_builder() => Err(never("its URL cannot be used")),
            Err(e) => Err(Refusal::Later(lost(&e), None)),
        }
    }
}

fn judge(response: &reqwest::Response) -> Result<(), Refusal> {
    let status = response.status();
    let why = format!("it answered {status}");
    match status.as_u16() {
        200..=299 => Ok(()),
        408 | 425 | 429 | 500..=599 => {
            let asked = response.headers().get("Retry-After").and_then(|v| v.to_str().ok()?.parse().ok());
            Err(Refusal::Later(why, asked.map(Duration::from_secs)))
        }
        _ => Err(Refusal::Never(why)),
    }
}

fn lost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer in {}", text::duration(PATIENCE));
    }
    // The outer layers name the URL; the innermost one only what the system says.
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let what = if error.is_connect() { "it cannot be reached" } else { "the connection was lost" };
    match error.source() {
        Some(_) => format!("{what}: {}", text::escape(innermost.to_string().as_bytes(), 160)),
        None => what.to_owned(),
    }
}

/// No proxy of this machine stands between: nothing but what the plan says counts.
fn builder() -> reqwest::ClientBuilder {
    Client::builder()
        .user_agent(concat!("migrate/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
}

fn build(builder: reqwest::ClientBuilder) -> Result<Client, String> {
    builder.build().map_err(|e| lost(&e))
}
