//! `migrate copy`: a directory tree from one place to another, without a plan.

mod ad_hoc;
mod rules;
mod show;

use std::time::Duration;

use super::environment::Environment;
use super::exit::Exit;
use super::output;
use super::signals::{self, Words};
use crate::model;
use crate::render::{Format, Topic};
use crate::text::units;

use ad_hoc::{AdHocCopy, Ended};
use rules::Rules;
use show::Show;

/// Arguments of `migrate copy`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A place is host:/path, user@host:/path, or a path on this machine. Hosts come from the inventory (-i) or from ssh_config.
As with rsync, a slash at the end of SRC means what is in the directory; without one the directory itself goes into DST:
  migrate copy dal-1:/srv/data/ fra-1:/srv/data      /srv/data/x on dal-1 becomes /srv/data/x on fra-1
  migrate copy dal-1:/srv/data  fra-1:/srv           the same, in another way
  migrate copy dal-1:/srv/data  fra-1:/srv/data      /srv/data/x on dal-1 becomes /srv/data/data/x on fra-1

Contents, hard links, holes, times, permissions, extended attributes and ACLs are carried, owners and devices as root.
The first copy compares everything; a later one to the same place sends what has changed since, by the record on the source.
With --watch, where the source can be watched (as root, on ext4 or xfs), a pass looks only at what changed; else at every entry.
Where it is cut it goes on the next time. Ctrl-C stops a copy; with --watch it makes one last pass. Twice ends it at once.

Examples:
  migrate copy ./site/ web@fra-1:/srv/site --delete          make it the same, removals too
  migrate copy dal-1:/srv/data/ fra-1:/srv/data -i inv.yaml --watch --bwlimit 50MiB --verify
  migrate copy dal-1:/srv/data/ /backup/data --exclude '*.tmp' --include /cache/keep --exclude /cache/
  migrate copy dal-1:/srv/data/ fra-1:/srv/data --delete --dry-run")]
pub struct Args {
    /// Where the tree is
    #[arg(value_name = "SRC")]
    source: String,

    /// Where it goes
    #[arg(value_name = "DST")]
    target: String,

    /// Inventory in which hosts are looked up before ssh_config
    #[arg(short, long, value_name = "FILE")]
    inventory: Option<std::path::PathBuf>,

    /// Remove on the target what the source does not have
    #[arg(long)]
    delete: bool,

    /// Remove everything on the target, too, when SRC is empty: else that is taken for a filesystem that is not mounted
    #[arg(long, requires = "delete")]
    allow_empty: bool,

    /// Go on though SRC is on another filesystem than at the last copy: else that is taken for one that is not mounted
    #[arg(long)]
    allow_moved: bool,

    /// Carry nothing that is on other filesystems than SRC; those of the kernel (proc, sysfs, devtmpfs …) are left out in any case
    #[arg(short = 'x', long)]
    one_filesystem: bool,

    /// Carry times that the target's filesystem cannot keep as it keeps them: else they end the copy
    #[arg(long)]
    allow_inexact_times: bool,

    #[command(flatten)]
    rules: Rules,

    /// Most bytes per second, such as 50MiB
    #[arg(long, value_name = "RATE", value_parser = rate)]
    bwlimit: Option<u64>,

    /// Believe no record: compare the content of every file on both sides
    #[arg(short, long)]
    checksum: bool,

    /// Afterwards read every file on both sides again and compare BLAKE3 and attributes
    #[arg(long, conflicts_with = "dry_run")]
    verify: bool,

    /// Show what would be sent and removed; touches neither tree
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Keep catching up, looking for changes this often, until Ctrl-C (or SIGTERM) asks for the last pass
    #[arg(long, value_name = "EVERY", num_args = 0..=1, require_equals = true, default_missing_value = "2s", value_parser = units_duration, conflicts_with = "dry_run")]
    watch: Option<Duration>,

    /// What makes an owner the same on both hosts
    #[arg(long, value_enum, default_value = "numbers")]
    owners: Owners,

    /// Let everything go through this machine, even where the source could reach the target itself
    #[arg(long)]
    relay: bool,

    /// Leave no record behind: the next copy compares everything again
    #[arg(long)]
    forget: bool,

    /// How to show progress and result: text, or json (one event a line)
    #[arg(long, default_value = "text", value_parser = output::formats(Topic::Progress))]
    format: Format,
}

/// What makes an owner the same on both hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Owners {
    /// The number
    Numbers,
    /// The name; unknown names keep their number
    Names,
    /// The number where the login can give it; --verify counts what could not be kept
    Drop,
}

impl From<Owners> for model::Owners {
    fn from(owners: Owners) -> Self {
        match owners {
            Owners::Numbers => Self::Numbers,
            Owners::Names => Self::Names,
            Owners::Drop => Self::Drop,
        }
    }
}

fn rate(text: &str) -> Result<u64, String> {
    units::rate(text).map_err(|bad| told(bad.why, bad.hint))
}

/// Reads a duration with its unit.
pub(super) fn units_duration(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|bad| told(bad.why, bad.hint))
}

fn told(why: &str, hint: Option<String>) -> String {
    hint.map_or_else(|| why.to_owned(), |hint| format!("{why}: {hint}"))
}

const COPY: Words = Words {
    soon: "stopping; once more ends it at once",
    at_once: "ended at once; the same command again goes on where it stopped",
};

const WATCH: Words = Words {
    soon: "one last pass; once more ends it at once",
    at_once: "ended at once; the same command again goes on where it stopped",
};

pub async fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    let copy = AdHocCopy::new(args, environment)?;
    let mut asked = signals::listen(if args.watch.is_some() { WATCH } else { COPY })?;
    let show = Show::new(args.format);
    let ended = match args.dry_run {
        true => copy.or_stopped(&mut asked, copy.preview(&show)).await,
        false => copy.carry(args, &show, &mut asked).await,
    };
    for left in copy.clean_up(args.forget, &ended).await {
        show.note(&format!("left behind: {left}"));
    }
    match ended? {
        Ended::Done => Ok(Exit::Ok),
        Ended::Stopped => {
            show.note("stopped; the same command again goes on where it stopped");
            Ok(Exit::Held)
        }
    }
}
