//! Which address is what.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde::Serialize;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::acts::{ALL, Body};
use super::answer::{self, Answer};
use super::desk::{Desk, Refused};
use super::followed::Followed;
use super::guard::{Asks, Doors};
use super::page::page;
use super::people::{People, Person};
use super::runs::Runs;
use super::stream;
use crate::event::Operator;
use crate::store::RunStore;

/// The longest body.
const LONGEST: usize = 16 << 10;
/// For a body.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines of the log in one answer.
const LINES: usize = 1000;

const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");

/// Everything that can be asked for.
pub struct Site {
    doors: Doors,
    store: Arc<dyn RunStore>,
    desk: Arc<dyn Desk>,
    runs: Arc<Runs>,
    followed: Mutex<HashMap<String, Arc<Followed>>>,
}

/// An address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place<'a> {
    Page,
    Enter,
    Me,
    List,
    ListEvents,
    Run(&'a str),
    RunEvents(&'a str),
    RunLog(&'a str),
    RunAct(&'a str, &'a str),
    StopAll,
    GoOn,
    Metrics,
}

impl<'a> Place<'a> {
    fn of(path: &'a str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        Some(match parts.as_slice() {
            [""] | ["runs", _] => Self::Page,
            ["metrics"] => Self::Metrics,
            ["api", "enter"] => Self::Enter,
            ["api", "me"] => Self::Me,
            ["api", "runs"] => Self::List,
            ["api", "events"] => Self::ListEvents,
            ["api", "stop"] => Self::StopAll,
            ["api", "go-on"] => Self::GoOn,
            ["api", "runs", run] => Self::Run(run),
            ["api", "runs", run, "events"] => Self::RunEvents(run),
            ["api", "runs", run, "log"] => Self::RunLog(run),
            ["api", "runs", run, act] => Self::RunAct(run, act),
            _ => return None,
        })
    }

    fn asks(self) -> Asks {
        match self {
            Self::Page => Asks::Page,
            Self::Enter => Asks::Enter,
            Self::Me
            | Self::List
            | Self::ListEvents
            | Self::Run(_)
            | Self::RunEvents(_)
            | Self::RunLog(_)
            | Self::Metrics => Asks::Read,
            Self::RunAct(..) | Self::StopAll | Self::GoOn => Asks::Write,
        }
    }

    fn method(self) -> Method {
        match self.asks() {
            Asks::Page | Asks::Read => Method::GET,
            Asks::Enter | Asks::Write => Method::POST,
        }
    }
}

/// Who somebody is.
#[derive(Serialize)]
struct Entered<'a> {
    who: &'a str,
    read_only: bool,
}

