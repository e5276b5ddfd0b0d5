//! Silences as plans write them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{BOTH, Matcher, Wanted};
use crate::fields::template::{self, Role, Sides, Use};
use crate::metrics::{Server, Words};
use crate::model::finding::Finding;
use crate::model::template::Piece;
use crate::model::{Host, Side, Template};
use crate::yaml::map::one_of;
use crate::yaml::reader::Value;

/// How long a silence lasts that nobody takes away.
const LASTS: Duration = Duration::from_secs(4 * 3600);
const MINUTE: Duration = Duration::from_secs(60);
const WEEK: Duration = Duration::from_secs(7 * 86_400);
const EXAMPLE: &str =
    "silence: {alertmanager: \"http://alerts.example.com:9093\", matchers: {instance: \"{{ address }}:9100\"}}";

const ALERTMANAGER: Words = Words {
    what: "alertmanager",
    url: "\"http://alerts.example.com:9093\"",
    example: "alertmanager: {url: \"https://alerts.example.com\", token: {env: ALERTS_TOKEN}}",
    found: "/api/v2/silences",
};

/// Silences for the hosts of each pair of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silencing {
    /// Who is asked for them.
    pub at: Server,
    /// Which alerts are a host's, by label.
    pub matchers: BTreeMap<String, Matching>,
    /// Whose hosts.
    pub sides: Vec<Side>,
    /// How long each lasts if nobody takes it away.
    pub lasts: Duration,
    /// Whether the run holds where they cannot be made or taken away.
    pub must: bool,
}

/// What a label must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Matching {
    /// This.
    Is(Template),
    /// What this regular expression describes.
    Like(Template),
}

impl Silencing {
    /// What is silenced for a pair.
    pub fn wanted(&self, source: &Host, target: &Host) -> Result<Vec<Wanted>, Finding> {
        let of = |side: &Side| if *side == Side::Source { source } else { target };
        self.sides.iter().map(|side| self.for_host(of(side))).collect()
    }

    fn for_host(&self, host: &Host) -> Result<Wanted, Finding> {
        let matchers = self.matchers.iter().map(|(name, matching)| {
            let (filled, is_regex) = match matching {
                Matching::Is(value) => (host.fill(value), false),
                Matching::Like(value) => {
                    let filled = value.render_with(&host.vars, literally);
                    (filled.map_err(|e| Finding::refused(&host.name, e.to_string())), true)
                }
            };
            Ok(Matcher { name: name.clone(), value: filled?, is_regex, is_equal: true })
        });
        Ok(Wanted { host: host.name.clone(), matchers: matchers.collect::<Result<_, Finding>>()? })
    }
}

/// A value inside of a regular expression: it stands for itself.
fn literally(value: &str) -> String {
    let special = |c: char| !c.is_alphanumeric() && !c.is_whitespace() && !matches!(c, '_' | '-' | ':' | '/');
    value.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// Reads `silence`. Its templates are added to `uses`.
pub fn read(value: Value<'_>, uses: &mut Vec<Use>) -> Option<Silencing> {
    if value.is_off() {
        return None;
    }
    value.map("silence", EXAMPLE, |m| {
        let at = m.need("alertmanager", ALERTMANAGER.url).and_then(|v| Server::read_as(v, &ALERTMANAGER));
        let sides = m.get("on").map(|v| {
            let sides = [("both", None), ("source", Some(Side::Source)), ("target", Some(Side::Target))];
            one_of(v, "a side", "sides", &sides).map(|l| l.value)
        });
        let side = sides.unwrap_or(Some(None));
        let matchers = m.need("matchers", "{instance: \"{{ address }}:9100\"}");
        let matchers = matchers.and_then(|v| self::matchers(v, side.flatten(), uses));
        let lasts = m.get("for").map_or(Some(LASTS), |v| v.duration(MINUTE..=WEEK));
        let answers = [("warn", false), ("hold", true)];
        let must =
            m.get("unreachable").map_or(Some(false), |v| one_of(v, "a choice", "choices", &answers).map(|l| l.value));
        let sides = side?.map_or_else(|| BOTH.to_vec(), |side| vec![side]);
        Some(Silencing { at: at?, matchers: matchers?, sides, lasts: lasts?, must: must? })
    })?
}

fn matchers(value: Value<'_>, side: Option<Side>, uses: &mut Vec<Use>) -> Option<BTreeMap<String, Matching>> {
    let sides = match side {
        Some(Side::Source) => Sides::Source,
        Some(Side::Target) => Sides::Target,
        None => Sides::Both,
    };
    let entries = value.entries("values by label", "matchers: {instance: \"{{ address }}:9100\"}");
    let (mut out, mut whole, mut names_host) = (BTreeMap::new(), true, false);
    for (key, value) in entries {
        if crate::text::name::check_variable(key.name()).is_err() {
            let shown = crate::text::escape(key.name().as_bytes(), 60);
            key.error(format!("`{shown}` is not the name of a label"), "for example `instance`");
            whole = false;
            continue;
        }
        match matching(value, sides) {
            Some((matching, used)) => {
                names_host |= used.template.value.pieces().is_ok_and(|pieces| pieces.iter().any(is_variable));
                uses.push(used);
                out.insert(key.name().to_owned(), matching);
            }
            None => whole = false,
        }
    }
    if whole && !names_host {
        value.error(
            "this silences alerts of hosts that do not move: none of its matchers has a variable of the host",
            "for example `matchers: {instance: \"{{ address }}:9100\"}`",
        );
        return None;
    }
    whole.then_some(out)
}

fn is_variable(piece: &Piece) -> bool {
    matches!(piece, Piece::Variable { .. })
}

fn matching(value: Value<'_>, sides: Sides) -> Option<(Matching, Use)> {
    let text = |v: Value<'_>| {
        template::read(v, Role::Own(|_| Ok(())), sides, "the value of a label", "instance: \"{{ address }}:9100\"")
    };
    if !value.is_map() {
        let used = text(value)?;
        return Some((Matching::Is(used.template.value.clone()), used));
    }
    value.map("matcher", "instance: {like: \"{{ address }}:.*\"}", |m| {
        let used = m.need("like", "\"{{ address }}:.*\"").and_then(text)?;
        Some((Matching::Like(used.template.value.clone()), used))
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_a_regular_expression_stands_for_itself() {
        assert_eq!(literally("10.0.0.7"), r"10\.0\.0\.7");
        assert_eq!(literally("web-1:9100"), "web-1:9100");
        assert_eq!(literally("a|b(c)*"), r"a\|b\(c\)\*");
    }
}
