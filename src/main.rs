//! The `migrate` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // The controller starts itself on hosts with this word; it is no command for people.
    if args.next().is_some_and(|first| first == "agent") {
        return ExitCode::from(migrate::copy::agent::agent_main(args));
    }
    migrate::cli::main()
}
