//! `--include` and `--exclude`, in the order in which they stand.

use clap::{Arg, ArgAction, ArgMatches, Command};

/// Patterns as the copy engine takes them: the first that matches decides.
#[derive(Debug, Default)]
pub struct Rules(pub Vec<String>);

impl clap::Args for Rules {
    fn augment_args(command: Command) -> Command {
        let pattern = |name: &'static str| Arg::new(name).long(name).value_name("PATTERN").action(ArgAction::Append);
        command
            .arg(
                pattern("exclude")
                    .help("Leave out what matches, as rsync does: neither sent nor removed on the target"),
            )
            .arg(pattern("include").help("Keep what matches, though a later --exclude does, too"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Rules {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut rules = Vec::new();
        for (name, sign) in [("exclude", ""), ("include", "+ ")] {
            let values = matches.get_many::<String>(name).into_iter().flatten();
            let places = matches.indices_of(name).into_iter().flatten();
            rules.extend(places.zip(values.map(|value| format!("{sign}{value}"))));
        }
        rules.sort_unstable();
        Ok(Self(rules.into_iter().map(|(_, rule)| rule).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
