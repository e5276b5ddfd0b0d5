//! Hosts of an inventory: a table, and inventory YAML to keep.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::table;
use super::{Show, Style};
use crate::model::{Become, Host, Money, SshTarget};
use crate::text;

/// Hosts, in the order that they are shown in, with what speaks against moving them.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Hosts(pub Vec<HostRow>);

/// One of them.
#[derive(Debug, Serialize)]
pub struct HostRow {
    /// The host.
    #[serde(flatten)]
    pub host: Host,
    /// What speaks against moving it.
    pub warnings: Vec<String>,
}

const COLUMNS: [table::Column; 9] = [
    ("host", false),
    ("site", false),
    ("address", false),
    ("cores", true),
    ("memory GiB", true),
    ("disk GB", true),
    ("a month", true),
    ("os", false),
    ("tags", false),
];

impl Hosts {
    fn cells(&self) -> Vec<Vec<String>> {
        let cells = |row: &HostRow| {
            let host = &row.host;
            let var = |name: &str| host.vars.get(name).cloned().unwrap_or_default();
            let tags: Vec<&str> = host.tags.iter().map(String::as_str).collect();
            vec![
                host.name.clone(),
                host.site.clone().unwrap_or_default(),
                host.address.clone(),
                var("cores"),
                var("memory_gib"),
                var("disk_gb"),
                host.cost_per_month.as_ref().map(money).unwrap_or_default(),
                var("os"),
                tags.join(" "),
            ]
        };
        self.0.iter().map(cells).collect()
    }
}

impl Show for Hosts {
    fn text(&self, _: Style) -> String {
        let mut out = table::text(&COLUMNS, &self.cells());
        for row in &self.0 {
            row.warnings.iter().for_each(|warning| out.push_str(&format!("! {}: {warning}\n", row.host.name)));
        }
        out.push_str(&format!("{}\n", text::count(self.0.len() as u64, "host")));
        out
    }

    fn yaml(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, value: Value| out.push_str(&format!("  {}: {value}\n", json!(name)));
        let sites: std::collections::BTreeSet<&String> =
            self.0.iter().filter_map(|row| row.host.site.as_ref()).collect();
        sites.iter().for_each(|site| line(site, json!({})));
        let sites = if sites.is_empty() { String::new() } else { format!("sites:\n{out}") };
        let mut out = format!("{sites}{}", if self.0.is_empty() { "hosts: {}\n" } else { "hosts:\n" });
        self.0.iter().for_each(|row| out.push_str(&format!("  {}: {}\n", json!(row.host.name), entry(row))));
        out
    }

    fn csv(&self) -> String {
        let names = COLUMNS.iter().map(|(name, _)| (*name).to_owned()).collect();
        table::csv(std::iter::once(names).chain(self.cells()))
    }
}

/// An amount as inventories write it.
pub fn money(money: &Money) -> String {
    format!("{}.{:02} {}", money.cents / 100, money.cents % 100, money.currency)
}

/// A host as inventories write it: what stands behind its name.
pub fn host_entry(row: &HostRow) -> Value {
    entry(row)
}

/// A host as inventories write it, with all that it has from its site and from `defaults`.
fn entry(row: &HostRow) -> Value {
    let host = &row.host;
    let vars = host.vars.iter().filter(|(name, _)| !["name", "address", "site"].contains(&name.as_str()));
    let vars: Map<String, Value> = vars.map(|(name, value)| (name.clone(), json!(value))).collect();
    let fields = [
        ("site", host.site.as_ref().map(|site| json!(site))),
        ("address", Some(json!(host.address))),
        ("ssh", Some(ssh(&host.ssh)).filter(|ssh| !ssh.is_empty()).map(Value::Object)),
        ("tags", (!host.tags.is_empty()).then(|| json!(host.tags))),
        ("capacity", (host.capacity != 100).then(|| json!(host.capacity))),
        ("cost_per_month", host.cost_per_month.as_ref().map(|cost| json!(money(cost)))),
        ("warnings", (!row.warnings.is_empty()).then(|| json!(row.warnings))),
        ("vars", (!vars.is_empty()).then_some(Value::Object(vars))),
    ];
    object(fields)
}

fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    Value::Object(fields.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
}

fn ssh(ssh: &SshTarget) -> Map<String, Value> {
    let fields = object([
        ("address", ssh.address.as_ref().map(|address| json!(address))),
        ("user", ssh.user.as_ref().map(|user| json!(user))),
        ("port", ssh.port.map(|port| json!(port))),
        ("key", ssh.key.as_ref().map(|key| json!(key))),
        ("jump", (!ssh.jump.is_empty()).then(|| json!(ssh.jump))),
        ("known_hosts", ssh.known_hosts.as_ref().map(|file| json!(file))),
        ("work_dir", ssh.work_dir.as_ref().map(|dir| json!(dir))),
        ("become", ssh.becomes.as_ref().map(becomes)),
    ]);
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn becomes(becomes: &Become) -> Value {
    match becomes {
        Become::Sudo { user, password } => object([
            ("method", Some(json!("sudo"))),
            ("user", Some(json!(user))),
            ("password", password.as_ref().map(|reference| json!(reference))),
        ]),
        Become::Doas { user } => json!({ "method": "doas", "user": user }),
        Become::Command(words) => json!({ "command": words }),
    }
}
