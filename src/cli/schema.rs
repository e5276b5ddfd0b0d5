//! `migrate schema`: what an editor needs to know of plans and inventories.

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::{Exit, output};
use crate::config::schema::{Of, schema};

/// Arguments of `migrate schema`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
An editor that knows JSON Schema for YAML completes keys, shows what they mean and marks what is wrong as it is written; `migrate validate` finds
the rest. The first line of a file says where its schema is:
  # yaml-language-server: $schema=plan.schema.json

Examples:
  migrate schema plan > plan.schema.json
  migrate schema inventory > inventory.schema.json")]
pub struct Args {
    /// Of what
    #[arg(value_parser = named())]
    of: Of,
}

fn named() -> impl TypedValueParser<Value = Of> {
    let named = |name: String| Of::ALL.iter().find(|(known, _)| *known == name).map_or(Of::Plan, |(_, of)| *of);
    PossibleValuesParser::new(Of::ALL.map(|(name, _)| name)).map(named)
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    output::print(&format!("{}\n", serde_json::to_string_pretty(&schema(args.of))?))?;
    Ok(Exit::Ok)
}
