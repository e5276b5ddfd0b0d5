//! References to secrets. A literal is refused, and never shown.

use std::collections::BTreeMap;

use crate::secret::SecretRef;
use crate::text::name;
use crate::yaml::reader::Value;

const EXAMPLE: &str = "{file: ./tsig.secret}";

/// Reads `{env: NAME}`, `{file: PATH}` or `{exec: [COMMAND, ARGUMENT]}`.
pub fn read(value: Value<'_>) -> Option<SecretRef> {
    if !value.is_map() {
        value.error(
            format!("`{}` takes a reference to a secret, not the secret itself", value.name()),
            "write {env: NAME}, {file: PATH} or {exec: [COMMAND, ARGUMENT]}",
        );
        return None;
    }
    let kind = value.map("secret", EXAMPLE, |m| m.kind(&["env", "file", "exec"]))??;
    match kind.name() {
        "env" => env(kind),
        "file" => kind.path().map(SecretRef::File),
        _ => exec(kind),
    }
}

/// Reads references to secrets by the environment variables that get them.
pub fn by_variable(value: Value<'_>) -> BTreeMap<String, SecretRef> {
    let mut out = BTreeMap::new();
    for (key, value) in value.entries("references to secrets by variable", "secrets: {TOKEN: {env: TOKEN}}") {
        if let Err(why) = name::check_variable(key.name()) {
            let shown = crate::text::escape(key.name().as_bytes(), 60);
            key.error(
                format!("`{shown}` cannot be an environment variable: {why}"),
                "for example `DB_PASSWORD: {env: DB_PASSWORD}`",
            );
        } else if let Some(secret) = read(value) {
            out.insert(key.name().to_owned(), secret);
        }
    }
    out
}

fn env(value: Value<'_>) -> Option<SecretRef> {
    let name = value.line("the name of an environment variable", "env: TSIG_SECRET")?;
    match name::check_variable(&name.value) {
        Ok(()) => Some(SecretRef::Env(name.value)),
        Err(why) => {
            value.error(
                format!("this is not the name of an environment variable: {why}"),
                "for example `env: TSIG_SECRET`",
            );
            None
        }
    }
}

fn exec(value: Value<'_>) -> Option<SecretRef> {
    let wants = "a command and its arguments as a list";
    let items = value.list(wants, "exec: [pass, show, tsig]");
    let words: Vec<String> =
        items.iter().filter_map(|i| i.text("one word of a command", "pass").map(|t| t.value)).collect();
    if words.len() != items.len() {
        return None;
    }
    match words.first() {
        Some(program) if !program.is_empty() => Some(SecretRef::Exec(words)),
        _ if value.is_list() => {
            value.error(
                format!("`exec` takes {wants}; this one names no command"),
                "for example `exec: [pass, show, tsig]`",
            );
            None
        }
        _ => None,
    }
}
