//! What is answered, and the headers that every answer has.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{Response, StatusCode};
use hyper::body::{Body, Frame, SizeHint};
use serde::Serialize;
use tokio::sync::mpsc;

use super::desk::Refused;
use super::guard::Stopped;

/// What nothing but the page may do.
const NOTHING: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What goes over the wire.
#[derive(Debug)]
pub enum Content {
    /// All at once.
    Whole(Option<Bytes>),
    /// As it comes, until the other end is dropped.
    Stream(mpsc::Receiver<Bytes>),
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(coming) => coming.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// An answer.
pub type Answer = Response<Content>;

/// With these words.
#[derive(Serialize)]
struct Said<'a> {
    said: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

/// JSON.
pub fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => answer(status, "application/json", NOTHING, Content::Whole(Some(bytes.into()))),
        Err(e) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("the answer cannot be written: {e}")),
    }
}

/// What is JSON already.
pub fn json_text(text: String) -> Answer {
    answer(StatusCode::OK, "application/json", NOTHING, Content::Whole(Some(text.into())))
}

/// What was done.
pub fn done(said: &str) -> Answer {
    json(StatusCode::OK, &Said { said, hint: None })
}

/// Why it was not.
pub fn refused(status: StatusCode, refused: &Refused) -> Answer {
    json(status, &Said { said: &refused.what, hint: refused.hint.as_deref() })
}

/// Why the request went no further.
pub fn stopped(stopped: &Stopped) -> Answer {
    json(stopped.status, &Said { said: stopped.why, hint: None })
}

/// Why there is nothing to answer.
pub fn nothing(status: StatusCode, why: &str) -> Answer {
    json(status, &Said { said: why, hint: None })
}

/// Plain text.
pub fn text(status: StatusCode, said: &str) -> Answer {
    answer(status, "text/plain; charset=utf-8", NOTHING, whole(said))
}

/// Metrics, in the version of the format that they are in.
pub fn metrics(said: &str) -> Answer {
    answer(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", NOTHING, whole(said))
}

/// The page, with what it may do.
pub fn page(html: &'static str, policy: &str) -> Answer {
    let content = Content::Whole(Some(Bytes::from_static(html.as_bytes())));
    answer(StatusCode::OK, "text/html; charset=utf-8", policy, content)
}

/// Server-sent events.
pub fn events(coming: mpsc::Receiver<Bytes>) -> Answer {
    answer(StatusCode::OK, "text/event-stream", NOTHING, Content::Stream(coming))
}

/// The same answer with a cookie.
pub fn with_cookie(mut answer: Answer, cookie: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        answer.headers_mut().insert(SET_COOKIE, value);
    }
    answer
}

fn whole(said: &str) -> Content {
    Content::Whole(Some(Bytes::copy_from_slice(said.as_bytes())))
}

fn answer(status: StatusCode, kind: &'static str, policy: &str, content: Content) -> Answer {
    let mut answer = Response::new(content);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // It is made of what this program holds.
    let policy = HeaderValue::from_str(policy).unwrap_or(HeaderValue::from_static(NOTHING));
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    answer
}
