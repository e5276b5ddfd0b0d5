//! What a query looks at: the series that it selects, found in its text.
//!
//! Prometheus gives the time of the evaluation with a result, and not that of the samples behind it; so these are asked for by their own
//! times. Pure. Must never take a function, a label or a keyword for a series.

use std::time::Duration;

use crate::text::units;

/// A selection of series in a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// Without a range: `up{job="web"}`.
    pub series: String,
    /// The range over which it is looked at, as it is written: `5m`.
    pub range: Option<String>,
}

/// Words that a list of labels follows.
const GROUPING: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Words between expressions, and numbers.
const KEYWORDS: [&str; 8] = ["and", "or", "unless", "atan2", "bool", "inf", "nan", "offset"];
/// Steps between two looks over a range.
const LOOKS: u32 = 60;

impl Selector {
    /// A query for the age of its newest samples, in seconds by the server's clock; of those that are looked at right now, for that of the
    /// oldest of them. Empty where there are none.
    pub fn age(&self) -> String {
        let series = &self.series;
        let Some(range) = &self.range else { return format!("time() - min(timestamp({series}))") };
        let step = units::duration(range).map_or(Duration::from_secs(300), |range| range / LOOKS);
        let step = step.as_secs().max(1);
        // What has ended is no longer there right now, and still counts over the range.
        format!("time() - (max(timestamp({series})) or max(max_over_time(timestamp({series})[{range}:{step}s])))")
    }
}

