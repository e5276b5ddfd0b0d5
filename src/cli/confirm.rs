//! Asking before doing.

use std::io::{BufRead, IsTerminal, Write};

use super::failure::advised;

/// Asks on the terminal; anything but `yes` is a no. Without a terminal it is an error, because nobody can answer.
pub fn confirm(question: &str) -> anyhow::Result<bool> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Err(advised(
            "there is no terminal to ask for confirmation on",
            "say `--yes` when nobody is there to answer",
        ));
    }
    eprint!("{question} Only `yes` goes on: ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
