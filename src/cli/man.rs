//! `migrate man`: manual pages, one for each command.

use std::path::PathBuf;

use clap::CommandFactory;

use super::Exit;
use super::failure::advised;
use super::output;

/// Arguments of `migrate man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The pages are written again from the program itself, as `--help` is: migrate(1), migrate-plan(1) and so on.

Example: migrate man --dir /usr/local/share/man/man1")]
pub struct Args {
    /// Directory for the pages; it is made when it is not there
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let hint = "name a directory that you may write to";
    let failed = |e: std::io::Error| advised(format!("{} cannot be written to: {e}", args.dir.display()), hint);
    std::fs::create_dir_all(&args.dir).map_err(failed)?;
    clap_mangen::generate_to(super::Cli::command().disable_help_subcommand(true), &args.dir).map_err(failed)?;
    for entry in std::fs::read_dir(&args.dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("migrate") && name.ends_with(".1") {
            let page = std::fs::read_to_string(&path).map_err(failed)?;
            std::fs::write(&path, as_they_are(&page)).map_err(failed)?;
        }
    }
    output::print(&format!("the pages are in {}\n", args.dir.display()))?;
    Ok(Exit::Ok)
}

/// Lines that are set in are examples and tables: they stay as they are, where everything else is filled.
fn as_they_are(page: &str) -> String {
    let mut out = String::new();
    let mut kept = false;
    for line in page.lines() {
        let keeps = line.starts_with("  ");
        if keeps != kept {
            out.push_str(if keeps { ".nf\n" } else { ".fi\n" });
            kept = keeps;
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}
