//! What is asked of the program, and what its answers mean. `docs/directors.md` has it for those who write one.
//!
//! Pure. Must never take an answer for a whole one that leaves open what is asked for.

use std::collections::HashSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::MAX_TTL;
use super::kind::check_name;
use crate::model::{Capabilities, Change, Member, Mode, Pool, Weights};

/// One question or order.
pub(super) enum Ask<'a> {
    Capabilities,
    Observe(&'a str),
    Apply(&'a str, &'a [Wanted]),
    Ttl(&'a str, Duration),
    Settled(&'a str),
    Blockers(&'a str, &'a str),
    Writable(&'a str),
}

impl Ask<'_> {
    /// The first word after the program's own.
    pub(super) fn verb(&self) -> &'static str {
        match self {
            Self::Capabilities => "capabilities",
            Self::Observe(_) => "observe",
            Self::Apply(..) => "apply",
            Self::Ttl(..) => "ttl",
            Self::Settled(_) => "settled",
            Self::Blockers(..) => "blockers",
            Self::Writable(_) => "writable",
        }
    }

    /// All words after the program's own.
    pub(super) fn words(&self) -> Vec<String> {
        let rest: Vec<&str> = match self {
            Self::Capabilities => Vec::new(),
            Self::Observe(pool) | Self::Apply(pool, _) | Self::Ttl(pool, _) => vec![pool],
            Self::Settled(pool) | Self::Writable(pool) => vec![pool],
            Self::Blockers(pool, member) => vec![pool, member],
        };
        let mut words: Vec<String> = std::iter::once(self.verb()).chain(rest).map(str::to_owned).collect();
        if let Self::Ttl(_, ttl) = self {
            words.push(ttl.as_secs().to_string());
        }
        words
    }

    /// What it gets on its standard input.
    pub(super) fn input(&self) -> Result<Option<String>, serde_json::Error> {
        #[derive(Serialize)]
        struct Input<'a> {
            members: &'a [Wanted],
        }
        match self {
            Self::Apply(_, members) => serde_json::to_string(&Input { members }).map(Some),
            _ => Ok(None),
        }
    }
}

/// A member as it shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Wanted {
    pub name: String,
    pub weight: u16,
    pub mode: Mode,
}

impl Wanted {
    pub(super) fn is_met(&self, now: Option<&Member>, by_presence: bool) -> bool {
        match now {
            None => by_presence && self.weight == 0,
            Some(_) if by_presence => self.weight > 0,
            Some(now) => (now.weight, now.mode) == (self.weight, self.mode),
        }
    }
}

/// The changes in the words of what the director can: of several to one member the last counts.
pub(super) fn wanted(changes: &[Change], can: &Capabilities) -> Vec<Wanted> {
    let mut all: Vec<Wanted> = Vec::new();
    for Change { member, weight, mode } in changes {
        all.retain(|w| w.name != *member);
        let (weight, mode) = match (can.drain, mode) {
            (true, mode) => (*weight, *mode),
            (false, Mode::Ready) => (*weight, Mode::Ready),
            // Without a mode for it whoever shall get nothing has no weight.
            (false, Mode::Drain | Mode::Maint) => (0, Mode::Ready),
        };
        let weight = match can.weights {
            Weights::Exact(_) => weight,
            Weights::Presence => u16::from(weight > 0 && mode == Mode::Ready),
        };
        all.push(Wanted { name: member.clone(), weight, mode });
    }
    all
}

