//! HAProxy through its runtime API: over TCP, a unix socket, or a unix socket on a host reached by SSH.

/// Where HAProxy's runtime API answers. Every endpoint is one process (or one master CLI); all are written and read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaproxyConfig {
    /// All HAProxy instances that share the traffic.
    pub endpoints: Vec<Endpoint>,
}

/// One runtime API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `host:port`.
    Tcp(String),
    /// A socket on this machine.
    Unix(std::path::PathBuf),
    /// A socket on an inventory host, reached by SSH.
    Ssh {
        /// Inventory name of the host.
        host: String,
        /// Path of the socket there.
        path: String,
    },
}
