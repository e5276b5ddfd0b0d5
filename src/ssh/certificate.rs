//! What stands in an OpenSSH certificate, for people and for judgement.
//!
//! Owns whether a certificate is valid now and how it is named. Must never take a certificate for trusted: whose signature counts is not
//! known here.

use jiff::Timestamp;
use russh::keys::Certificate;

use crate::text::{escape, list};

/// Why it is not valid at this time, in words that follow a name.
pub(super) fn out_of_time(certificate: &Certificate, now: Timestamp) -> Option<String> {
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    if seconds < certificate.valid_after() {
        return Some(format!("is not valid before {}", moment(certificate.valid_after())));
    }
    (seconds >= certificate.valid_before()).then(|| format!("expired on {}", moment(certificate.valid_before())))
}

fn moment(seconds: u64) -> String {
    let known = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    known.map_or_else(|| format!("second {seconds}"), |moment| moment.to_string())
}

/// Whom it is for.
pub(super) fn principals(certificate: &Certificate) -> String {
    const SHOWN: usize = 10;
    let all = certificate.valid_principals();
    let mut names: Vec<String> = all.iter().take(SHOWN).map(|name| escape(name.as_bytes(), 80)).collect();
    if all.len() > SHOWN {
        names.push(format!("{} more", all.len() - SHOWN));
    }
    if names.is_empty() { "nobody".to_owned() } else { list(&names) }
}
