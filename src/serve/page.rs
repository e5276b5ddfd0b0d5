//! The page: one file, which loads nothing, and what a browser lets it do.
//!
//! Its script and its style are named by their hashes, so that nothing else runs in it, whatever gets into it.

use std::sync::OnceLock;

use domain::utils::base64;
use sha2::{Digest, Sha256};

const HTML: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &[&str] = &[
    include_str!("page/dom.js"),
    include_str!("page/draw.js"),
    include_str!("page/acts.js"),
    include_str!("page/run.js"),
    include_str!("page/list.js"),
    include_str!("page/main.js"),
];

/// The page, and its policy.
pub struct Page {
    /// All of it.
    pub html: String,
    /// What it may do.
    pub policy: String,
}

/// The one page.
pub fn page() -> &'static Page {
    static PAGE: OnceLock<Page> = OnceLock::new();
    PAGE.get_or_init(|| {
        let script = format!("(() => {{\n'use strict';\n{}}})();\n", SCRIPT.concat());
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
            hash(&script),
            hash(STYLE)
        );
        Page { html: HTML.replace("{style}", STYLE).replace("{script}", &script), policy }
    })
}

fn hash(text: &str) -> String {
    format!("sha256-{}", base64::encode_string(&Sha256::digest(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_nothing_and_makes_no_markup_of_text() {
        let page = page();
        for word in [
            "http:",
            "https:",
            "src=",
            "@import",
            "url(",
            "innerHTML",
            "outerHTML",
            "document.write",
            "eval(",
            "style=",
        ] {
            let found =
                page.html.lines().find(|line| line.contains(word) && !line.contains("http://www.w3.org/2000/svg"));
            assert_eq!(found, None, "{word}");
        }
        assert_eq!(page.html.matches("<script").count(), 1);
        assert_eq!(page.html.matches("</script").count(), 1, "nothing in the script ends it");
        assert!(page.html.contains("<script>(() => {\n'use strict';\n") && !page.policy.contains("unsafe"));
    }
}
