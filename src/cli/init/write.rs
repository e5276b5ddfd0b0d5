//! The texts of a first inventory and a first plan. Each line that can be changed says what it is, in which unit, and what holds without it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Args;
use super::gather::{DIRECTOR, Known, TODO};
use crate::model::Mode;
use crate::text::name;

/// Both files.
pub struct Texts {
    pub plan: String,
    pub inventory: String,
}

pub fn write(args: &Args, known: &Known, service: &str) -> Texts {
    Texts { plan: plan(args, known, service), inventory: inventory(args, known) }
}

/// What stands above both.
const HEAD: &str = "\
# Written by `migrate init`. A line with TODO is to be filled in: `migrate validate plan.yaml` names each.
# A line that begins with `#` and a key shows what else can be said, with what holds without it.
";

fn inventory(args: &Args, known: &Known) -> String {
    let mut out =
        format!("# What there is: hosts, and who directs traffic. Every key is told in docs/inventory.md.\n{HEAD}\n");
    let sites: std::collections::BTreeSet<&str> =
        known.hosts.values().filter_map(|host| host.get("site").and_then(Value::as_str)).collect();
    if !sites.is_empty() {
        out.push_str("# Places that hosts stand in.\nsites:\n");
        sites.iter().for_each(|site| line(&mut out, &format!("  {}:", word(site))));
        out.push('\n');
    }
    out.push_str("# How to log in on every host that says nothing else. What is not said here comes from ~/.ssh/config, then from OpenSSH's\n");
    out.push_str("# defaults. `become: sudo` is for a login that is not root (docs/ssh.md).\n");
    match &args.user {
        Some(user) => line(&mut out, &format!("defaults:\n  ssh: {{ user: {} }}\n", word(user))),
        None => out.push_str("# defaults:\n#   ssh: { user: deploy, key: ~/.ssh/id_ed25519, become: sudo }\n\n"),
    }
    out.push_str(
        "# Machines by name. `address`: an IP address or a DNS name, where its service is reached, and sshd.\n",
    );
    out.push_str("# A key such as `dal-[01-20]` stands for many, with an address such as `10.1.0.[11-30]`.\nhosts:\n");
    let mut told: Vec<&String> = Vec::new();
    for (what, names) in [
        ("They move away.", &known.sources),
        ("They take the place of those, one of one, in this order.", &known.targets),
        ("Others are reached through them.", &known.jumps),
    ] {
        let own: Vec<&String> = names.iter().filter(|name| !told.contains(name)).collect();
        if own.is_empty() {
            continue;
        }
        let _ = writeln!(out, "  # {what}");
        for name in own {
            let host = known.hosts.get(name).cloned().unwrap_or_else(|| json!({ "address": TODO }));
            let _ = writeln!(out, "  {}: {}", word(name), flow(&host));
            told.push(name);
        }
    }
    directors(&mut out, args, known);
    out
}

fn directors(out: &mut String, args: &Args, known: &Known) {
    if !has_traffic(args) {
        out.push_str("\n# Who decides where traffic goes: HAProxy, NGINX, DNS and others (docs/directors.md). The plan names one of them.\n");
        let _ = writeln!(out, "# directors:\n#   {DIRECTOR}: {{ haproxy: \"unix:/run/haproxy/admin.sock\" }}");
        return;
    }
    out.push_str(
        "\n# Who decides where traffic goes (docs/directors.md; there are NGINX, DNS and others, too).\ndirectors:\n",
    );
    let _ = writeln!(out, "  {DIRECTOR}:");
    out.push_str("    # HAProxy's runtime API: unix:PATH, tcp:ADDRESS:PORT, or ssh:HOST:PATH for a socket on a host of this file. All of them,\n");
    out.push_str("    # where there are several. It must be at `level admin`.\n");
    match args.haproxy.as_slice() {
        [] => line(out, &format!("    haproxy: \"unix:/run/haproxy/{TODO}.sock\"")),
        all => line(out, &format!("    haproxy: {}", flow(&json!(all)))),
    }
    out.push_str("    # HAProxy's configuration file, so that a plan can tell what a restart would make of the weights. Default: nobody looks.\n");
    out.push_str("    # config: /etc/haproxy/haproxy.cfg\n");
    let Some(pool) = &known.pool else { return };
    let _ = writeln!(out, "    #\n    # Backend `{}` as it was when this was written:", comment(&pool.now.name));
    for member in &pool.now.members {
        let address = pool.facts.members.get(&member.name).and_then(|facts| facts.address);
        let address = address.map_or("address unknown".to_owned(), |address| address.to_string());
        let mode = match member.mode {
            Mode::Ready => "ready",
            Mode::Drain => "drain",
            Mode::Maint => "maintenance",
        };
        let _ = writeln!(out, "    #   {}  {address}  weight {}  {mode}", comment(&member.name), member.weight);
    }
}

/// State alone may move without anybody who directs traffic.
fn has_traffic(args: &Args) -> bool {
    !args.haproxy.is_empty() || args.pool.is_some() || args.state.is_empty()
}

