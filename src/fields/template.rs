//! Templates where they are written: syntax now, variables when the hosts are known.

use crate::model::Template;
use crate::model::template::{Piece, TemplateError};
use crate::text::shell;
use crate::yaml::diagnostic::Diagnostic;
use crate::yaml::reader::Value;
use crate::yaml::source::{At, Located};

/// What a filled template must be.
#[derive(Debug, Clone, Copy)]
pub enum Role {
    /// A command for the shell.
    Command,
    /// A directory on a host.
    Directory,
    /// A TCP port.
    Port,
    /// A member of a pool.
    Member,
    /// The name of a host of the inventory.
    Host,
    /// What only the kind that asks for it can judge, such as a URL.
    Own(fn(&str) -> Result<(), Unfit>),
}

/// Why a filled template is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unfit {
    /// Goes after "which".
    pub why: String,
    /// What to write instead.
    pub hint: String,
}

impl Unfit {
    /// With what to write instead.
    pub fn new(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { why: why.into(), hint: hint.into() }
    }

    /// The whole sentence about a text.
    pub fn sentence(&self, text: &str) -> String {
        format!("`{}` {}", crate::text::escape(text.as_bytes(), 80), self.why)
    }
}

/// Whose variables a template may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sides {
    /// Only the source host.
    Source,
    /// Only the target host.
    Target,
    /// It is filled once for each.
    Both,
    /// Those of the service as a whole; it is filled once.
    Service,
}

/// A template and everything needed to judge it.
#[derive(Debug, Clone)]
pub struct Use {
    /// The template and where it is.
    pub template: Located<Template>,
    /// What it must be when filled.
    pub role: Role,
    /// Whose variables it gets.
    pub sides: Sides,
}

impl Use {
    /// A host that is named, rather than a template. Whether there is one of this name is judged when the hosts are known.
    pub fn host(name: Located<String>) -> Self {
        let template = Located { value: Template(name.value), at: name.at };
        Self { template, role: Role::Host, sides: Sides::Both }
    }
}

/// Reads a template; `None` when its syntax is wrong, which is reported.
pub fn read(value: Value<'_>, role: Role, sides: Sides, wants: &str, example: &str) -> Option<Use> {
    let text = match role {
        Role::Command => value.text(wants, example)?,
        _ => value.line(wants, example)?,
    };
    if text.value.trim().is_empty() {
        value.error(format!("`{}` is empty; it takes {wants}", value.name()), format!("for example `{example}`"));
        return None;
    }
    let template = Located { value: Template(text.value), at: text.at };
    let pieces = match template.value.pieces() {
        Ok(pieces) => pieces,
        Err(error) => {
            value.cx.sink.push(syntax(&template.at, &error));
            return None;
        }
    };
    if matches!(role, Role::Command) {
        check_command(value, &template, &pieces);
    }
    Some(Use { template, role, sides })
}

fn syntax(at: &At, error: &TemplateError) -> Diagnostic {
    let place = match error {
        TemplateError::Unclosed { .. } => find(at, "{{", 2),
        TemplateError::BadName { len, .. } => find(at, "{{", *len),
        TemplateError::Unknown { .. } => at.clone(),
    };
    Diagnostic::error(&place, error.to_string()).hint("write `{{ name }}`; for two literal braces write `{{{{`")
}

fn check_command(value: Value<'_>, template: &Located<Template>, pieces: &[Piece]) {
    for piece in pieces {
        let Piece::Variable { name, offset, .. } = piece else { continue };
        let before = template.value.0.get(..*offset).unwrap_or_default();
        let context = shell::context(before);
        if context == shell::Context::Word {
            continue;
        }
        let found = Diagnostic::error(
            &place_of(&template.at, name),
            format!("`{{{{ {name} }}}}` stands {}", context.words()),
        )
        .note("a value is put into a command as one quoted word, which is read as one only outside of quotes")
        .hint(match context {
            shell::Context::Quotes => {
                format!("leave the quotes around it out; for a nested shell write sh -c '… \"$1\"' sh {{{{ {name} }}}}")
            }
            _ => "put it where a word of the command can stand".to_owned(),
        });
        value.cx.sink.push(found);
    }
}

/// Where the variable stands in the file, as far as it can be told through YAML's quoting.
pub fn place_of(at: &At, name: &str) -> At {
    let raw = at.raw();
    let mut from = 0;
    while let Some(start) = raw.get(from..).and_then(|rest| rest.find("{{")).map(|i| i + from) {
        let inner = raw.get(start + 2..).unwrap_or_default();
        if let Some((text, _)) = inner.split_once("}}")
            && text.trim() == name
        {
            return at.part(start, text.len() + 4);
        }
        from = start + 2;
    }
    at.clone()
}

fn find(at: &At, what: &str, len: usize) -> At {
    at.raw().find(what).map_or_else(|| at.clone(), |start| at.part(start, len))
}
