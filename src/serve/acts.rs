//! What the page may ask for: from a body of JSON to what is wanted.
//!
//! Must never let anything through that its sender has not confirmed by typing the name of what it is about.

use serde::Deserialize;

use super::desk::{Refused, Wanted};
use crate::text;

/// The longest reason.
const LONGEST: usize = 500;
/// What is typed to stop every run, and to let them go on.
pub const ALL: &str = "all runs";

/// What is sent.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// The name of the run, typed again.
    pub confirm: String,
    #[serde(default)]
    why: Option<String>,
    #[serde(default)]
    step: Option<String>,
    #[serde(default)]
    setting: Option<String>,
    #[serde(default)]
    to: Option<String>,
}

impl Body {
    /// Reads it, and looks whether it is about what was confirmed.
    pub fn read(bytes: &[u8], about: &str) -> Result<Self, Refused> {
        let body: Self = serde_json::from_slice(bytes).map_err(|e| {
            refused(format!("the request cannot be read: {}", text::escape(e.to_string().as_bytes(), 200)))
        })?;
        match body.confirm == about {
            true => Ok(body),
            false => Err(Refused {
                what: "nothing was done: it was not confirmed".to_owned(),
                hint: Some(format!("type {about} to confirm it")),
            }),
        }
    }

    /// Why it is wanted: nobody knows later, unless it is said now.
    pub fn why(&self) -> Result<String, Refused> {
        match self.why.as_deref().map(str::trim) {
            None | Some("") => Err(refused("nothing was done: it wants a reason".to_owned())),
            Some(why) => Ok(text::escape(why.as_bytes(), LONGEST)),
        }
    }

    /// What is wanted, by the last word of the address; `None` when nothing is called that.
    pub fn wanted(self, word: &str) -> Option<Result<Wanted, Refused>> {
        let given = |value: &Option<String>, what: &str| {
            let value = value.as_deref().map(str::trim).filter(|value| !value.is_empty());
            value
                .map(|value| text::escape(value.as_bytes(), LONGEST))
                .ok_or_else(|| refused(format!("it wants {what}")))
        };
        Some(match word {
            "pause" => self.why().map(|why| Wanted::Pause { why }),
            "resume" => Ok(Wanted::Resume),
            "abort" => self.why().map(|why| Wanted::Abort { why }),
            "approve" => given(&self.step, "a step").and_then(|step| Ok(Wanted::Approve { step, why: self.why()? })),
            "set" => given(&self.setting, "a setting").map(|setting| Wanted::Set { setting }),
            "rollback" => self.why().map(|why| Wanted::RollBack { why, to: given(&self.to, "").ok() }),
            _ => return None,
        })
    }
}

fn refused(what: String) -> Refused {
    Refused { what, hint: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(word: &str, body: &str) -> Option<Result<Wanted, String>> {
        let wanted = Body::read(body.as_bytes(), "web-1").map(|body| body.wanted(word));
        match wanted {
            Ok(wanted) => wanted.map(|wanted| wanted.map_err(|refused| refused.what)),
            Err(refused) => Some(Err(refused.what)),
        }
    }

    #[test]
    fn what_is_confirmed_and_whole_is_wanted() {
        let why = "the link is busy".to_owned();
        let paused = wanted("pause", r#"{"confirm":"web-1","why":" the link is busy\n"}"#);
        assert_eq!(paused, Some(Ok(Wanted::Pause { why: why.clone() })));
        assert_eq!(wanted("resume", r#"{"confirm":"web-1"}"#), Some(Ok(Wanted::Resume)));
        let approve = r#"{"confirm":"web-1","step":"web/gate","why":"the link is busy"}"#;
        assert_eq!(wanted("approve", approve), Some(Ok(Wanted::Approve { step: "web/gate".into(), why: why.clone() })));
        let back = r#"{"confirm":"web-1","why":"the link is busy","to":""}"#;
        assert_eq!(wanted("rollback", back), Some(Ok(Wanted::RollBack { why, to: None })));
        assert_eq!(wanted("finish", r#"{"confirm":"web-1"}"#), None);
    }

    #[test]
    fn nothing_is_done_that_was_not_confirmed_or_lacks_something() {
        for (word, body, said) in [
            ("pause", r#"{"confirm":"web-2","why":"x"}"#, "not confirmed"),
            ("pause", r#"{"confirm":"","why":"x"}"#, "not confirmed"),
            ("pause", r#"{"why":"x"}"#, "cannot be read"),
            ("pause", r#"{"confirm":"web-1"}"#, "wants a reason"),
            ("pause", r#"{"confirm":"web-1","why":"  "}"#, "wants a reason"),
            ("approve", r#"{"confirm":"web-1","step":"web/gate"}"#, "wants a reason"),
            ("approve", r#"{"confirm":"web-1","why":"x"}"#, "wants a step"),
            ("set", r#"{"confirm":"web-1"}"#, "wants a setting"),
            ("pause", r#"{"confirm":"web-1","why":"x","by":"root"}"#, "cannot be read"),
            ("pause", "confirm=web-1&why=x", "cannot be read"),
            ("pause", "", "cannot be read"),
        ] {
            let refused = wanted(word, body).unwrap().unwrap_err();
            assert!(refused.contains(said), "{word} {body}: {refused}");
        }
    }

    #[test]
    fn a_reason_cannot_write_on_a_terminal() {
        let paused = wanted("pause", r#"{"confirm":"web-1","why":"a\u001b[2Jb"}"#);
        let Some(Ok(Wanted::Pause { why })) = paused else { panic!("{paused:?}") };
        assert!(!why.contains('\u{1b}'), "{why}");
    }
}
