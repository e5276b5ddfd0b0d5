//! `migrate completions`: a completion script.

use clap::CommandFactory;

use super::Exit;

/// Arguments of `migrate completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: migrate completions bash > /etc/bash_completion.d/migrate")]
pub struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "migrate", &mut script);
    super::output::print_bytes(&script)?;
    Ok(Exit::Ok)
}
