//! Telling people about a run by webhook. One file a kind of receiver.
//!
//! Owns the closed list of kinds ([`Channel`]): their settings, and the shape in which each wants a message. Must never hold a run up, and
//! never tell anybody but the receiver where it is: its URL is a secret.

mod deliver;
mod pagerduty;
mod settings;
mod slack;
mod teams;
mod webhook;

use crate::fields::kinds::kinds;
use crate::model::Message;
use crate::secret::{Secret, SecretError, Secrets};

pub use deliver::Courier;
pub use settings::{Notify, read};

kinds! {
    /// Who is told, by kind. Each kind is one line here and one file of its own.
    pub enum Channel: ChannelKind {
        Slack(slack::Slack),
        Teams(teams::Teams),
        PagerDuty(pagerduty::PagerDuty),
        Webhook(webhook::Webhook),
    }
}

/// What every kind of receiver can do.
pub trait ChannelKind: Send + Sync {
    /// What is sent to tell it a message.
    fn post(&self, message: &Message, secrets: &dyn Secrets) -> Result<Post, SecretError>;
}

/// One HTTP POST of JSON.
pub struct Post {
    /// Where to: whoever knows it can write there.
    pub url: Secret,
    /// Headers besides those of JSON.
    pub headers: Vec<(String, Secret)>,
    /// What is said.
    pub body: Secret,
}

impl Post {
    fn json(url: Secret, body: &serde_json::Value) -> Self {
        Self { url, headers: Vec::new(), body: Secret::new(body.to_string()) }
    }
}

#[cfg(test)]
mod tests;
