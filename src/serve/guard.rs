//! What every request must pass before anything is answered.
//!
//! A browser sends requests for every page that it has open, a foreign one too, and for every name that leads to this address. So a request
//! must name this server, come from its own page, and bring what only its page has.

use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, HeaderName, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::people::{People, Person};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// The page, which holds nothing that anybody may not see.
    Page,
    /// A cookie for a token.
    Enter,
    /// To see something.
    Read,
    /// That something is done.
    Write,
}

/// Why a request goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// For programs.
    pub status: StatusCode,
    /// For people.
    pub why: &'static str,
}

/// By which names the server is known, and who may ask.
#[derive(Debug, Clone)]
pub struct Doors {
    /// `HOST:PORT`, as requests name it, in lower case.
    hosts: Vec<String>,
    scheme: &'static str,
    /// The name of its cookies. Cookies know no ports: another server on this machine has others.
    pub cookie: String,
    /// Whether nobody may do anything.
    pub read_only: bool,
    people: People,
}

impl Doors {
    /// For a server that is reached at these names, by this port.
    pub fn new(names: &[String], port: u16, tls: bool, read_only: bool, people: People) -> Self {
        let (scheme, usual) = if tls { ("https", 443) } else { ("http", 80) };
        let mut hosts = Vec::new();
        for name in names.iter().map(|name| name.to_ascii_lowercase()) {
            if port == usual {
                hosts.push(name.clone());
            }
            hosts.push(format!("{name}:{port}"));
        }
        let prefix = if tls { "__Host-" } else { "" };
        Self { hosts, scheme, cookie: format!("{prefix}migrate-{port}"), read_only, people }
    }

    /// Whether cookies go over TLS only.
    pub fn tls(&self) -> bool {
        self.scheme == "https"
    }

    /// Lets a request through, with whom it comes from; nobody has to be known for the page.
    pub fn check(&self, asks: Asks, request: &Parts, now: Timestamp) -> Result<Option<&Person>, Stopped> {
        let headers = &request.headers;
        let host = self.host(request)?;
        if asks == Asks::Page {
            return Ok(None);
        }
        let site = only(headers, &SEC_FETCH_SITE)?;
        let own = match (asks, site) {
            (_, None | Some("same-origin")) => true,
            // Typed, or opened from a bookmark.
            (Asks::Read, Some("none")) => true,
            (_, Some(_)) => false,
        };
        if !own {
            return Err(stopped(StatusCode::FORBIDDEN, "the request comes from a foreign page"));
        }
        let bearer = bearer(headers)?;
        if asks != Asks::Read {
            let origin = only(headers, &ORIGIN)?;
            match origin {
                Some(origin) if origin.eq_ignore_ascii_case(&format!("{}://{host}", self.scheme)) => {}
                // No page can send a token of its own to another server without being asked first; programs have no origin.
                None if bearer.is_some() && site.is_none() => {}
                _ => return Err(stopped(StatusCode::FORBIDDEN, "the request comes from a foreign page")),
            }
            let json = only(headers, &CONTENT_TYPE)?.and_then(|kind| kind.split(';').next());
            if !json.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
                return Err(stopped(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the content type must be application/json"));
            }
        }
        let cookie = || self.cookie(headers).and_then(|value| self.people.by_cookie(value, now));
        let person = match (bearer, asks) {
            (Some(token), _) => self.people.by_token(token),
            // A cookie must not make a new one.
            (None, Asks::Enter) => None,
            (None, _) => cookie(),
        };
        let person =
            person.ok_or_else(|| stopped(StatusCode::UNAUTHORIZED, "the token is missing, wrong or too old"))?;
        if asks == Asks::Write && (self.read_only || person.read_only) {
            return Err(stopped(StatusCode::FORBIDDEN, "nothing can be done from here: it is read-only"));
        }
        Ok(Some(person))
    }

    /// The name by which the request knows this server. Another one may lead here, too: then a foreign page owns it.
    fn host<'a>(&self, request: &'a Parts) -> Result<&'a str, Stopped> {
        let another = || stopped(StatusCode::MISDIRECTED_REQUEST, "this server is not known by that name");
        let host = only(&request.headers, &HOST)?.ok_or_else(another)?;
        let is_it = |name: &str| self.hosts.iter().any(|known| name.eq_ignore_ascii_case(known));
        let target = request.uri.authority().is_none_or(|authority| is_it(authority.as_str()));
        if is_it(host) && target { Ok(host) } else { Err(another()) }
    }

    fn cookie<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let all = headers.get_all(COOKIE).into_iter().filter_map(|value| value.to_str().ok());
        let mut named = all.flat_map(|line| line.split(';')).filter_map(|one| one.trim().split_once('='));
        named.find(|(name, _)| *name == self.cookie).map(|(_, value)| value)
    }
}

