//! `KnownHostsCommand`: a program that prints lines of known_hosts.
//!
//! Owns what it is told and what becomes of its answer. Must never run it by a shell, and never go on when it fails.

use std::process::Stdio;
use std::time::Duration;

use russh::keys::{HashAlg, PublicKey};

use crate::ssh::config::KnownAs;
use crate::text::escape;

const TIMEOUT: Duration = Duration::from_secs(10);
/// More than this is not read.
const MAX_OUTPUT: usize = 4 << 20;

/// The program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KnownHostsCommand {
    /// With the tokens in them.
    words: Vec<String>,
    /// What the tokens stand for that are the same for every call.
    tokens: Vec<(char, String)>,
}

/// Why it is run.
pub(super) enum Reason<'a> {
    /// To find out which kinds of keys are known.
    Order,
    /// To find out about a key that the host has shown.
    Hostname(&'a PublicKey),
}

impl KnownHostsCommand {
    /// Reads the setting; the error is one clause.
    pub(in crate::ssh) fn parse(setting: &str, tokens: Vec<(char, String)>) -> Result<Self, String> {
        let fail =
            |why: &str| format!("ssh_config has the KnownHostsCommand `{}`: {why}", escape(setting.as_bytes(), 120));
        let words = words(setting).ok_or_else(|| fail("its quotes are not closed"))?;
        if !words.first().is_some_and(|program| program.starts_with('/')) {
            return Err(fail("it has to begin with an absolute path"));
        }
        let command = Self { words, tokens };
        let nobody = KnownAs::new("", 22, None);
        command
            .expanded(&nobody, &Reason::Order)
            .map_err(|token| fail(&format!("the token %{token} is not supported")))?;
        Ok(command)
    }

    /// Whether it has to be told the key.
    pub(super) fn asks_for_a_key(&self) -> bool {
        self.words.iter().any(|word| ["%K", "%f", "%t", "%I"].iter().any(|token| word.contains(token)))
    }

    /// What it prints; the error is one clause about the host.
    pub(super) async fn run(&self, known_as: &KnownAs, reason: &Reason<'_>) -> Result<String, String> {
        let argv =
            self.expanded(known_as, reason).map_err(|token| format!("KnownHostsCommand has the token %{token}"))?;
        let (program, args) = argv.split_first().ok_or_else(|| "KnownHostsCommand is empty".to_owned())?;
        let name = format!("KnownHostsCommand `{}`", escape(argv.join(" ").as_bytes(), 120));
        let mut command = tokio::process::Command::new(program);
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        let output = match tokio::time::timeout(TIMEOUT, command.output()).await {
            Err(_) => return Err(format!("{name} gave no answer within {} s", TIMEOUT.as_secs())),
            Ok(Err(e)) => return Err(format!("{name} cannot be run: {e}")),
            Ok(Ok(output)) => output,
        };
        if !output.status.success() {
            return Err(format!("{name} failed ({}): {}", output.status, escape(&output.stderr, 200)));
        }
        if output.stdout.len() > MAX_OUTPUT {
            return Err(format!("{name} prints more than {} MiB", MAX_OUTPUT >> 20));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The words with values for tokens; the error is a token that means nothing.
    fn expanded(&self, known_as: &KnownAs, reason: &Reason<'_>) -> Result<Vec<String>, char> {
        let value = |token: char| match (token, reason) {
            ('%', _) => Some("%".to_owned()),
            ('H', _) => Some(known_as.name.clone()),
            ('I', Reason::Order) => Some("ORDER".to_owned()),
            ('I', Reason::Hostname(_)) => Some("HOSTNAME".to_owned()),
            ('t' | 'f' | 'K', Reason::Order) => Some("NONE".to_owned()),
            ('t', Reason::Hostname(key)) => Some(key.algorithm().to_string()),
            ('f', Reason::Hostname(key)) => Some(key.fingerprint(HashAlg::Sha256).to_string()),
            ('K', Reason::Hostname(key)) => key.to_openssh().ok()?.split_whitespace().nth(1).map(str::to_owned),
            (token, _) => self.tokens.iter().find(|(name, _)| *name == token).map(|(_, value)| value.clone()),
        };
        self.words.iter().map(|word| expand(word, value)).collect()
    }
}

/// Puts values in for `%` and a letter.
fn expand(text: &str, value: impl Fn(char) -> Option<String>) -> Result<String, char> {
    let (mut out, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        match c {
            '%' => {
                let token = chars.next().unwrap_or(' ');
                out.push_str(&value(token).ok_or(token)?);
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

/// Words as OpenSSH parts them: by white space, but for what stands in quotes; `\\` takes a quote, a space or itself for what it is.
/// `None` when a quote is not closed.
fn words(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', _) if chars.peek().is_some_and(|next| matches!(next, '\\' | '"' | '\'' | ' ')) => {
                word.get_or_insert_default().extend(chars.next());
            }
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_parted_as_openssh_does() {
        let parted = |text: &str| words(text).unwrap();
        assert_eq!(parted(r#""/bin/ca t"  %H 'a "b"' c\ d \"e"#), ["/bin/ca t", "%H", "a \"b\"", "c d", "\"e"]);
        assert_eq!(parted(r#"/bin/x "" a"b c"d"#), ["/bin/x", "", "ab cd"]);
        assert_eq!(words("/bin/x \"a"), None);
    }

    #[test]
    fn tokens_are_put_in_and_others_refused() {
        let tokens = vec![('h', "10.0.0.7".to_owned()), ('r', "ops".to_owned())];
        let command = KnownHostsCommand::parse("/bin/x %H %h%%%r %I %t", tokens.clone()).unwrap();
        let known_as = KnownAs::new("10.0.0.7", 2201, None);
        let argv = command.expanded(&known_as, &Reason::Order).unwrap();
        assert_eq!(argv, ["/bin/x", "[10.0.0.7]:2201", "10.0.0.7%ops", "ORDER", "NONE"]);
        assert!(command.asks_for_a_key());
        let bad = |setting: &str| KnownHostsCommand::parse(setting, tokens.clone()).unwrap_err();
        assert!(bad("/bin/x %Z").ends_with("the token %Z is not supported"));
        assert!(bad("x %H").ends_with("it has to begin with an absolute path"));
        assert!(bad("/bin/x 'y").ends_with("its quotes are not closed"));
    }
}
