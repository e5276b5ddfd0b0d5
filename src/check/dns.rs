//! DNS probes: what name servers or resolvers answer about a name.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use domain::base::iana::Rcode;
use domain::base::{Message, MessageBuilder, Name, ParsedName, Rtype};
use domain::rdata::AllRecordData;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::{About, Clients, Outcome, ProbeKind, Subject, Verdict, quote};
use crate::fields::kinds::Settings;
use crate::fields::template::{self, Role, Sides, Unfit, Use};
use crate::model::Template;
use crate::model::template::TemplateError;
use crate::nameserver;
use crate::text;
use crate::yaml::map::{Map, one_of};
use crate::yaml::reader::Value;

const PORT: u16 = 53;

/// A question to some servers, all of which must answer as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    /// The name that is asked for.
    pub name: Template,
    /// The type of its records: `A`.
    pub rtype: String,
    /// Who is asked.
    pub at: Vec<Template>,
    /// All that must be answered; empty: anything.
    pub answers: Vec<Template>,
}

/// Types whose records can be compared by how they are written.
const TYPES: [(&str, &str); 7] =
    [("A", "A"), ("AAAA", "AAAA"), ("CNAME", "CNAME"), ("MX", "MX"), ("NS", "NS"), ("SRV", "SRV"), ("TXT", "TXT")];

impl Settings for Dns {
    const KEY: &'static str = "dns";
    const BESIDE: &'static [&'static str] = &["type", "at", "answers"];

    fn read(value: Value<'_>, map: &Map<'_>, uses: &mut Vec<Use>) -> Option<Self> {
        let name = template::read(value, Role::Own(is_name), Sides::Both, "a name", "dns: www.example.com");
        let rtype = map.get("type").map(|v| one_of(v, "a type that can be compared", "types", &TYPES).map(|l| l.value));
        let mut several = |v: Value<'_>, role: Role, wants: &str, example: &str| {
            let items = v.one_or_many();
            if items.is_empty() {
                v.error(format!("`{}` is an empty list", v.name()), format!("for example `{example}`"));
            }
            let read: Vec<Option<Use>> =
                items.into_iter().map(|v| template::read(v, role, Sides::Both, wants, example)).collect();
            let read: Option<Vec<Use>> = read.into_iter().collect();
            let read = read.filter(|read| !read.is_empty())?;
            let templates = read.iter().map(|used| used.template.value.clone()).collect();
            uses.extend(read);
            Some(templates)
        };
        let server = Role::Own(|text| server(text).map(|_| ()));
        let at =
            map.need("at", "10.0.0.53").and_then(|v| several(v, server, "the address of a server", "at: 10.0.0.53"));
        let answer = Role::Own(|_| Ok(()));
        let answers = map.get("answers").map(|v| several(v, answer, "what is answered", "answers: [192.0.2.1]"));
        let name = name?;
        let dns = Self {
            name: name.template.value.clone(),
            rtype: rtype.unwrap_or(Some("A"))?.to_owned(),
            at: at?,
            answers: answers.unwrap_or(Some(Vec::new()))?,
        };
        uses.push(name);
        Some(dns)
    }
}

fn is_name(text: &str) -> Result<(), Unfit> {
    match Name::<Vec<u8>>::from_str(text) {
        Ok(_) => Ok(()),
        Err(why) => Err(Unfit::new(format!("is not a domain name: {why}"), "for example www.example.com")),
    }
}

/// `10.0.0.53`, `10.0.0.53:5353`, `2001:db8::53` or `[2001:db8::53]:5353`.
fn server(text: &str) -> Result<SocketAddr, Unfit> {
    let plain = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = text.parse::<SocketAddr>().ok();
    let found = with_port.or_else(|| plain.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, PORT)));
    found.ok_or_else(|| Unfit::new("is not the IP address of a server", "for example 10.0.0.53 or 10.0.0.53:5353"))
}

/// A question with its variables filled in.
struct Question {
    name: String,
    at: Vec<String>,
    answers: BTreeSet<String>,
}

#[async_trait]
impl ProbeKind for Dns {
    fn about(&self) -> About {
        About::Service
    }

    async fn probe(&self, subject: &Subject<'_>, timeout: Duration, _: &Clients) -> Verdict {
        let start = Instant::now();
        let question = match self.fill(subject) {
            Ok(question) => question,
            Err(why) => return Verdict::unknown(format!("ask {} → {}", quote(&self.name.0), quote(why.to_string()))),
        };
        let asked = format!("ask {} {}", quote(&question.name), self.rtype);
        let all = join_all(question.at.iter().map(async |at| {
            let heard = tokio::time::timeout(timeout, self.ask(&question.name, at)).await;
            let heard = heard.unwrap_or_else(|_| Err(format!("no answer in {}", text::duration(timeout))));
            (at.as_str(), heard)
        }));
        // A server that is asked as a host is what is judged; a resolver on the way to a service is not.
        let silent = if matches!(subject, Subject::Host(_)) { Outcome::Fail } else { Outcome::Unknown };
        judge(&asked, start, &question.answers, silent, all.await)
    }
}

type Heard = Result<Result<BTreeSet<String>, String>, String>;

