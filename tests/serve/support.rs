//! A server of the tests, and how it is asked.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use serde_json::Value;

use crate::lab::command::{Migrate, Running};
use crate::lab::process::free_port;
use crate::lab::requests::{self, Events, Reply};

/// A server that ends with this.
pub struct Server {
    pub addr: SocketAddr,
    pub token: String,
    pub running: Running,
}

impl Server {
    /// Serves the runs of a place, on a port that nobody else has.
    pub fn start(migrate: &Migrate, args: &[&str]) -> Self {
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self::start_at(migrate, SocketAddr::new(here, free_port(here)), args)
    }

    /// The same at a known place.
    pub fn start_at(migrate: &Migrate, addr: SocketAddr, args: &[&str]) -> Self {
        let listen = addr.to_string();
        let mut running = migrate.start(&[&["serve", "--listen", &listen], args].concat());
        running.read_errors_until("The live view is at ");
        let token = std::fs::read_to_string(migrate.state_dir().join("serve-token")).unwrap();
        Self { addr, token: token.trim().to_owned(), running }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The link with which a browser comes first.
    pub fn link(&self) -> String {
        format!("{}/#token={}", self.origin(), self.token)
    }

    /// Asks as a program would that has the token.
    pub fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path}"), &[("Authorization", &self.bearer())], "")
    }

    /// Wants something, as a program would.
    pub fn post(&self, path: &str, body: &Value) -> Reply {
        let headers = [("Authorization", self.bearer()), ("Content-Type", "application/json".to_owned())];
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        self.ask(&format!("POST {path}"), &headers, &body.to_string())
    }

    /// With just these headers, and the host.
    pub fn ask(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let host = self.addr.to_string();
        requests::request(self.addr, line, &[&[("Host", host.as_str())], headers].concat(), body)
    }

    /// Listens, from an event on.
    pub fn events(&self, path: &str, last: Option<&str>) -> Events {
        let (host, bearer) = (self.addr.to_string(), self.bearer());
        let mut headers = vec![("Host", host.as_str()), ("Authorization", bearer.as_str())];
        headers.extend(last.map(|id| ("Last-Event-ID", id)));
        requests::events(self.addr, path, &headers)
    }

    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

/// The program in a directory with a state directory of its own.
pub fn at(root: &Path) -> Migrate {
    std::fs::create_dir_all(root.join("home")).unwrap();
    Migrate::at(env!("CARGO_BIN_EXE_migrate"), root)
}

/// What is said in JSON.
#[track_caller]
pub fn json(reply: &Reply) -> Value {
    serde_json::from_str(&reply.body).unwrap_or_else(|e| panic!("{e}: {reply:?}"))
}
