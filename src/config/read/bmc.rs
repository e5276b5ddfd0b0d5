//! How the management controllers of hosts are asked, as inventories say it.

use crate::fields::secret;
use crate::model::{Bmc, Template};
use crate::yaml::reader::Value;

const EXAMPLE: &str = "bmc: {url: \"https://10.0.9.1\", user: migrate, password: {file: ./bmc.secret}}";

/// Reads `bmc`.
pub fn read(value: Value<'_>) -> Option<Bmc> {
    value.map("bmc", EXAMPLE, |m| {
        let url = m.need("url", "\"https://{{ oob_address }}\"").and_then(url);
        let line = |v: Value<'_>| Some(v.line("one line of text", "migrate")?.value);
        let user = m.need("user", "migrate").and_then(line);
        let password = m.need("password", "{file: ./bmc.secret}").and_then(secret::read);
        let ca = m.get("ca").map_or(Some(None), |v| v.path().map(Some));
        let system = m.get("system").map_or(Some(None), |v| line(v).map(Some));
        Some(Bmc { url: url?, system: system?, user: user?, password: password?, ca: ca? })
    })?
}

/// A password goes there: not in the clear, and none is in it.
fn url(value: Value<'_>) -> Option<Template> {
    let text = value.line("a URL", "url: \"https://{{ oob_address }}\"")?.value;
    let template = Template(text);
    let problem = match (template.0.strip_prefix("https://"), template.pieces()) {
        (None, _) => Some("it does not begin with https://, and a password is sent there".to_owned()),
        (Some(rest), _) if rest.contains('@') => Some("it holds a user or a password".to_owned()),
        (Some(_), Err(e)) => Some(e.to_string()),
        (Some(_), Ok(_)) => None,
    };
    match problem {
        None => Some(template),
        Some(why) => {
            value.error(format!("this is no URL of a management controller: {why}"), format!("for example {EXAMPLE}"));
            None
        }
    }
}