/// The worst that any server says: a wrong answer before none.
fn judge(asked: &str, start: Instant, wanted: &BTreeSet<String>, silent: Outcome, all: Vec<(&str, Heard)>) -> Verdict {
    let list = |set: &BTreeSet<String>| quote(text::list(&set.iter().collect::<Vec<_>>()));
    let mut unknown = None;
    let mut answers = BTreeSet::new();
    for (at, heard) in all {
        let at = quote(at);
        match heard {
            Err(why) if silent == Outcome::Unknown => unknown = Some(format!("{asked} at {at} → {why}")),
            Err(why) | Ok(Err(why)) => return Verdict::fail(format!("{asked} at {at} → {why}")),
            Ok(Ok(found)) if found.is_empty() => {
                return Verdict::fail(format!("{asked} at {at} → there are no such records"));
            }
            Ok(Ok(found)) if !wanted.is_empty() && found != *wanted => {
                let (found, wanted) = (list(&found), list(wanted));
                return Verdict::fail(format!("{asked} at {at} → {found}, wanted {wanted}"));
            }
            Ok(Ok(found)) => answers.extend(found),
        }
    }
    match unknown {
        Some(why) => Verdict::unknown(why),
        None => Verdict::pass(format!("{asked} → {} in {}", list(&answers), text::duration(start.elapsed()))),
    }
}

impl Dns {
    fn fill(&self, subject: &Subject<'_>) -> Result<Question, TemplateError> {
        let vars = subject.vars();
        let fill = |all: &[Template]| all.iter().map(|t| t.render_plain(&vars)).collect::<Result<Vec<_>, _>>();
        let answers = fill(&self.answers)?.iter().map(|answer| canonical(answer)).collect();
        Ok(Question { name: self.name.render_plain(&vars)?, at: fill(&self.at)?, answers })
    }

    /// The records that a server has; inside, what it says instead; outside, why nobody can tell.
    async fn ask(&self, name: &str, at: &str) -> Heard {
        let to = server(at).map_err(|unfit| unfit.sentence(at))?;
        let rtype = Rtype::from_str(&self.rtype).map_err(|e| quote(e.to_string()))?;
        let name = Name::<Vec<u8>>::from_str(name).map_err(|e| quote(e.to_string()))?;
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_random_id();
        builder.header_mut().set_rd(true);
        let mut builder = builder.question();
        builder.push((&name, rtype)).map_err(|_| "the question is too long".to_owned())?;
        let answer = nameserver::ask(to, &builder.into_message()).await.map_err(|lost| quote(lost.0))?;
        Ok(match answer.header().rcode() {
            Rcode::NOERROR => records(&answer, rtype),
            rcode => Err(format!("it answers {rcode}")),
        })
    }
}

fn records(answer: &Message<Vec<u8>>, rtype: Rtype) -> Result<BTreeSet<String>, String> {
    let broken = |_| "its answer cannot be read".to_owned();
    let mut found = BTreeSet::new();
    // What an alias leads to stands in the same answer.
    for record in answer.answer().map_err(broken)? {
        let record = record.map_err(broken)?;
        if record.rtype() == rtype {
            let record = record.to_any_record::<AllRecordData<_, ParsedName<_>>>().map_err(broken)?;
            found.insert(canonical(&record.data().to_string()));
        }
    }
    Ok(found)
}

/// Records are equal however they are written.
fn canonical(text: &str) -> String {
    let text = text.trim();
    if let Ok(ip) = text.parse::<IpAddr>() {
        return ip.to_string();
    }
    match text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inside) => inside.to_owned(),
        None => text.trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(heard: Vec<(&str, Heard)>, wanted: &[&str], silent: Outcome) -> (Outcome, String) {
        let wanted = wanted.iter().map(|w| canonical(w)).collect();
        let verdict = judge("ask www A", Instant::now(), &wanted, silent, heard);
        (verdict.outcome, verdict.evidence)
    }

    fn answered(records: &[&str]) -> Heard {
        Ok(Ok(records.iter().map(|r| canonical(r)).collect()))
    }

    #[test]
    fn all_servers_answer_all_that_is_wanted_and_nothing_else() {
        let both = |second| vec![("10.0.0.1", answered(&["192.0.2.1"])), ("10.0.0.2", second)];
        let outcome = |second, wanted: &[&str]| judged(both(second), wanted, Outcome::Unknown).0;
        assert_eq!(outcome(answered(&["192.0.2.1"]), &["192.0.2.1"]), Outcome::Pass);
        assert_eq!(outcome(answered(&["192.0.2.7"]), &[]), Outcome::Pass);
        assert_eq!(outcome(answered(&[]), &[]), Outcome::Fail);
        assert_eq!(outcome(Ok(Err("it answers SERVFAIL".into())), &[]), Outcome::Fail);
        let (outcome, evidence) = judged(both(answered(&["192.0.2.1", "192.0.2.2"])), &["192.0.2.1"], Outcome::Unknown);
        assert_eq!(outcome, Outcome::Fail);
        assert_eq!(evidence, "ask www A at 10.0.0.2 → 192.0.2.1 and 192.0.2.2, wanted 192.0.2.1");
    }

    #[test]
    fn a_resolver_that_is_silent_says_nothing_of_the_service_and_a_server_everything_of_itself() {
        let silent = || vec![("10.0.0.1", Err("no answer in 6 s".to_owned())), ("10.0.0.2", answered(&["192.0.2.1"]))];
        assert_eq!(judged(silent(), &[], Outcome::Unknown).0, Outcome::Unknown);
        assert_eq!(judged(silent(), &["192.0.2.9"], Outcome::Unknown).0, Outcome::Fail);
        assert_eq!(judged(silent(), &[], Outcome::Fail).0, Outcome::Fail);
    }

    #[test]
    fn records_and_servers_are_the_same_however_they_are_written() {
        assert_eq!(canonical("2001:DB8:0::1"), "2001:db8::1");
        assert_eq!(canonical("www.example.com."), "www.example.com");
        assert_eq!(canonical("\"v=spf1 -all\""), "v=spf1 -all");
        for (text, wanted) in [
            ("10.0.0.53", "10.0.0.53:53"),
            ("10.0.0.53:5353", "10.0.0.53:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
        ] {
            assert_eq!(server(text).unwrap().to_string(), wanted);
        }
        assert!(server("ns1.example.com").is_err());
    }
}
