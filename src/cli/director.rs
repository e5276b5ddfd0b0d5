//! `migrate director`: what a traffic director has now, without a plan, and whether it keeps what directors promise.

mod check;
mod show;

use std::path::PathBuf;
use std::sync::Arc;

use super::environment::Environment;
use super::exit::Exit;
use super::{connect, failure, load};
use crate::text::{escape, suggest};
use crate::traffic::{Director, DirectorConfig};

/// Arguments of `migrate director`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the members of a pool: weights, modes, connections, shares; reads only
    Show(show::Args),
    /// Try a director out in a pool that may be played with, and put back what was there
    Check(check::Args),
}

pub async fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Show(args) => show::run(args, environment).await,
        Command::Check(args) => check::run(args, environment).await,
    }
}

/// Which pool of which director.
#[derive(Debug, clap::Args)]
struct Which {
    /// Name of the director in the inventory
    #[arg(value_name = "NAME")]
    director: String,

    /// The pool: a backend, a name in the zone, …
    #[arg(value_name = "POOL")]
    pool: String,

    /// Inventory that has the director; several are merged
    #[arg(short, long, value_name = "FILE", default_value = "inventory.yaml")]
    inventory: Vec<PathBuf>,
}

/// A director that can be asked, and the one name of the pool.
struct Found {
    config: DirectorConfig,
    director: Arc<dyn Director>,
    pool: String,
}

impl Which {
    async fn find(&self, environment: &Environment) -> anyhow::Result<Found> {
        let inventory = load::load_inventory(&self.inventory, environment).await?;
        let Some(config) = inventory.directors.get(&self.director) else {
            let shown = escape(self.director.as_bytes(), 80);
            let names = inventory.directors.keys().map(String::as_str);
            let hint = suggest::hint(&self.director, "directors", names);
            return Err(failure::advised(format!("the inventory has no director `{shown}`"), hint));
        };
        let kind = config.kind();
        let pool = kind.pool_name(&self.pool);
        let pool = pool.map_err(|unfit| failure::advised(unfit.sentence(&self.pool), unfit.hint))?;
        let director = kind.connect(&self.director, &connect::surroundings(&inventory, environment))?;
        Ok(Found { config: config.clone(), director, pool })
    }
}
