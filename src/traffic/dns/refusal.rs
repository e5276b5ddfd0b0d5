//! What a name server's refusals mean and what to do about them.

use domain::base::iana::{Rcode, TsigRcode};

use super::key::BadKey;
use super::lookup::Failure;
use super::update::Rejection;
use crate::outside::{Error, Kind};
use crate::text::duration;

/// Who was asked about what.
pub(in crate::traffic) struct Question<'a> {
    /// `dns (primary 192.0.2.53:53)`.
    pub server: String,
    pub zone: &'a str,
    pub owner: &'a str,
    /// Name of the TSIG key in use.
    pub key: Option<&'a str>,
    /// How many addresses of one family it would have after an update.
    pub records: usize,
}

/// How many records of a type BIND takes, from 9.18.28 on, unless it is told otherwise.
pub(super) const MOST_RECORDS: usize = 100;

impl Question<'_> {
    fn error(&self, kind: Kind, what: impl Into<String>) -> Error {
        Error::new(self.server.clone(), kind, what)
    }

    /// A question that was not answered.
    pub(in crate::traffic) fn failed(&self, failure: Failure) -> Error {
        use Kind::{Lost, Refused};
        match failure {
            Failure::Tsig(error, skew) => self.bad_signature(error, skew),
            Failure::Lost(why) => self
                .error(Lost, format!("no answer about {}: {why}", self.owner))
                .hint("check that the server runs and that UDP and TCP reach this address and port"),
            Failure::NotAuthoritative(why) => self
                .error(Refused, format!("it does not serve {} in zone {}: {why}", self.owner, self.zone))
                .hint("check the zone's name, and that this server has the zone and has loaded it"),
            Failure::Alias(target) => self
                .error(Refused, format!("{} is an alias (CNAME) for {target} and can have no addresses", self.owner))
                .hint("use the name that it stands for, or put address records in the place of the alias"),
        }
    }

    /// An update that was not done, or cannot be known to be.
    pub(super) fn rejected(&self, rejection: Rejection) -> Error {
        use Kind::{Lost, Refused};
        match rejection {
            Rejection::Key(BadKey(what, hint)) => self.error(Refused, what).hint(hint),
            Rejection::Tsig(error, skew) => self.bad_signature(error, skew),
            Rejection::Rcode(rcode) => self.rcode(rcode),
            Rejection::Lost(why) => self
                .error(Lost, format!("whether {} was updated is unknown: {why}", self.owner))
                .hint("run again: the update is made only if it has not been made"),
        }
    }

    fn bad_signature(&self, error: TsigRcode, skew: Option<i64>) -> Error {
        let key = self.key.unwrap_or_default();
        let refused = |what: String| self.error(Kind::Refused, what);
        match error {
            TsigRcode::BADKEY => refused(format!("the server has no TSIG key `{key}` with this algorithm (BADKEY)"))
                .hint("compare name and algorithm with the `key` clause in named.conf"),
            TsigRcode::BADSIG => refused(format!("the secret of TSIG key `{key}` is not the server's (BADSIG)"))
                .hint("compare the secret with the `key` clause in named.conf"),
            TsigRcode::BADTIME => {
                let by = skew.map(|s| {
                    let by = duration(std::time::Duration::from_secs(s.unsigned_abs()));
                    format!(": the server's clock is {by} {} this one's", if s < 0 { "behind" } else { "ahead of" })
                });
                refused(format!("the clocks are too far apart for TSIG (BADTIME){}", by.unwrap_or_default()))
                    .hint("synchronise both clocks by NTP; TSIG allows 5 minutes")
            }
            other => refused(format!("the server does not accept the signature of TSIG key `{key}` ({other})")),
        }
    }

    fn rcode(&self, rcode: Rcode) -> Error {
        let (zone, owner) = (self.zone, self.owner);
        let refused = |what: String| self.error(Kind::Refused, what);
        match (rcode, self.key) {
            (Rcode::REFUSED, None) => refused(format!("it refuses unsigned updates of {owner} (REFUSED)"))
                .hint("give the director a TSIG `key` that the zone's `allow-update` or `update-policy` lets in"),
            (Rcode::REFUSED, Some(key)) => refused(format!("it refuses updates of {owner} with key `{key}` (REFUSED)"))
                .hint(format!("either `update-policy` or `allow-update` does not grant the key A and AAAA at this name, or the zone is frozen: `rndc thaw {zone}`")),
            (Rcode::NOTAUTH, _) => refused(format!("it takes no updates for zone {zone} (NOTAUTH)"))
                .hint("name the zone's primary server as `primary`"),
            (Rcode::NOTZONE, _) => refused(format!("{owner} is not in zone {zone} (NOTZONE)")),
            (Rcode::NOTIMP, _) => refused("it does not know dynamic updates (NOTIMP)".to_owned())
                .hint("allow RFC 2136 updates in the server's configuration"),
            (Rcode::SERVFAIL, _) if self.records > MOST_RECORDS => self
                .error(Kind::Lost, format!("it failed while updating {owner} (SERVFAIL)"))
                .hint(format!("{owner} would have {} addresses of one family, and BIND takes {MOST_RECORDS}: raise `max-records-per-type` there", self.records)),
            (Rcode::SERVFAIL, _) => self
                .error(Kind::Lost, format!("it failed while updating {owner} (SERVFAIL)"))
                .hint("look at its log: often it may not write the zone's journal file"),
            (other, _) => refused(format!("it refuses the update of {owner} ({other})")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_are_apart_are_said_to_be_by_how_much() {
        let asked = Question { server: "dns".to_owned(), zone: "z", owner: "w.z", key: Some("k"), records: 1 };
        let said = |skew| asked.rejected(Rejection::Tsig(TsigRcode::BADTIME, skew)).what;
        assert_eq!(
            said(Some(-3661)),
            "the clocks are too far apart for TSIG (BADTIME): the server's clock is 1h 01m behind this one's"
        );
        assert_eq!(
            said(Some(600)),
            "the clocks are too far apart for TSIG (BADTIME): the server's clock is 10m 00s ahead of this one's"
        );
        assert_eq!(said(None), "the clocks are too far apart for TSIG (BADTIME)");
    }
}