/// A setting in words.
pub(super) fn setting(weight: u16, mode: Mode, by_presence: bool) -> String {
    match mode {
        _ if by_presence => if weight > 0 { "there" } else { "absent" }.to_owned(),
        Mode::Ready => format!("weight {weight}"),
        Mode::Drain => format!("weight {weight} (drain)"),
        Mode::Maint => format!("weight {weight} (maintenance)"),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToldPool {
    members: Vec<ToldMember>,
    #[serde(default)]
    ttl: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToldMember {
    name: String,
    #[serde(default)]
    weight: Option<u16>,
    #[serde(default)]
    mode: Option<Mode>,
    #[serde(default)]
    connections: Option<u64>,
    #[serde(default)]
    sessions: Option<u64>,
    #[serde(default)]
    up: Option<bool>,
}

/// The answer to `observe`.
pub(super) fn pool(name: &str, answer: &[u8], can: &Capabilities) -> Result<Pool, String> {
    let told: ToldPool =
        serde_json::from_slice(answer).map_err(|e| crate::text::escape(e.to_string().as_bytes(), 200))?;
    let mut seen = HashSet::new();
    let mut members = Vec::with_capacity(told.members.len());
    for one in told.members {
        let shown = crate::text::escape(one.name.as_bytes(), 80);
        check_name(&one.name, "member").map_err(|unfit| unfit.sentence(&one.name))?;
        if !seen.insert(one.name.clone()) {
            return Err(format!("`{shown}` stands there twice"));
        }
        members.extend(member(one, can).map_err(|why| format!("`{shown}` {why}"))?);
    }
    let ttl = match (can.ttl, told.ttl) {
        (true, Some(secs)) if secs <= MAX_TTL.as_secs() => Some(Duration::from_secs(secs)),
        (true, Some(secs)) => return Err(format!("a TTL cannot be {secs} s")),
        (true, None) => return Err("it has no `ttl`, which the director can set".to_owned()),
        (false, _) => None,
    };
    Ok(Pool { name: name.to_owned(), members, ttl })
}

/// `None` for one that is as good as absent.
fn member(told: ToldMember, can: &Capabilities) -> Result<Option<Member>, String> {
    let weight = match (can.weights, told.weight) {
        (Weights::Exact(most), Some(weight)) if weight <= most => weight,
        (Weights::Exact(most), Some(weight)) => {
            return Err(format!("has weight {weight}, and {most} is the most there is"));
        }
        (Weights::Exact(_), None) => return Err("has no weight".to_owned()),
        (Weights::Presence, Some(0)) => return Ok(None),
        (Weights::Presence, _) => 1,
    };
    let mode = told.mode.unwrap_or(Mode::Ready);
    if mode != Mode::Ready && !can.drain {
        return Err("is not ready, and the director has no drain".to_owned());
    }
    let connections = told.connections.filter(|_| can.connections);
    Ok(Some(Member { name: told.name, weight, mode, connections, sessions: told.sessions, up: told.up }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToldCapabilities {
    weights: ToldWeights,
    #[serde(default)]
    adds_members: bool,
    #[serde(default)]
    connections: bool,
    #[serde(default)]
    drain: bool,
    #[serde(default)]
    ttl: bool,
}

/// The largest weight, or a word.
#[derive(Deserialize)]
#[serde(try_from = "serde_json::Value")]
struct ToldWeights(Weights);

impl TryFrom<serde_json::Value> for ToldWeights {
    type Error = &'static str;

    fn try_from(value: serde_json::Value) -> Result<Self, Self::Error> {
        let most = value.as_u64().and_then(|most| u16::try_from(most).ok()).filter(|most| *most > 0);
        match (value.as_str(), most) {
            (Some("presence"), _) => Ok(Self(Weights::Presence)),
            (None, Some(most)) => Ok(Self(Weights::Exact(most))),
            _ => Err("`weights` is the largest weight (1 to 65535), or \"presence\""),
        }
    }
}

/// The answer to `capabilities`.
pub(super) fn capabilities(answer: &[u8]) -> Result<Capabilities, String> {
    let told: ToldCapabilities =
        serde_json::from_slice(answer).map_err(|e| crate::text::escape(e.to_string().as_bytes(), 200))?;
    let ToldCapabilities { weights: ToldWeights(weights), adds_members, connections, drain, ttl } = told;
    Ok(Capabilities { weights, adds_members, connections, drain, ttl, ends_sessions: false })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXACT: Capabilities = Capabilities {
        weights: Weights::Exact(100),
        adds_members: false,
        connections: true,
        drain: true,
        ttl: false,
        ends_sessions: false,
    };
    const PRESENCE: Capabilities = Capabilities {
        weights: Weights::Presence,
        adds_members: true,
        connections: false,
        drain: false,
        ttl: true,
        ends_sessions: false,
    };

    #[test]
    fn an_answer_that_leaves_open_what_was_asked_is_none() {
        let why = |answer: &str, can: &Capabilities| pool("web", answer.as_bytes(), can).unwrap_err();
        for (answer, can, said) in [
            ("", EXACT, "EOF while parsing a value at line 1 column 0"),
            (r#"{"members":[{"name":"a"}]}"#, EXACT, "`a` has no weight"),
            (r#"{"members":[{"name":"a","weight":101}]}"#, EXACT, "`a` has weight 101, and 100 is the most there is"),
            (r#"{"members":[{"name":"a","weight":1},{"name":"a","weight":2}]}"#, EXACT, "`a` stands there twice"),
            (
                r#"{"members":[],"ttl":1e3}"#,
                PRESENCE,
                "invalid type: floating point `1000.0`, expected u64 at line 1 column 23",
            ),
            (r#"{"members":[]}"#, PRESENCE, "it has no `ttl`, which the director can set"),
            (
                r#"{"members":[{"name":"a","mode":"drain"}],"ttl":5}"#,
                PRESENCE,
                "`a` is not ready, and the director has no drain",
            ),
        ] {
            assert_eq!(why(answer, &can), said, "{answer}");
        }
        let misspelled = why(r#"{"members":[{"name":"a","weight":1,"conections":2}]}"#, &EXACT);
        assert!(misspelled.starts_with("unknown field `conections`"), "{misspelled}");
        assert!(why(r#"{"members":[{"name":"a b","weight":1}]}"#, &EXACT).contains("cannot be the name"));
    }

    #[test]
    fn what_cannot_be_is_put_into_what_can() {
        let change = |weight, mode| [Change { member: "a".to_owned(), weight, mode }];
        let said = |weight, mode, can: &Capabilities| {
            let all = wanted(&change(weight, mode), can);
            (all[0].weight, all[0].mode)
        };
        assert_eq!(said(80, Mode::Drain, &EXACT), (80, Mode::Drain));
        assert_eq!(said(80, Mode::Drain, &PRESENCE), (0, Mode::Ready));
        assert_eq!(said(80, Mode::Ready, &PRESENCE), (1, Mode::Ready));
    }

    #[test]
    fn weights_are_a_number_or_a_word() {
        let read = |weights: &str| capabilities(format!("{{\"weights\":{weights}}}").as_bytes()).map(|c| c.weights);
        assert_eq!((read("256"), read("\"presence\"")), (Ok(Weights::Exact(256)), Ok(Weights::Presence)));
        for bad in ["0", "65536", "\"exact\"", "null", "true"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic_and_never_leave_control_characters(answer in any::<String>()) {
            for can in [EXACT, PRESENCE] {
                if let Err(why) = pool("web", answer.as_bytes(), &can) {
                    prop_assert!(!why.chars().any(char::is_control));
                }
            }
        }
    }
}
