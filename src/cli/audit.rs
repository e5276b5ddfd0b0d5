//! `migrate audit`: whether a run's records are what they were, and what they say.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::failure::advised;
use super::output;
use super::{Exit, runs};
use crate::audit::{self, AuditKey, PublicKey, Question, Report};
use crate::journal::JournalError;
use crate::render::{Format, Show, Style, Topic};
use crate::store::{self, StoreError};
use crate::text;

/// Arguments of `migrate audit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one of them in a process")]
enum Command {
    /// Find records that were altered, removed, reordered, cut off or sealed anew since they were written
    #[command(after_help = "\
Without --since it cannot be excluded that somebody who can read the audit key cut the run off or sealed it anew; it says so.

Examples:
  migrate audit verify uploads-to-fra-1
  migrate audit verify uploads-to-fra-1 --since /mnt/audit/checkpoints
  journalctl -t migrate -o cat | migrate audit verify uploads-to-fra-1 --since /dev/stdin --key ed25519:4f1c…

Exit codes: 0 intact, 1 not intact or not comparable.")]
    Verify {
        /// Name of a run, or of a plan for its newest run
        run: String,

        /// Checkpoints that were copied elsewhere, one a line, anything before them
        #[arg(long, value_name = "FILE")]
        since: Option<PathBuf>,

        /// The public key that must have signed, as `migrate audit key` printed it, once for each machine that had the run; else that of this
        /// state directory
        #[arg(long, value_name = "PUBLIC")]
        key: Vec<PublicKey>,

        /// How to show it
        #[arg(long, default_value = "text", value_parser = output::formats(Topic::Report))]
        format: Format,
    },
    /// Print every act of a run as a line of JSON: operator, hosts, command, time, result
    #[command(
        after_help = "Example: migrate audit export uploads-1 | jq -r 'select(.act == \"approved\") | [.at, .operator.user, .step] | @tsv'"
    )]
    Export {
        /// Name of a run, or of a plan for its newest run
        run: String,
    },
    /// Print the public key that signs checkpoints; keep it where this machine cannot change it
    #[command(after_help = "Example: migrate audit key")]
    Key,
}

pub fn run(args: &Args, environment: &Environment) -> anyhow::Result<Exit> {
    match &args.command {
        Command::Verify { run, since, key, format } => verify(run, since.as_deref(), key, *format, environment),
        Command::Export { run } => export(run, environment),
        Command::Key => {
            let key = public_key(environment)?.ok_or_else(|| {
                advised("there is no audit key yet", "the first `migrate apply` on this state directory makes it")
            })?;
            output::print(&format!("{key}\n"))?;
            Ok(Exit::Ok)
        }
    }
}

fn public_key(environment: &Environment) -> anyhow::Result<Option<PublicKey>> {
    Ok(AuditKey::load(&environment.state_dir)?.map(|key| key.public()))
}

/// Compares a run with what was sealed of it; `None` where nobody knows whose signatures to expect.
pub(super) fn report_of(
    environment: &Environment,
    run: &str,
    keys: &[PublicKey],
    outside: Option<&[u8]>,
) -> anyhow::Result<Option<Report>> {
    let store = environment.store.as_ref();
    // Asked first: a controller that comes to its end meanwhile must not make the end of its run look unsealed.
    let live = store.is_live(run);
    let checkpoints = store.checkpoints(run).map_err(unreadable)?;
    let expected = match keys {
        [] => Vec::from_iter(public_key(environment)?),
        keys => keys.to_vec(),
    };
    if expected.is_empty() {
        return Ok(None);
    }
    // Last: it only grows, and what the checkpoints seal must be in it.
    let bytes = store.journal(run, 0).map_err(unreadable)?;
    Ok(Some(audit::verify(&Question {
        run,
        journal: &bytes,
        chunks: store.chunks(run).as_ref(),
        checkpoints: &checkpoints,
        expected: &expected,
        outside,
        live,
    })))
}

fn verify(
    run: &str,
    since: Option<&Path>,
    keys: &[PublicKey],
    format: Format,
    environment: &Environment,
) -> anyhow::Result<Exit> {
    // Also where its beginning cannot be read: then by its name.
    let found = runs::find(environment, run).map_or_else(|_| run.to_owned(), |found| found.name);
    let outside = since.map(|path| std::fs::read(path).map_err(|e| unreadable_file(path, &e))).transpose()?;
    let Some(report) = report_of(environment, &found, keys, outside.as_deref())? else {
        return Err(advised(
            "this state directory has no audit key, so it is not known whose signatures to expect",
            "give the one that `migrate audit key` printed where the run was made: --key ed25519:…",
        ));
    };
    output::show(format, &report, environment.style(false))?;
    Ok(if report.intact { Exit::Ok } else { Exit::Error })
}

fn unreadable(error: StoreError) -> anyhow::Error {
    match error {
        StoreError::Journal(JournalError::Io { path, source }) => unreadable_file(Path::new(&path), &source),
        other => other.into(),
    }
}

fn unreadable_file(path: &Path, error: &std::io::Error) -> anyhow::Error {
    advised(format!("{} cannot be read: {error}", path.display()), "without it nothing can be compared")
}

impl Show for Report {
    fn text(&self, _: Style) -> String {
        describe(self)
    }
}

fn describe(report: &Report) -> String {
    let mut out = String::new();
    let counts = [text::count(report.records, "record"), text::count(report.checkpoints, "checkpoint")];
    let _ = writeln!(out, "run {}: {}, expected of {}", report.run, text::list(&counts), report.key);
    if let (Some(to), Some(at)) = (report.sealed_to, report.sealed_at) {
        let _ = writeln!(out, "  sealed up to record {to} at {}", at.strftime("%Y-%m-%d %H:%M:%S UTC"));
    }
    if let Some(outside) = report.outside {
        let to = outside.sealed_to.map(|to| format!(", the newest at record {to}")).unwrap_or_default();
        let _ = writeln!(out, "  compared with {}{to}", text::count(outside.checkpoints, "copied checkpoint"));
    }
    for note in &report.notes {
        let _ = writeln!(out, "  note: {note}");
    }
    match report.intact {
        true => out.push_str("intact: no sealed record was altered, removed, moved or cut off\n"),
        false => {
            let _ = writeln!(out, "NOT INTACT:");
            for finding in &report.findings {
                let _ = writeln!(out, "  - {finding}");
            }
        }
    }
    for what in &report.not_excluded {
        let _ = writeln!(out, "not excluded: {what}");
    }
    out
}

fn export(run: &str, environment: &Environment) -> anyhow::Result<Exit> {
    let run = runs::find(environment, run)?;
    let mut lines = String::new();
    let records = store::records(environment.store.as_ref(), &run.name)?;
    let graph = store::graph(environment.store.as_ref(), &run.name, &records)?;
    for act in audit::acts(&records, &graph) {
        lines.push_str(&serde_json::to_string(&act)?);
        lines.push('\n');
    }
    output::print(&lines)?;
    Ok(Exit::Ok)
}
