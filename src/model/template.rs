//! `{{ name }}` in paths, URLs and commands.
//!
//! Owns the syntax and the filling. A value never gets meaning from where it is put: in commands it is one quoted word.
//! `{{{{` stands for two literal braces.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::text::shell;

/// Text with `{{ name }}` places, filled from a host's variables; validated for both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Template(pub String);

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text that stays as it is.
    Text(String),
    /// The place of a variable.
    Variable {
        /// Its name.
        name: String,
        /// Byte offset of its `{{` in the template.
        offset: usize,
        /// Bytes up to and with its `}}`.
        len: usize,
    },
}

/// Why a template cannot be read or filled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `{{` without its `}}`.
    #[error("`{{{{` is not closed")]
    Unclosed {
        /// Byte offset of the `{{`.
        offset: usize,
    },
    /// What stands between the braces is no name.
    #[error("`{name}` between `{{{{` and `}}}}` is not the name of a variable")]
    BadName {
        /// What stands there.
        name: String,
        /// Byte offset of the `{{`.
        offset: usize,
        /// Bytes up to and with the `}}`.
        len: usize,
    },
    /// There is no such variable.
    #[error("there is no variable `{name}`")]
    Unknown {
        /// Its name.
        name: String,
    },
}

impl Template {
    /// The parts, in order.
    pub fn pieces(&self) -> Result<Vec<Piece>, TemplateError> {
        let mut pieces = Vec::new();
        let mut text = String::new();
        let mut at = 0;
        while let Some((before, rest)) = self.0.get(at..).and_then(|rest| rest.split_once("{{")) {
            text.push_str(before);
            let offset = at + before.len();
            if let Some(after) = rest.strip_prefix("{{") {
                text.push_str("{{");
                at = self.0.len() - after.len();
                continue;
            }
            let (inner, _) = rest.split_once("}}").ok_or(TemplateError::Unclosed { offset })?;
            let (name, len) = (inner.trim().to_owned(), inner.len() + 4);
            if crate::text::name::check_variable(&name).is_err() {
                let name = crate::text::escape(name.as_bytes(), 40);
                return Err(TemplateError::BadName { name, offset, len });
            }
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
            }
            pieces.push(Piece::Variable { name, offset, len });
            at = offset + len;
        }
        text.push_str(self.0.get(at..).unwrap_or_default());
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(pieces)
    }

    /// Fills in the values as they are: for paths, addresses and URLs.
    pub fn render_plain(&self, vars: &BTreeMap<String, String>) -> Result<String, TemplateError> {
        self.render_with(vars, str::to_owned)
    }

    /// Fills in every value as one quoted word: for commands.
    pub fn render_shell(&self, vars: &BTreeMap<String, String>) -> Result<String, TemplateError> {
        self.render_with(vars, shell::quote)
    }

    /// Fills in every value as `put` writes it: for what has quotes of its own.
    pub fn render_with(
        &self,
        vars: &BTreeMap<String, String>,
        put: fn(&str) -> String,
    ) -> Result<String, TemplateError> {
        let mut out = String::new();
        for piece in self.pieces()? {
            match piece {
                Piece::Text(text) => out.push_str(&text),
                Piece::Variable { name, .. } => match vars.get(&name) {
                    Some(value) => out.push_str(&put(value)),
                    None => return Err(TemplateError::Unknown { name }),
                },
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn plain(text: &str, pairs: &[(&str, &str)]) -> Result<String, TemplateError> {
        Template(text.to_owned()).render_plain(&vars(pairs))
    }

    #[test]
    fn values_go_where_their_names_stand() {
        let v = [("name", "dal-1"), ("port", "8080")];
        assert_eq!(plain("http://{{name}}:{{  port }}/x", &v).unwrap(), "http://dal-1:8080/x");
        assert_eq!(plain("no places }} here", &v).unwrap(), "no places }} here");
        assert_eq!(plain("docker ps --format '{{{{.Names}}'", &v).unwrap(), "docker ps --format '{{.Names}}'");
        assert_eq!(plain("{{ nope }}", &v), Err(TemplateError::Unknown { name: "nope".into() }));
        assert_eq!(plain("ab {{ name", &v), Err(TemplateError::Unclosed { offset: 3 }));
        assert!(matches!(plain("{{ a b }}", &v), Err(TemplateError::BadName { offset: 0, len: 9, .. })));
    }

    #[test]
    fn a_value_is_not_read_as_a_template_again() {
        assert_eq!(plain("{{ a }}", &[("a", "{{ b }}"), ("b", "x")]).unwrap(), "{{ b }}");
    }

    fn printed_by_sh(command: &str) -> Vec<u8> {
        std::process::Command::new("sh").arg("-c").arg(command).output().unwrap().stdout
    }

    #[test]
    fn the_shell_reads_hard_values_back_as_they_are() {
        let template = Template("printf %s {{ v }}".to_owned());
        for value in
            ["", "-x", "a b", "it's", "\"", "$HOME $(id) `id`", "a\nb\n", "*", "~", "\\", "#", "é🦀", "{{ v }}"]
        {
            let command = template.render_shell(&vars(&[("v", value)])).unwrap();
            assert_eq!(printed_by_sh(&command), value.as_bytes(), "{command}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_shell_reads_any_value_back_as_it_is(value in "[^\\x00]{0,40}") {
            let command = Template("printf %s {{ v }}".to_owned()).render_shell(&vars(&[("v", &value)])).unwrap();
            prop_assert_eq!(printed_by_sh(&command), value.as_bytes());
        }

        #[test]
        fn any_text_is_a_template_or_an_error(text in "[{} a-z.]{0,30}") {
            let _ = plain(&text, &[("a", "b")]);
        }
    }
}
