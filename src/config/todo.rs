//! Values that somebody has still to write: lines with `TODO`, as `migrate init` leaves them where it cannot know.
//!
//! Only in files that people write: what is fetched says what it says.

use std::sync::Arc;

use crate::yaml::diagnostic::{Diagnostic, Sink};
use crate::yaml::node::{Kind, Node};
use crate::yaml::source::{At, Source};

const WORD: &str = "TODO";

/// Warns of every value that has the word. A script may have it in a comment: values of several lines are passed over.
pub fn warn(source: &Arc<Source>, node: &Node, sink: &Sink) {
    let what = |node: &Node| {
        let message = "this is still to be written";
        let at = At { source: Arc::clone(source), span: node.span.clone() };
        sink.push(
            Diagnostic::warning(&at, message)
                .hint("put what is so where `TODO` stands; the line above says what it is"),
        );
    };
    match &node.kind {
        Kind::Scalar(scalar) if is_open(&scalar.text) => what(node),
        Kind::Scalar(_) | Kind::Broken => {}
        Kind::List(items) => items.iter().for_each(|item| warn(source, item, sink)),
        Kind::Map(entries) => entries.iter().for_each(|(_, value)| warn(source, value, sink)),
    }
}

fn is_open(text: &str) -> bool {
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    !text.contains('\n') && words.any(|word| word == WORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_word() {
        assert!(is_open("TODO") && is_open("http://{{ address }}/TODO") && is_open("{{ name }}.TODO"));
        assert!(!is_open("TODOS") && !is_open("todo") && !is_open("make it\n# TODO: better"));
    }
}
