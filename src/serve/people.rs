//! Who may ask: people with a token each, and the cookie that stands for a token in a browser.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::Sha256;

use crate::secret::Secret;
use crate::text;

/// The file of the owner's token in a state directory.
const OWN: &str = "serve-token";
/// A cookie is good for so long: a night's watch.
const COOKIE_SECONDS: i64 = 12 * 3600;
/// A token that is shorter can be guessed.
const SHORTEST: usize = 32;

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// The file cannot be read or written.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        why: String,
    },
    /// Others than its owner can read it.
    #[error("{path} holds tokens and can be read by others (mode {mode:04o}): chmod 600 it")]
    Open {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// A line of it is wrong.
    #[error("{path}:{line}: {why}")]
    Line {
        /// The file.
        path: String,
        /// From 1.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
}

/// Somebody who may ask.
#[derive(Debug, Clone)]
pub struct Person {
    /// As it is written into journals.
    pub name: String,
    /// Whether they may only look.
    pub read_only: bool,
    token: Secret,
}

/// All who may ask.
#[derive(Debug, Clone)]
pub struct People(Vec<Person>);

impl People {
    /// Who runs the server, by their own token.
    pub fn owner(name: &str, token: Secret) -> Self {
        Self(vec![Person { name: name.to_owned(), read_only: false, token }])
    }

    /// Adds those of a file: a line each, `NAME TOKEN`, or `NAME TOKEN read-only`.
    pub fn and_of(mut self, path: &Path) -> Result<Self, PeopleError> {
        let (shown, text) = (path.display().to_string(), private(path)?);
        for (line, n) in text.lines().zip(1..) {
            let wrong = |why| PeopleError::Line { path: shown.clone(), line: n, why };
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            let (name, token, read_only) = match words.as_slice() {
                [] => continue,
                [name, token] => (*name, *token, false),
                [name, token, "read-only"] => (*name, *token, true),
                _ => return Err(wrong("a line is `NAME TOKEN` or `NAME TOKEN read-only`")),
            };
            text::name::check(name).map_err(wrong)?;
            if token.len() < SHORTEST {
                return Err(wrong("the token can be guessed: take `openssl rand -hex 32`"));
            }
            if self.0.iter().any(|known| known.name == name || same(known.token.reveal(), token)) {
                return Err(wrong("the name or the token is there already"));
            }
            self.0.push(Person { name: name.to_owned(), read_only, token: Secret::new(token) });
        }
        Ok(self)
    }

    /// Whose token that is. Looks at all, so that time tells nothing.
    pub fn by_token(&self, token: &str) -> Option<&Person> {
        self.0.iter().fold(None, |found, person| if same(person.token.reveal(), token) { Some(person) } else { found })
    }

    /// Whose cookie that is, while it is good.
    pub fn by_cookie(&self, value: &str, now: Timestamp) -> Option<&Person> {
        let (until, seal) = value.split_once('.')?;
        let until: i64 = until.parse().ok()?;
        let seal = text::unhex(seal)?;
        let of = |person: &&Person| sealing(person.token.reveal(), until).verify_slice(&seal).is_ok();
        self.0.iter().find(of).filter(|_| until > now.as_second())
    }

    /// A cookie for somebody, and for how many seconds it is good. The token cannot be found from it, and it outlives a restart of the server.
    pub fn cookie(person: &Person, now: Timestamp) -> (String, i64) {
        let until = now.as_second().saturating_add(COOKIE_SECONDS);
        let seal = sealing(person.token.reveal(), until).finalize().into_bytes();
        (format!("{until}.{}", text::hex(&seal)), COOKIE_SECONDS)
    }
}

fn sealing(token: &str, until: i64) -> Hmac<Sha256> {
    keyed(token, format!("cookie until {until}").as_bytes())
}

fn keyed(key: &str, message: &[u8]) -> Hmac<Sha256> {
    // Keys of any length are fine: a longer one is hashed.
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap_or_else(|_| Hmac::<Sha256>::new(&Default::default()));
    mac.update(message);
    mac
}

/// Compares without telling by time how much of it is right.
fn same(one: &str, other: &str) -> bool {
    keyed(one, b"same").verify_slice(&keyed(other, b"same").finalize().into_bytes()).is_ok()
}

/// The token of whoever owns a state directory, made when there is none, and where it is.
pub fn own_token(state_dir: &Path) -> Result<(Secret, PathBuf), PeopleError> {
    let path = state_dir.join(OWN);
    let failed = |e: std::io::Error| PeopleError::File { path: path.display().to_string(), why: e.to_string() };
    if !path.exists() {
        fs::create_dir_all(state_dir).map_err(failed)?;
        let mut bytes = [0_u8; 32];
        let random = |e: getrandom::Error| PeopleError::File {
            path: path.display().to_string(),
            why: format!("no random bytes for a token: {e}"),
        };
        getrandom::fill(&mut bytes).map_err(random)?;
        let made = path.with_extension(format!("{}.new", std::process::id()));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&made).map_err(failed)?;
        file.write_all(format!("{}\n", text::hex(&bytes)).as_bytes()).map_err(failed)?;
        // Another server may have been faster: what is there now is the token.
        let linked = fs::hard_link(&made, &path);
        let _ = fs::remove_file(&made);
        match linked {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(e)),
            _ => {}
        }
    }
    let token = private(&path)?;
    let token = token.trim();
    if token.len() < SHORTEST {
        let why = "it holds no token that cannot be guessed: remove it, and a new one is made".to_owned();
        return Err(PeopleError::File { path: path.display().to_string(), why });
    }
    Ok((Secret::new(token), path))
}