impl Site {
    /// Behind these doors.
    pub fn new(doors: Doors, store: Arc<dyn RunStore>, desk: Arc<dyn Desk>) -> Self {
        let runs = Arc::new(Runs::new(Arc::clone(&store)));
        Self { doors, store, desk, runs, followed: Mutex::default() }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Answer {
        let (head, body) = request.into_parts();
        // What is asked for is looked at only once it is known that it may be.
        let place = Place::of(head.uri.path());
        let asks = match (place, &head.method) {
            (Some(place), _) => place.asks(),
            (None, &Method::GET) => Asks::Read,
            (None, _) => Asks::Write,
        };
        let person = match self.doors.check(asks, &head, Timestamp::now()) {
            Ok(person) => person,
            Err(stopped) => {
                if asks != Asks::Read || stopped.status != StatusCode::UNAUTHORIZED {
                    let path = crate::text::escape(head.uri.path().as_bytes(), 100);
                    self.desk.log(&format!("{peer}: {} {path} refused: {}", head.method, stopped.why));
                }
                return answer::stopped(&stopped);
            }
        };
        let Some(place) = place else { return answer::nothing(StatusCode::NOT_FOUND, "there is nothing here") };
        if head.method != place.method() {
            return answer::nothing(StatusCode::METHOD_NOT_ALLOWED, "it is asked for by another method");
        }
        match (place, person) {
            (Place::Page, _) | (_, None) => answer::page(&page().html, &page().policy),
            (Place::Enter, Some(person)) => self.enter(person, peer),
            (Place::RunAct(..) | Place::StopAll | Place::GoOn, Some(person)) => {
                let collected = timeout(PATIENCE, Limited::new(body, LONGEST).collect()).await;
                let Ok(Ok(body)) = collected.map(|body| body.map(|body| body.to_bytes())) else {
                    return answer::nothing(
                        StatusCode::BAD_REQUEST,
                        "the request is too long or did not come to its end",
                    );
                };
                self.act(place, body, person, peer).await
            }
            (_, Some(person)) => self.show(place, &head, person).await,
        }
    }

    fn enter(&self, person: &Person, peer: SocketAddr) -> Answer {
        let (value, seconds) = People::cookie(person, Timestamp::now());
        let secure = if self.doors.tls() { "; Secure" } else { "" };
        let name = &self.doors.cookie;
        let cookie = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
        self.desk.log(&format!("{} looks from {peer}", person.name));
        answer::with_cookie(answer::json(StatusCode::OK, &self.entered(person)), &cookie)
    }

    fn entered<'a>(&self, person: &'a Person) -> Entered<'a> {
        Entered { who: &person.name, read_only: person.read_only || self.doors.read_only }
    }

    async fn show(&self, place: Place<'_>, head: &Parts, person: &Person) -> Answer {
        match place {
            Place::Me => answer::json(StatusCode::OK, &self.entered(person)),
            Place::List => {
                let (runs, desk) = (Arc::clone(&self.runs), Arc::clone(&self.desk));
                match spawn_blocking(move || stream::list(&runs, desk.as_ref())).await {
                    Ok(Ok(list)) => answer::json_text(list),
                    Ok(Err(why)) => answer::nothing(StatusCode::INTERNAL_SERVER_ERROR, &why),
                    Err(_) => answer::nothing(StatusCode::INTERNAL_SERVER_ERROR, "the runs cannot be read"),
                }
            }
            Place::ListEvents => answer::events(stream::of_list(Arc::clone(&self.runs), Arc::clone(&self.desk))),
            Place::Metrics => {
                let desk = Arc::clone(&self.desk);
                match spawn_blocking(move || desk.metrics()).await {
                    Ok(Ok(text)) => answer::metrics(&text),
                    Ok(Err(why)) => answer::refused(StatusCode::INTERNAL_SERVER_ERROR, &why),
                    Err(_) => answer::nothing(StatusCode::INTERNAL_SERVER_ERROR, "the runs cannot be read"),
                }
            }
            Place::Run(run) | Place::RunEvents(run) | Place::RunLog(run) => self.show_run(place, run, head).await,
            Place::Page | Place::Enter | Place::RunAct(..) | Place::StopAll | Place::GoOn => {
                answer::nothing(StatusCode::NOT_FOUND, "there is nothing here")
            }
        }
    }

    async fn show_run(&self, place: Place<'_>, run: &str, head: &Parts) -> Answer {
        let Some(followed) = self.follow(run).await else {
            return answer::nothing(StatusCode::NOT_FOUND, "there is no such run");
        };
        if let Err(why) = followed.ready().await {
            return answer::nothing(StatusCode::INTERNAL_SERVER_ERROR, &why);
        }
        let query = |name: &str| {
            let query = head.uri.query().unwrap_or_default().split('&');
            query.filter_map(|part| part.split_once('=')).find(|(key, _)| *key == name)?.1.parse::<u64>().ok()
        };
        match place {
            Place::RunEvents(_) => {
                let last = head.headers.get(LAST_EVENT).and_then(|id| id.to_str().ok()?.parse().ok());
                answer::events(stream::of_run(followed, last.or_else(|| query("from"))))
            }
            Place::RunLog(_) => {
                let before = query("before").unwrap_or(u64::MAX);
                answer::json(StatusCode::OK, &followed.lines_before(before, LINES))
            }
            _ => {
                let seen = spawn_blocking(move || followed.look(None, 0)).await;
                match seen.ok().flatten() {
                    Some(seen) => answer::json(StatusCode::OK, seen.view.as_ref()),
                    None => answer::nothing(StatusCode::SERVICE_UNAVAILABLE, "ask again"),
                }
            }
        }
    }

    /// The run as it is followed, from now on if it was not.
    async fn follow(&self, run: &str) -> Option<Arc<Followed>> {
        let (runs, name) = (Arc::clone(&self.runs), run.to_owned());
        if !spawn_blocking(move || runs.has(&name)).await.unwrap_or(false) {
            return None;
        }
        let mut all = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, followed| !followed.has_ended());
        let start = || Followed::start(run, Arc::clone(&self.store), Arc::clone(&self.desk));
        Some(Arc::clone(all.entry(run.to_owned()).or_insert_with(start)))
    }

    async fn act(&self, place: Place<'_>, body: Bytes, person: &Person, peer: SocketAddr) -> Answer {
        let by = Operator { user: person.name.clone(), ..self.desk.owner() };
        let (run, word) = match place {
            Place::RunAct(run, word) => (Some(run), word),
            Place::StopAll => (None, "stop"),
            _ => (None, "go-on"),
        };
        if let Some(run) = run
            && self.follow(run).await.is_none()
        {
            return answer::nothing(StatusCode::NOT_FOUND, "there is no such run");
        }
        let about = run.unwrap_or(ALL).to_owned();
        let read = Body::read(&body, &about);
        let asked = match (run, read) {
            (_, Err(why)) => Err(why),
            (None, Ok(body)) => self.act_on_all(word, body, by).await,
            (Some(run), Ok(body)) => match body.wanted(word) {
                None => return answer::nothing(StatusCode::NOT_FOUND, "nothing is done by that name"),
                Some(Err(why)) => Err(why),
                Some(Ok(wanted)) => {
                    let (desk, run) = (Arc::clone(&self.desk), run.to_owned());
                    done(spawn_blocking(move || desk.ask(&run, wanted, &by)).await)
                }
            },
        };
        let came = asked.as_ref().map_or_else(|refused| format!("refused: {}", refused.what), Clone::clone);
        self.desk.log(&format!("{} from {peer}: {word} {about}: {came}", person.name));
        self.refresh();
        match asked {
            Ok(said) => answer::done(&said),
            Err(why) => answer::refused(StatusCode::CONFLICT, &why),
        }
    }

    async fn act_on_all(&self, word: &str, body: Body, by: Operator) -> Result<String, Refused> {
        let desk = Arc::clone(&self.desk);
        match word {
            "stop" => {
                let why = body.why()?;
                done(spawn_blocking(move || desk.stop_all(&why, &by)).await)
            }
            _ => done(spawn_blocking(move || desk.let_all_go_on(&by)).await),
        }
    }

    /// What is no record changes what is shown, too.
    fn refresh(&self) {
        let all = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().for_each(|followed| followed.refresh());
    }
}

/// What came of it, also where it broke.
fn done(asked: Result<Result<String, Refused>, tokio::task::JoinError>) -> Result<String, Refused> {
    let broken = |_| Refused {
        what: "it broke, and may have been done".to_owned(),
        hint: Some("look with `migrate explain`".to_owned()),
    };
    asked.map_err(broken)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_one_thing_and_what_acts_is_posted() {
        let acts = ["/api/stop", "/api/go-on", "/api/runs/web-1/pause", "/api/runs/web-1/rollback"];
        for path in acts {
            let place = Place::of(path).unwrap();
            assert_eq!((place.asks(), place.method()), (Asks::Write, Method::POST), "{path}");
        }
        for path in ["/api/runs", "/api/events", "/api/runs/web-1", "/api/runs/web-1/events", "/metrics"] {
            let place = Place::of(path).unwrap();
            assert_eq!((place.asks(), place.method()), (Asks::Read, Method::GET), "{path}");
        }
        assert_eq!(Place::of("/runs/web-1"), Some(Place::Page));
        for path in ["", "/x", "/api", "/api/runs/web-1/a/b", "//", "/runs/a/b"] {
            assert_eq!(Place::of(path), None, "{path}");
        }
    }
}
