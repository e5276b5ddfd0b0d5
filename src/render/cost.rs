//! What a move does to the bill, as text and as fields between commas.

use std::cmp::Ordering;

use serde::Serialize;

use super::hosts::money;
use super::table;
use super::{Show, Style};
use crate::model::Money;
use crate::planner::cost::{Bill, Cost, HostCost};
use crate::text;

/// The bill of a plan with its hosts.
#[derive(Debug, Serialize)]
pub struct PlanCost {
    /// The plan.
    pub plan: String,
    /// Today's bill, and how it falls.
    #[serde(flatten)]
    pub bill: Bill,
    /// What each host costs.
    pub hosts: Vec<HostCost>,
}

const HOSTS: [table::Column; 7] = [
    ("host", false),
    ("service", false),
    ("wave", false),
    ("side", false),
    ("a month", true),
    ("currency", false),
    ("paid until", false),
];

fn amount(cents: u64, currency: &str) -> String {
    money(&Money { cents, currency: currency.to_owned() })
}

/// A bill in lines, for plans; nothing where no host has a cost.
pub fn lines(bill: &Bill) -> Vec<String> {
    let mut lines: Vec<String> = bill.costs.iter().flat_map(of_currency).collect();
    if !bill.is_empty() && !bill.unknown.is_empty() {
        let named: Vec<&String> = bill.unknown.iter().take(5).collect();
        let more = bill.unknown.len().saturating_sub(named.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let hosts = text::count(bill.unknown.len() as u64, "host");
        let names = named.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
        lines.push(format!("Not counted: {hosts} of the plan without `cost_per_month`: {names}{more}."));
    }
    lines
}

fn of_currency(cost: &Cost) -> Vec<String> {
    let show = |cents| amount(cents, &cost.currency);
    let mut lines = vec![format!(
        "Bill: {} a month for all hosts, {} of it for sources and {} for targets.",
        show(cost.all),
        show(cost.sources),
        show(cost.targets)
    )];
    if let Some(invoiced) = cost.invoiced {
        let than = match invoiced.cmp(&cost.all) {
            Ordering::Equal => "which is what these hosts cost".to_owned(),
            Ordering::Greater => format!(
                "{} more than these hosts: storage, addresses, hosts that are not here",
                show(invoiced - cost.all)
            ),
            Ordering::Less => {
                format!("{} less than these hosts: some are paid for elsewhere", show(cost.all - invoiced))
            }
        };
        lines.push(format!("  {} on the next invoice: {than}", show(invoiced)));
    }
    for wave in &cost.waves {
        lines.push(format!(
            "  {} a month when the sources of wave {} are given back, after {} at the earliest (-{})",
            show(wave.left),
            wave.wave,
            text::duration(wave.over),
            show(wave.ends)
        ));
    }
    lines.push(format!(
        "  {} for sources until then, beside targets; {} a day for keeping the way back open after it",
        show(cost.both_sides),
        show(cost.way_back_a_day)
    ));
    lines
}

impl PlanCost {
    fn rows(&self) -> Vec<Vec<String>> {
        let row = |host: &HostCost| {
            let cents = host.cents.map(|cents| format!("{}.{:02}", cents / 100, cents % 100));
            vec![
                host.host.clone(),
                host.service.clone(),
                host.wave.clone(),
                host.side.clone(),
                cents.unwrap_or_default(),
                host.currency.clone().unwrap_or_default(),
                host.paid_until.clone().unwrap_or_default(),
            ]
        };
        self.hosts.iter().map(row).collect()
    }
}

impl Show for PlanCost {
    fn text(&self, _: Style) -> String {
        let mut out = table::text(&HOSTS, &self.rows());
        out.push('\n');
        let lines = lines(&self.bill);
        if lines.is_empty() {
            out.push_str("No host of the inventory has `cost_per_month`.\n");
        }
        lines.iter().for_each(|line| out.push_str(&format!("{line}\n")));
        out
    }

    fn csv(&self) -> String {
        let names = HOSTS.iter().map(|(name, _)| (*name).to_owned()).collect();
        table::csv(std::iter::once(names).chain(self.rows()))
    }
}
