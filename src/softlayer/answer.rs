//! What an HTTP answer of the API is worth. A status alone says little: errors come with 200, and successes with nothing.

use serde_json::Value;

use crate::text;

/// Why an answer is no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The credentials are not accepted.
    Denied,
    /// There is no such object.
    Missing(String),
    /// Too many requests; this one was not looked at.
    TooFast(String),
    /// `Internal Error`, which mostly means that too much was asked for at once.
    TooMuch(String),
    /// It says no.
    Refused(String),
    /// It cannot be told what the answer was.
    Garbled(String),
}

/// Judges an answer.
pub fn judge(status: u16, body: &[u8]) -> Result<Value, Trouble> {
    if status == 401 {
        return Err(Trouble::Denied);
    }
    let success = (200..300).contains(&status);
    let parsed: Value = match serde_json::from_slice(body) {
        Ok(value) => value,
        Err(_) if status == 429 => return Err(Trouble::TooFast("too many requests".to_owned())),
        Err(_) if success && body.is_empty() => return Err(Trouble::Garbled("the answer is empty".to_owned())),
        Err(_) => return Err(Trouble::Garbled(format!("status {status}, and no JSON in it"))),
    };
    match error_of(&parsed) {
        Some((error, code)) => Err(trouble(status, error, code)),
        None if success => Ok(parsed),
        None => Err(Trouble::Garbled(format!("status {status}, and no error in it"))),
    }
}

/// Text and code of an error; results that happen to have one of the two keys are results.
fn error_of(value: &Value) -> Option<(&str, &str)> {
    let error = value.get("error")?.as_str()?;
    let code = value.get("code").and_then(Value::as_str).unwrap_or_default();
    (code.starts_with("SoftLayer_Exception") || value.as_object()?.len() == 1).then_some((error, code))
}

fn trouble(status: u16, error: &str, code: &str) -> Trouble {
    let said = format!("{} ({})", text::escape(error.trim().as_bytes(), 300), text::escape(code.as_bytes(), 100));
    let ends = |what: &str| code.ends_with(what);
    if ends("RateLimitExceeded") || status == 429 {
        Trouble::TooFast(said)
    } else if ends("ObjectNotFound") {
        Trouble::Missing(said)
    } else if error.trim() == "Internal Error" {
        Trouble::TooMuch(said)
    } else if ends("AccessTokenValidation") || ends("InvalidLogin") {
        Trouble::Denied
    } else {
        Trouble::Refused(said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_found_behind_any_status() {
        let judged = |status, body: &str| judge(status, body.as_bytes());
        let internal = r#"{"error":"Internal Error","code":"SoftLayer_Exception_Public"}"#;
        for status in [200, 500] {
            assert!(matches!(judged(status, internal), Err(Trouble::TooMuch(_))), "{status}");
        }
        let fast = r#"{"error":"Rate limit of 50 requests for every 1 second(s) exceeded.","code":"SoftLayer_Exception_WebService_RateLimitExceeded"}"#;
        for status in [500, 429] {
            assert!(matches!(judged(status, fast), Err(Trouble::TooFast(_))), "{status}");
        }
        assert!(matches!(judged(429, "slow down"), Err(Trouble::TooFast(_))));
        assert_eq!(judged(200, ""), Err(Trouble::Garbled("the answer is empty".into())));
        assert!(matches!(judged(502, "<html>"), Err(Trouble::Garbled(_))));
        assert!(matches!(judged(500, "{}"), Err(Trouble::Garbled(_))));
        assert_eq!(judged(401, internal), Err(Trouble::Denied));
        let gone = r#"{"error":"Unable to find object with id of '1'.","code":"SoftLayer_Exception_ObjectNotFound"}"#;
        assert!(matches!(judged(404, gone), Err(Trouble::Missing(said)) if said.starts_with("Unable to find")));
        let said = r#"{"error":"\u001b[31mno","code":"SoftLayer_Exception_Public"}"#;
        assert!(matches!(judged(500, said), Err(Trouble::Refused(said)) if !said.contains('\u{1b}')));
    }

    #[test]
    fn results_that_look_like_errors_are_results() {
        for result in ["true", "null", "[]", r#"{"error":"disk","id":3}"#, r#""text""#, "16.08"] {
            assert!(judge(200, result.as_bytes()).is_ok(), "{result}");
        }
    }
}
