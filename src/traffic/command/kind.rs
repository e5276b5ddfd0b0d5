//! What a program says of itself in the inventory, and what its pools and members may be called.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::{Context, Director, DirectorKind};
use super::{Program, Settings};
use crate::fields::template::Unfit;
use crate::model::Capabilities;
use crate::outside::Error;

impl DirectorKind for Settings {
    fn title(&self) -> &'static str {
        "a command"
    }

    fn capabilities(&self) -> Capabilities {
        self.can
    }

    fn default_member(&self) -> &'static str {
        "{{ name }}"
    }

    fn pool_name(&self, written: &str) -> Result<String, Unfit> {
        check_name(written, "pool").map(|()| written.to_owned())
    }

    fn check_member(&self, name: &str) -> Result<(), Unfit> {
        check_name(name, "member")
    }

    fn connect(&self, name: &str, context: &Context) -> Result<Arc<dyn Director>, Error> {
        Ok(Arc::new(Program::new(name, self, context)))
    }
}

/// Whether a program is handed this name: one word, no option, nothing that a shell within it would take apart.
pub(super) fn check_name(name: &str, what: &str) -> Result<(), Unfit> {
    let word = |text: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || ".:_@-".contains(c);
        !text.is_empty() && text.chars().all(fits) && !text.starts_with('-')
    };
    // A route is a member like any other.
    let prefix = || {
        let (address, length) = name.split_once('/')?;
        let most = if address.parse::<IpAddr>().ok()?.is_ipv4() { 32 } else { 128 };
        let length_fits = length.parse::<u8>().is_ok_and(|n| n <= most && n.to_string() == length);
        length_fits.then_some(())
    };
    if name.len() <= 255 && (word(name) || prefix().is_some()) {
        return Ok(());
    }
    let hint = format!(
        "a {what} is called by letters, digits, `.`, `:`, `_`, `@` and `-`, not beginning with `-`; or it is a prefix such as 203.0.113.0/24"
    );
    Err(Unfit::new(format!("cannot be the name of a {what}"), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_prefixes_are_names_and_nothing_else_is() {
        for good in ["web", "web-1.dal_05:80", "203.0.113.7/32", "2001:db8::/48", "a@b"] {
            assert_eq!(check_name(good, "member"), Ok(()), "{good}");
        }
        for bad in ["", "-x", "--help", "a b", "a;b", "a/b", "a\nb", "$(x)", "203.0.113.7/33", "203.0.113.7/+1", "ä"] {
            check_name(bad, "member").unwrap_err();
        }
        assert!(check_name(&"x".repeat(256), "pool").is_err());
    }
}
