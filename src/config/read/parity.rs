//! In what the hosts of a pair are to be alike.

use jiff::civil::Date;

use super::service::several;
use crate::model::{Parity, Waiver};
use crate::yaml::reader::Value;

const EXAMPLE: &str = "parity: {sysctls: net.core.somaxconn, packages: [haproxy]}";
const WAIVER: &str = "waive: {of: kernel, until: 2026-12-31, why: newer on purpose}";

/// Reads `parity`.
pub fn read(value: Value<'_>) -> Option<Parity> {
    value.map("parity", EXAMPLE, |m| {
        let sysctls = m.get("sysctls").map(|v| several(v, sysctl)).unwrap_or_default();
        let packages = m.get("packages").map(|v| several(v, package)).unwrap_or_default();
        let known = Parity { sysctls, packages, waivers: Vec::new() };
        let waivers = m.get("waive").map(|v| several(v, |waiver| waived(waiver, &known))).unwrap_or_default();
        Parity { waivers, ..known }
    })
}

fn sysctl(value: Value<'_>) -> Option<String> {
    word(value, "the name of a kernel setting", "net.core.somaxconn", "._-/")
}

fn package(value: Value<'_>) -> Option<String> {
    word(value, "the name of a package", "haproxy", "+.-_:")
}

/// Letters, digits and these: what a shell takes as it is, and no way out of `/proc/sys`.
fn word(value: Value<'_>, wants: &str, example: &str, besides: &str) -> Option<String> {
    let found = value.line(wants, example)?.value;
    let fits = found.chars().all(|c| c.is_ascii_alphanumeric() || besides.contains(c));
    if !fits || found.starts_with(['-', '/', '.']) || found.contains("..") {
        let shown = crate::text::escape(found.as_bytes(), 60);
        value.error(format!("`{shown}` is not {wants}"), format!("for example `{example}`"));
        return None;
    }
    Some(found)
}

fn waived(value: Value<'_>, known: &Parity) -> Option<Waiver> {
    value.map("waiver", WAIVER, |m| {
        let of = m.need("of", "kernel").and_then(|v| {
            let of = v.line("what differs", "kernel")?.value;
            if !known.compares(&of) {
                let shown = crate::text::escape(of.as_bytes(), 60);
                v.error(
                    format!("`{shown}` is not compared"),
                    format!("it is one of {}, or a name under `sysctls` or `packages`", Parity::ALWAYS.join(", ")),
                );
                return None;
            }
            Some(of)
        });
        let until = m.need("until", "2026-12-31").and_then(|v| {
            let text = v.line("a day", "2026-12-31")?.value;
            let day = text.parse::<Date>().ok().filter(|day| day.to_string() == text);
            if day.is_none() {
                let shown = crate::text::escape(text.as_bytes(), 60);
                v.error(format!("`{shown}` is not a day"), "write year, month and day: 2026-12-31");
            }
            day
        });
        let why = m.need("why", "newer on purpose").and_then(|v| v.line("a reason", "newer on purpose"));
        Some(Waiver { of: of?, until: until?, why: why?.value })
    })?
}
