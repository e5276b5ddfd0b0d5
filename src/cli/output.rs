//! Writing to standard output. A reader that has gone away (`| head`) ends the command quietly.

use std::io::{ErrorKind, Write};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::render::{Format, Show, Style, Topic};

/// Reads the name of a format that this topic is known in.
pub fn formats(topic: Topic) -> impl TypedValueParser<Value = Format> {
    let values = topic.formats().map(|(name, help)| PossibleValue::new(name).help(help));
    // Only names that are in the list get so far.
    PossibleValuesParser::new(values).map(|name| Format::named(&name).unwrap_or(Format::Text))
}

/// Prints one thing in a format.
pub fn show<T: Show>(format: Format, shown: &T, style: Style) -> anyhow::Result<()> {
    Ok(print(&format.render(shown, style)?)?)
}

/// The same, for what stands among lines of JSON.
pub fn show_line<T: Show>(format: Format, shown: &T) -> anyhow::Result<()> {
    Ok(print(&format.line(shown)?)?)
}

/// Prints what people are told between what was asked for.
pub fn say(format: Format, text: &str) -> std::io::Result<()> {
    if format.is_for_people() { print(text) } else { Ok(()) }
}

/// Prints text as it is.
pub fn print(text: &str) -> std::io::Result<()> {
    print_bytes(text.as_bytes())
}

/// Prints bytes as they are.
pub fn print_bytes(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        ended => ended,
    }
}