fn stopped(status: StatusCode, why: &'static str) -> Stopped {
    Stopped { status, why }
}

/// The one value of a header: with two of them, each reader may see another.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Stopped> {
    let wrong = || stopped(StatusCode::BAD_REQUEST, "a header is there twice or cannot be read");
    let mut all = headers.get_all(name).into_iter();
    match (all.next(), all.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| wrong()),
        (Some(_), Some(_)) => Err(wrong()),
    }
}

fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Stopped> {
    let Some(value) = only(headers, &AUTHORIZATION)? else { return Ok(None) };
    let token = value.split_once(' ').filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer"));
    // Somebody who brings another kind of proof is not taken for who brings none.
    Ok(Some(token.map_or("", |(_, token)| token.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    const HERE: &str = "http://127.0.0.1:8470";

    fn doors(read_only: bool) -> Doors {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        Doors::new(&names, 8470, false, read_only, People::owner("ada", Secret::new(TOKEN)))
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_000_000).unwrap()
    }

    fn cookie(doors: &Doors) -> String {
        let (value, _) = People::cookie(doors.people.by_token(TOKEN).unwrap(), now());
        format!("other=1; {}={value}", doors.cookie)
    }

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().uri("/api/runs");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    /// A write as the page sends it, with some headers changed; an empty value leaves one out.
    fn write(doors: &Doors, changed: &[(&str, &str)]) -> Result<String, StatusCode> {
        let cookie = cookie(doors);
        let usual = [
            ("host", "127.0.0.1:8470"),
            ("origin", HERE),
            ("sec-fetch-site", "same-origin"),
            ("content-type", "application/json"),
            ("cookie", &cookie),
        ];
        let kept = usual.iter().filter(|(name, _)| !changed.iter().any(|(other, _)| other == name));
        let headers: Vec<_> = kept.chain(changed.iter().filter(|(_, value)| !value.is_empty())).copied().collect();
        let checked = doors.check(Asks::Write, &parts(&headers), now());
        checked.map(|person| person.unwrap().name.clone()).map_err(|stopped| stopped.status)
    }

    #[test]
    fn a_write_of_the_page_is_let_through_and_each_thing_that_is_wrong_stops_it() {
        let doors = doors(false);
        assert_eq!(write(&doors, &[]), Ok("ada".to_owned()));
        assert_eq!(write(&doors, &[("host", "localhost:8470"), ("origin", "http://localhost:8470")]), Ok("ada".into()));
        for (changed, status) in [
            // A name that somebody else's server of names leads here.
            (&[("host", "evil.example:8470"), ("origin", "http://evil.example:8470")][..], 421),
            (&[("host", "127.0.0.1")], 421),
            (&[("host", "127.0.0.1:80")], 421),
            (&[("host", "")], 421),
            (&[("origin", "http://evil.example")], 403),
            // Another server on this machine.
            (&[("origin", "http://127.0.0.1:9000")], 403),
            (&[("origin", "https://127.0.0.1:8470")], 403),
            (&[("origin", "null")], 403),
            (&[("origin", "")], 403),
            (&[("sec-fetch-site", "cross-site")], 403),
            (&[("sec-fetch-site", "same-site")], 403),
            (&[("sec-fetch-site", "none")], 403),
            // What a form can send.
            (&[("content-type", "text/plain")], 415),
            (&[("content-type", "application/x-www-form-urlencoded")], 415),
            (&[("content-type", "")], 415),
            (&[("cookie", "")], 401),
            (&[("cookie", "migrate-8470=99999999999.00")], 401),
            (&[("authorization", "Bearer wrong")], 401),
            (&[("authorization", "Basic YTpi")], 401),
        ] {
            assert_eq!(write(&doors, changed), Err(StatusCode::from_u16(status).unwrap()), "{changed:?}");
        }
    }

    #[test]
    fn programs_bring_a_token_and_no_origin() {
        let doors = doors(false);
        let token = format!("Bearer {TOKEN}");
        let program = [("cookie", ""), ("origin", ""), ("sec-fetch-site", ""), ("authorization", token.as_str())];
        assert_eq!(write(&doors, &program), Ok("ada".to_owned()));
        // A browser says where it comes from.
        let page = [("cookie", ""), ("origin", "http://evil.example"), ("authorization", token.as_str())];
        assert_eq!(write(&doors, &page), Err(StatusCode::FORBIDDEN));
    }

    #[test]
    fn nothing_is_done_where_it_is_read_only() {
        assert_eq!(write(&doors(true), &[]), Err(StatusCode::FORBIDDEN));
        let headers = [("host", "localhost:8470"), ("cookie", &cookie(&doors(true)))];
        assert!(doors(true).check(Asks::Read, &parts(&headers), now()).is_ok());
    }

    #[test]
    fn reading_needs_a_token_and_no_foreign_page() {
        let doors = doors(false);
        let cookie = cookie(&doors);
        let ask = |headers: &[(&str, &str)]| {
            let all: Vec<_> = [("host", "localhost:8470")].iter().chain(headers).copied().collect();
            doors.check(Asks::Read, &parts(&all), now()).map(|_| ()).map_err(|stopped| stopped.status)
        };
        assert_eq!(ask(&[("cookie", &cookie)]), Ok(()));
        assert_eq!(ask(&[("cookie", &cookie), ("sec-fetch-site", "none")]), Ok(()));
        assert_eq!(ask(&[("cookie", &cookie), ("sec-fetch-site", "cross-site")]), Err(StatusCode::FORBIDDEN));
        assert_eq!(ask(&[]), Err(StatusCode::UNAUTHORIZED));
        assert_eq!(ask(&[("cookie", &cookie), ("host", "localhost:8470")]), Err(StatusCode::BAD_REQUEST), "two hosts");
    }

    #[test]
    fn a_cookie_makes_no_cookie_and_the_page_needs_none() {
        let doors = doors(false);
        let cookie = cookie(&doors);
        let page = [("host", "localhost:8470"), ("sec-fetch-site", "cross-site")];
        assert!(doors.check(Asks::Page, &parts(&page), now()).unwrap().is_none(), "a link in a chat");
        assert!(doors.check(Asks::Page, &parts(&[("host", "evil.example:8470")]), now()).is_err());
        let enter = [
            ("host", "localhost:8470"),
            ("origin", "http://localhost:8470"),
            ("content-type", "application/json"),
            ("cookie", cookie.as_str()),
        ];
        let entered = doors.check(Asks::Enter, &parts(&enter), now()).map(|_| ());
        assert_eq!(entered.map_err(|stopped| stopped.status), Err(StatusCode::UNAUTHORIZED));
    }

    #[test]
    fn over_tls_the_usual_port_need_not_be_named() {
        let people = People::owner("ada", Secret::new(TOKEN));
        let doors = Doors::new(&["Migrate.Example".to_owned()], 443, true, false, people);
        assert!(doors.cookie.starts_with("__Host-"));
        for host in ["migrate.example", "MIGRATE.example:443"] {
            assert!(doors.check(Asks::Page, &parts(&[("host", host)]), now()).is_ok(), "{host}");
        }
        let plain = [
            ("host", "migrate.example"),
            ("origin", "http://migrate.example"),
            ("content-type", "application/json"),
            ("authorization", "Bearer 0123456789abcdef0123456789abcdef"),
        ];
        assert!(doors.check(Asks::Write, &parts(&plain), now()).is_err(), "a page that did not come over TLS");
    }
}
