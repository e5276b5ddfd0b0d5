//! As whom programs run on hosts: `become`.

use super::host::checked;
use crate::fields::secret;
use crate::model::Become;
use crate::text::name;
use crate::yaml::map::{Map, one_of};
use crate::yaml::reader::Value;

const EXAMPLE: &str = "become: {method: sudo, password: {file: ./sudo.secret}}";
const ROOT: &str = "root";

#[derive(Clone, Copy)]
enum Method {
    Sudo,
    Doas,
    Nobody,
}

const METHODS: [(&str, Method); 3] = [("sudo", Method::Sudo), ("doas", Method::Doas), ("none", Method::Nobody)];

/// Reads a method, or a mapping. `Some(None)` is `none`; `None` was reported.
pub fn read(value: Value<'_>) -> Option<Option<Become>> {
    if value.is_map() {
        return value.map("become", EXAMPLE, mapping).flatten();
    }
    Some(match method(value)? {
        Method::Sudo => Some(Become::Sudo { user: ROOT.to_owned(), password: None }),
        Method::Doas => Some(Become::Doas { user: ROOT.to_owned() }),
        Method::Nobody => None,
    })
}

fn method(value: Value<'_>) -> Option<Method> {
    one_of(value, "a way to become another user", "ways", &METHODS).map(|found| found.value)
}

fn mapping(m: &Map<'_>) -> Option<Option<Become>> {
    let written = m.get("method").map(|v| (v, method(v)));
    let user = m.get("user").map(|v| (v, checked(v, "the name of a user", "root", name::check_user)));
    let password = m.get("password").map(|v| (v, secret::read(v)));
    if let Some(value) = m.get("command") {
        let beside = [written.map(|(v, _)| v), user.map(|(v, _)| v), password.map(|(v, _)| v)];
        for extra in beside.into_iter().flatten() {
            let what = format!("`command` says all there is to say: `{}` has no meaning beside it", extra.name());
            extra.error(what, "remove one of the two");
        }
        return command(value).map(Some);
    }
    let method = match written {
        Some((_, method)) => method?,
        None => Method::Sudo,
    };
    let user = match user {
        Some((_, user)) => user?,
        None => ROOT.to_owned(),
    };
    let password = match password {
        Some((value, found)) if !matches!(method, Method::Sudo) => {
            let what = "only sudo can be told a password: doas takes it from a terminal, and `none` needs none";
            value.error(what, "let doas.conf say `permit nopass`, and remove `password`");
            found.and(None)
        }
        Some((_, found)) => Some(found?),
        None => None,
    };
    Some(match method {
        Method::Sudo => Some(Become::Sudo { user, password }),
        Method::Doas => Some(Become::Doas { user }),
        Method::Nobody => None,
    })
}

fn command(value: Value<'_>) -> Option<Become> {
    let wants = "the words that stand before each program, as a list";
    let items = value.list(wants, "command: [dzdo, -n]");
    let words: Vec<String> = items.iter().filter_map(|i| i.line("one word", "dzdo").map(|t| t.value)).collect();
    if words.len() != items.len() {
        return None;
    }
    match words.first() {
        Some(program) if !program.starts_with('-') => Some(Become::Command(words)),
        _ if value.is_list() => {
            value.error(
                format!("`command` takes {wants}; this one names no program"),
                "for example `command: [dzdo, -n]`",
            );
            None
        }
        _ => None,
    }
}
