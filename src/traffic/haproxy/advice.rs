//! What in a backend does not follow weights, or does not let go of clients, and what to do about it.
//!
//! Pure. Must never call a step a share where HAProxy makes something else of it.

use super::super::Intent;
use crate::model::finding::Finding;
use crate::model::{MemberFacts, Mode, PoolFacts, Sharing, Strategy};
use crate::text::{self, list};

/// Everything that is to be known before a move begins.
pub(super) fn of(intent: &Intent<'_>) -> Vec<Finding> {
    let Some(facts) = intent.facts else { return Vec::new() };
    let advice = Advice { intent, facts };
    let mut found = advice.algorithm();
    found.extend(advice.standby());
    found.extend(advice.pins());
    found.extend(advice.persists());
    found.extend(advice.changes_by_itself());
    found.extend(advice.limits());
    found.extend(advice.unseen());
    found
}

struct Advice<'a> {
    intent: &'a Intent<'a>,
    facts: &'a PoolFacts,
}

impl Advice<'_> {
    fn is_ramp(&self) -> bool {
        self.intent.strategy == Strategy::Ramp
    }

    fn has_steps(&self) -> bool {
        self.intent.steps.iter().any(|step| *step < 100)
    }

    fn risk(&self, what: impl Into<String>) -> Finding {
        Finding::risk(self.intent.about(), what)
    }

    fn refused_if(&self, bad: bool, what: impl Into<String>) -> Finding {
        if bad { Finding::refused(self.intent.about(), what) } else { self.risk(what) }
    }

    /// Members of the plan with what is known of them.
    fn of<'m>(&'m self, names: &'m [&str]) -> impl Iterator<Item = (&'m str, &'m MemberFacts)> {
        names.iter().filter_map(|name| Some((*name, self.facts.members.get(*name)?)))
    }

    fn every(&self) -> impl Iterator<Item = (&str, &MemberFacts)> {
        self.of(&self.intent.sources).chain(self.of(&self.intent.targets))
    }

    fn algorithm(&self) -> Vec<Finding> {
        let algorithm = self.facts.algorithm.as_deref().unwrap_or("an algorithm without a name");
        let balance = format!("`balance {algorithm}`");
        let fixed = "weights can only be 0 or the configured one while HAProxy runs";
        let found = match self.facts.sharing {
            Sharing::Weights => return Vec::new(),
            Sharing::Order => self
                .refused_if(self.is_ramp(), format!("{balance} fills one server after the other and ignores weights"))
                .hint("use `balance roundrobin` in haproxy.cfg"),
            Sharing::Held => self
                .risk(format!("with {balance} a step is no share: among servers without load weights do not count"))
                .hint("look at the measured share, or use `balance roundrobin` while connections are short"),
            Sharing::Fixed => self
                .refused_if(self.has_steps(), format!("with {balance} {fixed}"))
                .hint("use `balance roundrobin` in haproxy.cfg, or `shift: 100%`"),
            Sharing::FixedKeys => self
                .refused_if(
                    self.has_steps(),
                    format!("with {balance} and `hash-type map-based` {fixed}, and every change moves nearly all clients"),
                )
                .hint("use `hash-type consistent` in haproxy.cfg"),
            Sharing::MaybeFixedKeys => self
                .risk(format!("with {balance} shares follow keys, and unless `hash-type` is consistent {fixed}"))
                .hint("give the director its `config`, so that `plan` can look"),
            Sharing::Keys => Finding::note(
                self.intent.about(),
                format!("with {balance} clients are spread by a key: shares are only about what weights say"),
            ),
            Sharing::Unknown => Finding::note(
                self.intent.about(),
                "this HAProxy does not tell its `balance` (so does 2.6 with `random`): whether weights count is not known",
            )
            .hint("give the director its `config`"),
        };
        vec![found]
    }

    fn standby(&self) -> Option<Finding> {
        let backups: Vec<&str> =
            self.of(&self.intent.targets).filter(|(_, m)| m.standby).map(|(name, _)| name).collect();
        let what = format!(
            "{} `backup`: nothing goes there while another server is up, whatever the weight",
            names(&backups, "is", "are")?
        );
        Some(self.refused_if(self.is_ramp(), what).hint("take `backup` out of these lines of haproxy.cfg"))
    }

    fn pins(&self) -> Vec<Finding> {
        let pins = &self.facts.pins;
        if pins.is_empty() {
            return Vec::new();
        }
        let pins = list(pins);
        let mut found = vec![match self.intent.strategy {
            Strategy::Cutover => self
                .risk(format!("pins clients ({pins}): drain would not move them, so sources go to maintenance at once"))
                .hint("what is under way on a source ends by itself; sessions kept on it alone are lost"),
            Strategy::Ramp => self
                .risk(format!(
                    "pins clients ({pins}): only new ones follow weights, the others stay until their source is retired"
                ))
                .hint("raise `hold`, and let `drain` have `on_deadline: proceed`, if they never leave by themselves"),
        }];
        let marked = self.facts.members.values().any(|m| m.mark.is_some());
        let bare: Vec<&str> =
            self.of(&self.intent.targets).filter(|(_, m)| marked && m.mark.is_none()).map(|(n, _)| n).collect();
        found.extend(names(&bare, "has", "have").map(|who| {
            self.risk(format!("{who} no `cookie`: clients are not kept there"))
                .hint("give these servers a `cookie` in haproxy.cfg")
        }));
        found
    }

    fn persists(&self) -> Option<Finding> {
        let rules = &self.facts.persists;
        if rules.is_empty() {
            return None;
        }
        let bad = self.intent.strategy == Strategy::Cutover && !self.facts.pins.is_empty();
        let what = format!("`{}` sends pinned clients to their server even in maintenance", rules.join("`, `"));
        Some(self.refused_if(bad, what).hint("take it out of haproxy.cfg for the move, or take the `cookie` away"))
    }

    fn changes_by_itself(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        let agents: Vec<&str> = self.every().filter(|(_, m)| m.agent).map(|(name, _)| name).collect();
        found.extend(names(&agents, "has", "have").map(|who| {
            self.risk(format!("{who} an agent-check that may change weight and state at any time"))
                .hint("turn it off for the move: `disable agent BACKEND/SERVER`, or let the agent say only `up`")
        }));
        let hold = self.intent.hold;
        let targets = self.of(&self.intent.targets).filter_map(|(name, m)| Some((name, m.slow_start?)));
        let slow: Vec<(&str, std::time::Duration)> = targets.filter(|(_, slow)| *slow >= hold).collect();
        if let Some(longest) = slow.iter().map(|(_, slow)| *slow).max() {
            let slow: Vec<&str> = slow.into_iter().map(|(name, _)| name).collect();
            found.extend(names(&slow, "has", "have").map(|who| {
                let (slow, hold) = (text::duration(longest), text::duration(hold));
                self.risk(format!("{who} `slowstart {slow}`: a step of {hold} ends before it has its share"))
                    .hint(format!("let `hold` be longer than {slow}"))
            }));
        }
        let follows = self.every().filter_map(|(name, m)| Some(format!("{name} follows {}", m.follows.as_deref()?)));
        found.extend(follows.map(|what| {
            self.risk(format!("{what} (`track`): it cannot be made ready while that one is not"))
                .hint("take `track` out of this line of haproxy.cfg")
        }));
        let looked_up = self.every().filter_map(|(name, m)| Some((name, m.looked_up.as_deref()?)));
        found.extend(looked_up.map(|(name, by)| {
            let by = text::escape(by.as_bytes(), 80);
            self.risk(format!("the address of {name} is looked up by the name {by} and may change"))
                .hint("write its address into haproxy.cfg")
        }));
        found
    }

    fn limits(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        let now = |name: &str| self.intent.now.and_then(|pool| pool.member(name)).and_then(|m| m.connections);
        let busiest = self.intent.sources.iter().filter_map(|source| now(source)).max().unwrap_or_default();
        let tight = self
            .of(&self.intent.targets)
            .filter_map(|(name, m)| Some((name, m.limit.filter(|limit| *limit < busiest)?)));
        found.extend(tight.map(|(name, limit)| {
            self.risk(format!("{name} takes {limit} connections at once (`maxconn`), and a source holds {busiest} now: the others would wait"))
                .hint("raise `maxconn` of the targets")
        }));
        let waiting = self.facts.waiting + self.facts.members.values().map(|m| m.waiting).sum::<u64>();
        if waiting > 0 {
            found.push(
                self.risk(format!(
                    "{} in queues now: shares follow free places, not weights",
                    text::count(waiting, "request")
                ))
                .hint("raise `maxconn`, or move when there is less traffic"),
            );
        }
        let down = |name: &&&str| {
            let member = self.intent.now.and_then(|pool| pool.member(name));
            member.is_some_and(|m| m.up == Some(false) && m.mode == Mode::Ready)
        };
        let down: Vec<&str> = self.intent.sources.iter().filter(down).copied().collect();
        found.extend(
            names(&down, "is", "are")
                .map(|who| self.risk(format!("{who} down by HAProxy's own check")).hint("look at that host first")),
        );
        found
    }

    fn unseen(&self) -> Option<Finding> {
        let unseen = &self.facts.unseen;
        let what = format!("not looked at: {}", unseen.join("; "));
        let note = Finding::note(self.intent.about(), what)
            .hint("name haproxy.cfg as the director's `config`, and let the login read it");
        (!unseen.is_empty()).then_some(note)
    }
}

/// `a is`, `a and b are`; `None` for nobody.
fn names(all: &[&str], one: &str, many: &str) -> Option<String> {
    const SHOWN: usize = 5;
    let mut shown: Vec<String> = all.iter().take(SHOWN).map(|name| (*name).to_owned()).collect();
    if all.len() > SHOWN {
        shown.push(format!("{} more", all.len() - SHOWN));
    }
    match all {
        [] => None,
        [_] => Some(format!("{} {one}", list(&shown))),
        _ => Some(format!("{} {many}", list(&shown))),
    }
}
