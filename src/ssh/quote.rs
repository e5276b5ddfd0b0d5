//! Command lines that every login shell takes alike: bash, dash, zsh, csh, fish.
//!
//! Owns quoting. Must never produce text that one shell reads differently from another.

/// Quotes one word for a POSIX shell.
pub(crate) fn posix(word: &str) -> String {
    if is_plain(word) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// A command line for a login shell that runs `argv`. `None`: an argument holds NUL, which no argument can.
pub(super) fn command_line(argv: &[&str]) -> Option<String> {
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
