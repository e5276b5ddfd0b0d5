//! What HAProxy's refusals mean and what to do about them.

use crate::outside::{Error, Kind};
use crate::text::escape;

/// The answer to a `set` command that was not the empty line of success.
pub(super) fn of_set(at: &str, command: &str, reply: &str) -> Error {
    if reply.contains("Permission denied") {
        return no_admin(at, "operator");
    }
    let said = escape(reply.as_bytes(), 200);
    let error = Error::new(at, Kind::Refused, format!("`{command}` was refused: {said}"));
    match () {
        () if reply.contains("static LB algorithm") => error.hint(
            "this backend's `balance` algorithm takes only weight 0 and the configured one: use `balance roundrobin`, or shift in one step of 100",
        ),
        () if reply.contains("No such") => error.hint("it has gone since it was read: was HAProxy reloaded with another configuration?"),
        () => error,
    }
}

/// The socket reads but does not write.
pub(super) fn no_admin(at: &str, level: &str) -> Error {
    Error::new(at, Kind::Refused, format!("the runtime API has level {level}, which may not change anything"))
        .hint("add `level admin` to this `stats socket` line in haproxy.cfg and reload")
}

/// Names that exist, with the one that was probably meant.
pub(super) fn known(wanted: &str, what: &str, names: &[String]) -> String {
    const SHOWN: usize = 8;
    let Some(closest) = names.iter().min_by_key(|n| strsim::damerau_levenshtein(wanted, n)) else {
        return format!("it has no {what}");
    };
    if strsim::damerau_levenshtein(wanted, closest) <= 2 {
        return format!("did you mean `{closest}`?");
    }
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len() {
        n if n > SHOWN => format!("its {what} are {shown} and {} more", n - SHOWN),
        _ => format!("its {what} are {shown}"),
    }
}
