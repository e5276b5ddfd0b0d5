//! Fills `{{ name }}` places of a probe from the host's variables.

use crate::spec::model::{Host, Template};

/// The text with every value as it is, for URLs and addresses.
pub fn plain(template: &Template, host: &Host) -> Result<String, String> {
    fill(template, host, |value| value.to_owned())
}

/// The text with every value as one shell word.
pub fn shell(template: &Template, host: &Host) -> Result<String, String> {
    fill(template, host, |value| format!("'{}'", value.replace('\'', r"'\''")))
}

fn fill(template: &Template, host: &Host, show: impl Fn(&str) -> String) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = template.0.as_str();
    while let Some((before, from)) = rest.split_once("{{") {
        let (name, after) = from.split_once("}}").ok_or_else(|| "a `{{` without its `}}`".to_owned())?;
        let name = name.trim();
        let value = host.vars.get(name).ok_or_else(|| format!("{} has no variable `{name}`", host.name))?;
        out.push_str(before);
        out.push_str(&show(value));
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}