/// A file that nobody else can read.
fn private(path: &Path) -> Result<String, PeopleError> {
    let failed = |e: std::io::Error| PeopleError::File { path: path.display().to_string(), why: e.to_string() };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(PeopleError::Open { path: path.display().to_string(), mode });
    }
    fs::read_to_string(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADA: &str = "0123456789abcdef0123456789abcdef";
    const BOB: &str = "fedcba9876543210fedcba9876543210";

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("people");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_cookie_is_good_for_its_time_and_for_its_token_alone() {
        let people = People::owner("ada", Secret::new(ADA));
        let ada = people.by_token(ADA).unwrap();
        let (cookie, seconds) = People::cookie(ada, at(1000));
        assert!(!cookie.contains(ADA));
        assert_eq!(people.by_cookie(&cookie, at(1000 + seconds - 1)).unwrap().name, "ada");
        assert!(people.by_cookie(&cookie, at(1000 + seconds)).is_none(), "it is over");
        let longer = cookie.replacen(char::is_numeric, "9", 1);
        for bad in [longer.as_str(), "", ".", "99999999999.00", "99999999999", ADA] {
            assert!(people.by_cookie(bad, at(1000)).is_none(), "{bad}");
        }
        assert!(People::owner("ada", Secret::new(BOB)).by_cookie(&cookie, at(1000)).is_none(), "another token");
    }

    #[test]
    fn people_are_known_by_their_tokens() {
        let (_dir, path) = file(&format!("# the night shift\nbob {BOB} read-only # looks\n\n"), 0o600);
        let people = People::owner("ada", Secret::new(ADA)).and_of(&path).unwrap();
        assert!(!people.by_token(ADA).unwrap().read_only);
        let bob = people.by_token(BOB).unwrap();
        assert!(bob.read_only && bob.name == "bob");
        for wrong in ["", &ADA[1..], &format!("{ADA} "), "ada"] {
            assert!(people.by_token(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn a_file_of_people_is_refused_by_its_line() {
        let owner = || People::owner("ada", Secret::new(ADA));
        for (text, why) in [
            ("bob short", "guessed"),
            ("bob", "a line is"),
            (&format!("bob {BOB} write"), "a line is"),
            (&format!("ada {BOB}"), "already"),
            (&format!("bob {ADA}"), "already"),
            (&format!("b/b {BOB}"), "character"),
        ] {
            let (_dir, path) = file(&format!("\n{text}\n"), 0o600);
            let error = owner().and_of(&path).unwrap_err().to_string();
            assert!(error.contains(why) && error.contains("people:2: ") && !error.contains(BOB), "{error}");
        }
        let (_dir, path) = file(&format!("bob {BOB}\n"), 0o644);
        assert!(matches!(owner().and_of(&path), Err(PeopleError::Open { mode: 0o644, .. })));
    }

    #[test]
    fn the_owners_token_is_made_once_and_for_nobody_else_to_read() {
        let dir = tempfile::tempdir().unwrap();
        let (first, path) = own_token(dir.path()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(first.reveal().len(), 64);
        assert_eq!(own_token(dir.path()).unwrap().0, first);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(&path, "\n").unwrap();
        assert!(matches!(own_token(dir.path()), Err(PeopleError::File { .. })));
    }
}
