//! Command lines that every login shell takes alike: bash, dash, zsh, csh, fish.
//!
//! Owns quoting. Must never produce text that one shell reads differently from another.

/// Quotes one word for a POSIX shell.
pub(crate) fn posix(word: &str) -> String {
    if is_plain(word) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// A command line for a login shell that runs `argv`. `None`: an argument holds NUL, which no argument can.
pub(crate) fn command_line(argv: &[&str]) -> Option<String> {
    if argv.iter().any(|word| word.contains('\0')) {
        return None;
    }
    let line: Option<Vec<String>> = argv.iter().map(|word| portable(word)).collect();
    Some(line.map_or_else(|| encoded(argv), |words| words.join(" ")))
}

fn is_plain(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:,@+-".contains(c);
    !word.is_empty() && word.chars().all(plain)
}

/// A word in single quotes, where those mean the same to all shells: csh acts on `!` and newlines in them, fish on backslashes,
/// and none of them can hold a quote.
fn portable(word: &str) -> Option<String> {
    let special = |c: char| c.is_control() || "'\\!".contains(c);
    match word {
        word if is_plain(word) => Some(word.to_owned()),
        word if word.contains(special) => None,
        word => Some(format!("'{word}'")),
    }
}

/// The whole command as octal escapes, which a POSIX shell that is started for it decodes.
fn encoded(argv: &[&str]) -> String {
    let words: Vec<String> = argv.iter().map(|word| posix(word)).collect();
    let octal: String = format!("exec {}", words.join(" ")).bytes().map(|b| format!("\\{b:03o}")).collect();
    format!("/bin/sh -c 'eval \"$(printf \"$1\")\"' sh '{octal}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_stay_readable() {
        assert_eq!(
            command_line(&["/root/.migrate/agent", "--root", "/srv/a b"]).unwrap(),
            "/root/.migrate/agent --root '/srv/a b'"
        );
    }

    #[test]
    fn what_shells_disagree_on_is_encoded() {
        for word in ["it's", "a\\b", "hey!", "two\nlines", "\u{1}"] {
            let line = command_line(&["echo", word]).unwrap();
            assert!(line.starts_with("/bin/sh -c 'eval ") && !line.contains(word), "{line}");
        }
        assert_eq!(command_line(&["a\0b"]), None);
    }

    /// The shells that are installed here agree on every word.
    #[test]
    fn every_login_shell_gives_the_words_back() {
        let shells =
            ["/bin/sh", "/bin/bash", "/bin/dash", "/bin/zsh", "/bin/csh", "/bin/tcsh", "/usr/bin/fish", "/bin/ksh"];
        let shells: Vec<&str> = shells.into_iter().filter(|shell| std::path::Path::new(shell).exists()).collect();
        assert!(!shells.is_empty());
        let config = proptest::test_runner::Config { cases: 64, ..Default::default() };
        proptest::proptest!(config, |(words in proptest::collection::vec("[^\0]{0,20}|[-'\"$\\\\!=~%^ \n]{0,8}", 1..4))| {
            let mut argv = vec!["printf", "%s\\0"];
            argv.extend(words.iter().map(String::as_str));
            let line = command_line(&argv).unwrap();
            for shell in &shells {
                let out = std::process::Command::new(shell).args(["-c", &line]).output().unwrap();
                let expected: String = words.iter().map(|word| format!("{word}\0")).collect();
                proptest::prop_assert_eq!(String::from_utf8_lossy(&out.stdout), expected, "{} {}", shell, line);
            }
        });
    }
}