/// The selections of a query that are about now; what looks back by `offset` or `@` is left out.
pub fn find(query: &str) -> Vec<Selector> {
    let mut scan = Scan { text: query, at: 0 };
    let mut found: Vec<Selector> = Vec::new();
    while let Some(c) = scan.peek() {
        match c {
            '"' | '\'' | '`' => scan.string(),
            '#' => scan.line(),
            '{' => found.extend(scan.selector("")),
            '[' => scan.brackets(),
            c if c.is_ascii_digit() || c == '.' => {
                scan.word(|c| c.is_ascii_alphanumeric() || c == '.');
            }
            c if is_name(c) => {
                let name = scan.word(|c| is_name(c) || c.is_ascii_digit());
                found.extend(scan.named(name));
            }
            c => scan.at += c.len_utf8(),
        }
    }
    let all = std::mem::take(&mut found);
    for one in all {
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

/// The longest time that a query looks back over at once.
pub fn longest_range(query: &str) -> Option<Duration> {
    find(query).iter().filter_map(|selector| units::duration(selector.range.as_deref()?).ok()).max()
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':'
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn word(&mut self, part: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !part(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn line(&mut self) {
        self.word(|c| c != '\n');
    }

    /// Past white space and comments.
    fn blank(&mut self) {
        loop {
            self.word(char::is_whitespace);
            if self.peek() != Some('#') {
                return;
            }
            self.line();
        }
    }

    /// Past a string in quotes.
    fn string(&mut self) {
        let mut chars = self.rest().char_indices();
        let Some((_, quote)) = chars.next() else { return };
        let mut escaped = false;
        for (n, c) in chars {
            match c {
                _ if escaped => escaped = false,
                '\\' if quote != '`' => escaped = true,
                c if c == quote => {
                    self.at += n + c.len_utf8();
                    return;
                }
                _ => {}
            }
        }
        self.at = self.text.len();
    }

    /// Past what stands between this bracket and its end; what is in it.
    fn until(&mut self, end: char) -> &'a str {
        let from = self.at;
        while let Some(c) = self.peek() {
            match c {
                '"' | '\'' | '`' => self.string(),
                c => {
                    self.at += c.len_utf8();
                    if c == end {
                        break;
                    }
                }
            }
        }
        self.text.get(from..self.at).unwrap_or_default()
    }

    fn brackets(&mut self) {
        self.until(']');
    }

    fn next_word(&self) -> &'a str {
        let mut ahead = Scan { text: self.text, at: self.at };
        ahead.blank();
        ahead.word(|c| is_name(c) || c.is_ascii_digit())
    }

    /// What a name is: a selection, or `None` for functions, keywords and groupings, with what belongs to them.
    fn named(&mut self, name: &'a str) -> Option<Selector> {
        let lower = name.to_ascii_lowercase();
        let before = self.at;
        self.blank();
        let calls = self.peek() == Some('(');
        if GROUPING.contains(&lower.as_str()) {
            if calls {
                self.until(')');
            }
            return None;
        }
        // `sum by (job) (…)`
        let aggregates = matches!(self.next_word().to_ascii_lowercase().as_str(), "by" | "without");
        if calls || aggregates || KEYWORDS.contains(&lower.as_str()) {
            return None;
        }
        self.at = before;
        self.selector(name)
    }

    /// A selection by name, by labels, or both, with its range; `None` when it looks back.
    fn selector(&mut self, name: &str) -> Option<Selector> {
        let mut series = name.to_owned();
        let before = self.at;
        self.blank();
        match self.peek() {
            Some('{') => series.push_str(self.until('}')),
            _ => self.at = before,
        }
        let before = self.at;
        self.blank();
        let range = match self.peek() {
            Some('[') => {
                let inner = self.until(']').trim_start_matches('[').trim_end_matches(']');
                let (range, _) = inner.split_once(':').unwrap_or((inner, ""));
                Some(range.trim().to_owned())
            }
            _ => {
                self.at = before;
                None
            }
        };
        let before = self.at;
        self.blank();
        let looks_back = self.peek() == Some('@') || self.next_word().eq_ignore_ascii_case("offset");
        self.at = before;
        (!looks_back && !series.is_empty()).then_some(Selector { series, range })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(query: &str) -> Vec<String> {
        let shown = |s: Selector| match s.range {
            Some(range) => format!("{}[{range}]", s.series),
            None => s.series,
        };
        find(query).into_iter().map(shown).collect()
    }

    #[test]
    fn series_are_found_and_nothing_else_is_taken_for_one() {
        for (query, wanted) in [
            ("up", vec!["up"]),
            ("up{job=\"a}b\"}", vec!["up{job=\"a}b\"}"]),
            ("{__name__=~\"a.*\"}", vec!["{__name__=~\"a.*\"}"]),
            ("sum by (job, instance) (rate(errors_total{code=~\"5..\"}[5m]))", vec!["errors_total{code=~\"5..\"}[5m]"]),
            ("sum(rate(a[1m])) by (job) / sum without (x) (rate(b [2m]))", vec!["a[1m]", "b[2m]"]),
            ("a * on (job) group_left (version) b", vec!["a", "b"]),
            ("a > bool 5 and b offset 1d or c @ 1700000000 unless d", vec!["a", "d"]),
            ("histogram_quantile(0.99, sum(rate(lat_bucket[5m])) by (le))", vec!["lat_bucket[5m]"]),
            ("max_over_time(job:errors:ratio[1h:30s]) # not: up\n+ vector(1e-5)", vec!["job:errors:ratio[1h]"]),
            ("label_replace(up, \"a\", \"$1\", 'b', \"(.*)\")", vec!["up"]),
            ("1 + 0x1F + time() + Inf + NaN", vec![]),
            ("count_values(\"v\", version) + topk(3, q)", vec!["version", "q"]),
        ] {
            assert_eq!(found(query), wanted, "{query}");
        }
    }

    #[test]
    fn over_a_range_what_has_ended_is_as_old_as_its_last_sample() {
        assert_eq!(longest_range("rate(a[1m]) / rate(b[1m30s]) + up"), Some(Duration::from_secs(90)));
        assert_eq!(find("up")[0].age(), "time() - min(timestamp(up))");
        let age = find("rate(a[5m])")[0].age();
        assert_eq!(age, "time() - (max(timestamp(a)) or max(max_over_time(timestamp(a)[5m:5s])))");
    }

    proptest! {
        #[test]
        fn any_text_comes_to_an_end(query in "[a-z{}\\[\\]()\"'`#@,:0-9 \\\\\n]{0,60}") {
            find(&query);
        }
    }
}
