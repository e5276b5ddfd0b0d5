//! The two ends of an ad-hoc copy: `host:/path` or a path on this machine, with rsync's rule for a slash at the end.
//!
//! Pure: looks at the text only.

use std::path::{Component, Path, PathBuf};

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Where it is; `None` on this machine.
    pub host: Option<Login>,
    /// Its absolute path, without a slash at the end.
    pub path: String,
    /// Whether it was written as what is in the directory (`/srv/data/`) and not as the directory itself (`/srv/data`).
    pub contents: bool,
}

/// Who logs in where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Login name, where it was written.
    pub user: Option<String>,
    /// Name in the inventory or in ssh_config, or an address.
    pub host: String,
}

/// A text that is no place, or two places between which nothing can be copied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct BadLocation {
    /// What is wrong with it.
    pub what: String,
    /// What to write instead.
    pub hint: &'static str,
}

fn bad<T>(what: String, hint: &'static str) -> Result<T, BadLocation> {
    Err(BadLocation { what, hint })
}

fn shown(text: &str) -> String {
    crate::text::escape(text.as_bytes(), 200)
}

impl Location {
    /// Reads what was written on the command line. Paths on this machine may be relative to `here`.
    pub fn parse(text: &str, here: &Path) -> Result<Self, BadLocation> {
        let (host, path) = match split(text)? {
            Some((login, path)) => {
                if !path.starts_with('/') {
                    let what = format!("`{}`: a path on a host has to be absolute", shown(text));
                    return bad(what, "write it as host:/path");
                }
                (Some(login), PathBuf::from(path))
            }
            None if text.is_empty() => return bad("an empty path".into(), "write host:/path, or a path here"),
            None => (None, here.join(text)),
        };
        let contents = text.ends_with('/') || matches!(text.rsplit('/').next(), Some("." | ".."));
        let plain: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
        match plain.to_str() {
            Some("/") => bad(format!("`{}` is the root of everything", shown(text)), "name a directory in it"),
            Some(path) if !path.contains('\0') => Ok(Self { host, path: path.to_owned(), contents }),
            _ => bad(format!("`{}` is not UTF-8 or holds a NUL", shown(text)), "name a directory above it"),
        }
    }

    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// A colon before the first slash tells a host from a path, as with rsync and scp.
fn split(text: &str) -> Result<Option<(Login, &str)>, BadLocation> {
    let (login, path) = match text.split_once("]:") {
        Some((login, path)) if login.contains('[') && !login.contains('/') => (login.replacen('[', "", 1), path),
        _ => match text.split_once(':') {
            Some((login, path)) if !login.contains('/') => (login.to_owned(), path),
            _ => return Ok(None),
        },
    };
    if path.starts_with(':') {
        let what = format!("`{}` means an rsync daemon, which is not spoken to", shown(text));
        return bad(what, "write host:/path, or ./name for a path here with a colon in it");
    }
    let (user, host) = match login.rsplit_once('@') {
        Some((user, host)) => (Some(user.to_owned()), host.to_owned()),
        None => (None, login),
    };
    if host.is_empty() || user.as_deref() == Some("") {
        let what = format!("`{}` names no host before its colon", shown(text));
        return bad(what, "write host:/path or user@host:/path, or ./name for a path here with a colon in it");
    }
    Ok(Some((Login { user, host }, path)))
}

/// What goes where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyRoots {
    /// Root on the source.
    pub from: String,
    /// Root on the target.
    pub to: String,
    /// A directory of the target that has to be there first, and may be made.
    pub parent: Option<String>,
}

/// As rsync has it: with a slash at its end, the source's entries go into the target; without one, the source itself does.
pub fn resolve(source: &Location, target: &Location) -> Result<CopyRoots, BadLocation> {
    let from = source.path.clone();
    let (to, parent) = match source.contents {
        true => (target.path.clone(), None),
        false => (format!("{}/{}", target.path, source.name()), Some(target.path.clone())),
    };
    if source.host == target.host && (is_within(&from, &to) || is_within(&to, &from)) {
        let what = format!("{} and {} are the same directory, or one lies in the other", shown(&from), shown(&to));
        return bad(what, "copy to a directory beside it");
    }
    Ok(CopyRoots { from, to, parent })
}

fn is_within(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Location {
        Location::parse(text, Path::new("/home/me")).unwrap()
    }

    #[test]
    fn a_colon_before_the_first_slash_names_a_host() {
        let login =
            |user: Option<&str>, host: &str| Some(Login { user: user.map(str::to_owned), host: host.to_owned() });
        for (text, host, path) in [
            ("dal-1:/srv/data", login(None, "dal-1"), "/srv/data"),
            ("root@dal-1:/srv//data/", login(Some("root"), "dal-1"), "/srv/data"),
            ("[fd00::1]:/srv", login(None, "fd00::1"), "/srv"),
            ("me@[fd00::1]:/srv", login(Some("me"), "fd00::1"), "/srv"),
            ("/srv/a:b", None, "/srv/a:b"),
            ("./a:b", None, "/home/me/a:b"),
            ("data", None, "/home/me/data"),
            (".", None, "/home/me"),
        ] {
            assert_eq!((place(text).host, place(text).path.as_str()), (host, path), "{text}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in ["", "/", "dal-1:/", "dal-1:data", "dal-1:", "dal-1::module", ":/srv", "@dal-1:/srv", "a:/b\0"] {
            assert!(Location::parse(text, Path::new("/home/me")).is_err(), "{text}");
        }
    }

    #[test]
    fn a_slash_at_the_end_of_the_source_means_what_is_in_it() {
        for (source, target, to, parent) in [
            ("a:/srv/data/", "b:/srv/copy", "/srv/copy", None),
            ("a:/srv/data/.", "b:/srv/copy/", "/srv/copy", None),
            ("a:/srv/data", "b:/srv/copy", "/srv/copy/data", Some("/srv/copy")),
            ("a:/srv/data", "b:/srv/copy/", "/srv/copy/data", Some("/srv/copy")),
            (".", "b:/srv/copy", "/srv/copy", None),
        ] {
            let roots = resolve(&place(source), &place(target)).unwrap();
            assert_eq!((roots.to.as_str(), roots.parent.as_deref()), (to, parent), "{source} {target}");
        }
    }

    #[test]
    fn nothing_is_copied_into_itself() {
        for (source, target) in [("/a/", "/a"), ("/a/b/", "/a"), ("/a/", "/a/b"), ("/a/b", "/a"), ("x:/a", "x:/a/b")] {
            assert!(resolve(&place(source), &place(target)).is_err(), "{source} {target}");
        }
        assert!(resolve(&place("/a/"), &place("/ab")).is_ok());
        assert!(resolve(&place("x:/a/"), &place("y:/a")).is_ok());
    }
}
