//! Errors as the API words them.

use serde_json::{Value, json};

/// An answer that is no result.
#[derive(Debug, Clone, PartialEq)]
pub struct Refused {
    pub status: u16,
    pub code: String,
    pub text: String,
}

impl Refused {
    pub fn new(status: u16, code: &str, text: impl Into<String>) -> Self {
        Self { status, code: format!("SoftLayer_Exception_{code}"), text: text.into() }
    }

    pub fn not_found(id: u64) -> Self {
        Self::new(404, "ObjectNotFound", format!("Unable to find object with id of '{id}'."))
    }

    pub fn no_service() -> Self {
        Self::new(404, "Public", "Service does not exist")
    }

    pub fn no_method(method: &str) -> Self {
        Self::new(500, "Public", format!("Function (\"{method}\") is not a valid method for this service."))
    }

    pub fn no_property(name: &str, type_name: &str) -> Self {
        let text = format!("Property '{name}' not valid for 'SoftLayer_{type_name}'.");
        Self::new(500, "WebService_ObjectMask", text)
    }

    pub fn parser(column: usize, got: &str) -> Self {
        Self::new(500, "Common_Parser", format!("Error on line 1 at column {column}: Expected PROPERTY, got '{got}'"))
    }

    pub fn internal() -> Self {
        Self::new(500, "Public", "Internal Error")
    }

    pub fn rate_limit(status: u16, limit: usize) -> Self {
        let text = format!("Rate limit of {limit} requests for every 1 second(s) exceeded.");
        Self::new(status, "WebService_RateLimitExceeded", text)
    }

    pub fn access_denied() -> Self {
        Self::new(401, "Public", "Access Denied. ")
    }

    pub fn body(&self) -> Value {
        json!({ "error": self.text, "code": self.code })
    }
}
