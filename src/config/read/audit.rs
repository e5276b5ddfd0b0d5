//! How runs can be accounted for.

use crate::model::{Audit, CheckpointCopy};
use crate::text::name;
use crate::yaml::reader::Value;

const PLACE: &str = "a place, `file:PATH` or `syslog:`";
const EXAMPLE: &str = "copy_to: [\"file:/mnt/audit/checkpoints\", \"syslog:\"]";
const SYSLOG_PORT: u16 = 514;

/// Reads `audit`.
pub fn read(value: Value<'_>) -> Audit {
    let copy_to = value.map("audit", EXAMPLE, |m| {
        let places = m.get("copy_to").map(|v| v.one_or_many()).unwrap_or_default();
        places.into_iter().filter_map(place).collect()
    });
    Audit { copy_to: copy_to.unwrap_or_default() }
}

fn place(value: Value<'_>) -> Option<CheckpointCopy> {
    let written = value.line(PLACE, EXAMPLE)?.value;
    match written.split_once(':') {
        Some(("file", "")) => refuse(value, "names no file", "for example `\"file:/mnt/audit/checkpoints\"`"),
        Some(("file", path)) => value.resolve(path).map(CheckpointCopy::File),
        Some(("syslog", "")) => Some(CheckpointCopy::Syslog),
        Some(("syslog", server)) => match server_address(server) {
            Ok(address) => Some(CheckpointCopy::SyslogUdp(address)),
            Err(why) => refuse(
                value,
                why,
                "for example `\"syslog:logs.example.com:514\"`, or `\"syslog:\"` for this machine's own log",
            ),
        },
        _ => {
            let shown = crate::text::escape(written.as_bytes(), 80);
            refuse(
                value,
                &format!("`{shown}` is not a place that checkpoints can be copied to"),
                "the places there are: `file:PATH`, `syslog:` and `syslog:HOST:PORT`",
            )
        }
    }
}

fn refuse(value: Value<'_>, why: &str, hint: &str) -> Option<CheckpointCopy> {
    let why = if why.starts_with('`') { why.to_owned() } else { format!("this place {why}") };
    value.error(why, hint);
    None
}

/// `host`, `host:port`, `[v6]:port` or a bare IPv6 address; the port is 514 unless given.
fn server_address(text: &str) -> Result<String, &'static str> {
    let checked = |host: &str| match name::check_address(host) {
        Ok(()) if host.contains(':') => Ok(format!("[{host}]")),
        Ok(()) => Ok(host.to_owned()),
        Err(_) => Err("names no log server"),
    };
    if let Ok(host) = checked(text) {
        return Ok(format!("{host}:{SYSLOG_PORT}"));
    }
    let (host, port) = text.rsplit_once(':').ok_or("names no log server")?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(format!("{}:{port}", checked(host)?)),
        _ => Err("has a port that is not a number from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_servers_have_the_usual_port_unless_another_is_given() {
        for (written, means) in [
            ("logs.example.com", "logs.example.com:514"),
            ("10.0.0.9:1514", "10.0.0.9:1514"),
            ("fd00::1", "[fd00::1]:514"),
            ("[fd00::1]:1514", "[fd00::1]:1514"),
        ] {
            assert_eq!(server_address(written).as_deref(), Ok(means));
        }
        for bad in ["-x", "a b", "host:", "host:0", "host:99999", "//host", ":514"] {
            assert!(server_address(bad).is_err(), "{bad}");
        }
    }
}