fn plan(args: &Args, known: &Known, service: &str) -> String {
    let mut out = format!("# What moves, and under which rules. Every key is told in docs/plan.md.\n{HEAD}");
    out.push_str("#\n# migrate plan plan.yaml        looks at the live system and shows every step; writes nothing\n");
    out.push_str("# migrate rehearse plan.yaml    plays it with everything going wrong that can; contacts nothing\n");
    out.push_str("# migrate apply plan.yaml       asks, does it, and goes on where it stopped when run again\n\n");
    let called = args.name.as_deref().unwrap_or(service);
    let _ = writeln!(out, "# Names the plan and its runs.\nmigration: {}", word(called));
    let _ = writeln!(out, "inventory: {}\n\nservices:\n  {}:", super::INVENTORY, word(service));
    out.push_str("    # The first source is replaced by the first target, and so on (docs/plan.md#move).\n    move:\n");
    let _ = writeln!(out, "      from: {}", flow(&json!(known.sources)));
    let _ = writeln!(out, "      to: {}", flow(&json!(known.targets)));
    traffic(&mut out, args, known);
    health(&mut out, args);
    out.push_str("    # Percent of new sessions that targets get, step by step; after each they are watched for `hold` (docs/plan.md#shift).\n");
    out.push_str("    # shift: { steps: [1%, 5%, 25%, 50%, 100%], hold: 30s }\n\n");
    out.push_str("    # How long connections of a source may take to end by themselves, and what happens then (docs/plan.md#drain).\n");
    out.push_str("    # drain: { deadline: 5m, on_deadline: hold }\n\n");
    state(&mut out, args, service);
    let _ = writeln!(
        out,
        "# Services that move at the same time, and pairs that may be out of service at once (docs/plan.md#wave). Default: one wave, 1."
    );
    let _ = writeln!(out, "# waves:\n#   - {{ name: first, services: [{}], max_unavailable: 1 }}", comment(service));
    out
}

fn traffic(out: &mut String, args: &Args, known: &Known) {
    out.push_str("\n    # Who sends users to it: a director of the inventory, and what it calls the service (docs/plan.md#traffic).\n");
    if !has_traffic(args) {
        let _ = writeln!(
            out,
            "    # Default: nobody; only state moves.\n    # traffic: {{ director: {DIRECTOR}, pool: web }}\n"
        );
        return;
    }
    let pool = args.pool.clone().or_else(|| Some(known.pool.as_ref()?.now.name.clone()));
    let pool = pool.unwrap_or_else(|| TODO.to_owned());
    let missing = known.pool.as_ref().map(|pool| {
        known.targets.iter().filter(|target| pool.now.member(target).is_none()).map(String::as_str).collect::<Vec<_>>()
    });
    if let Some(missing) = missing.filter(|missing| !missing.is_empty()) {
        let _ = writeln!(
            out,
            "    # The backend has no server {} yet: add it there, with weight 0 or in maintenance.",
            comment(&missing.join(", "))
        );
    }
    let _ = writeln!(out, "    traffic: {{ director: {DIRECTOR}, pool: {} }}\n", word(&pool));
}

fn health(out: &mut String, args: &Args) {
    out.push_str("    # What must hold on a target before it gets traffic, and as long as it has it. Asked from here, every 2s, 3 times in a row\n");
    out.push_str("    # (docs/plan.md#health-check: `tcp`, `tls`, `grpc`, `exec` and others).\n");
    let url = args.health.clone().unwrap_or_else(|| format!("http://{{{{ address }}}}/{TODO}"));
    let _ = writeln!(out, "    health: [{{ http: {} }}]\n", json!(url));
}

fn state(out: &mut String, args: &Args, service: &str) {
    out.push_str("    # What must be carried over. With it the move is a cutover: copied while it is live, and once more, briefly, when the source is\n");
    out.push_str("    # drained and frozen (docs/plan.md#state: databases and streams, too).\n");
    if args.state.is_empty() {
        out.push_str("    # state: [{ directory: /srv/web }]\n\n");
    } else {
        let all: Vec<Value> = args.state.iter().map(|path| json!({ "directory": path })).collect();
        let _ = writeln!(out, "    state: {}\n", flow(&json!(all)));
    }
    out.push_str("    # What stops the writer on the source, and what starts it on the target; `undo` takes it back (docs/plan.md#hook).\n");
    let unit = comment(service);
    let hooks = format!(
        "hooks:\n      - {{ at: freeze, run: systemctl stop {unit}, undo: systemctl start {unit} }}\n      - {{ at: thaw, run: systemctl start {unit}, undo: systemctl stop {unit} }}\n"
    );
    let lines: String =
        hooks.lines().map(|line| format!("    # {}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    let _ = writeln!(out, "{lines}");
}

/// JSON is YAML on one line; spaces inside braces are how people write it.
fn flow(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(key, value)| format!("{key}: {}", flow(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Value::String(text) => word(text),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// A name as people write it; whatever else YAML could take for something else stands between quotes.
fn word(text: &str) -> String {
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic()) && name::check(text).is_ok();
    let means_something = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    match is_word && !means_something.contains(&text.to_ascii_lowercase().as_str()) {
        true => text.to_owned(),
        false => json!(text).to_string(),
    }
}

/// Text that stays in its comment.
fn comment(text: &str) -> String {
    crate::text::escape(text.as_bytes(), 200)
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}
