//! The agent: what `migrate` puts on hosts, and nothing else of it.

fn main() -> std::process::ExitCode {
    // It is started by the same words as `migrate` itself, which stands in for it where there is none.
    let mut args = std::env::args_os().skip(1).peekable();
    args.next_if(|word| word == "agent");
    std::process::ExitCode::from(migrate::copy::agent::agent_main(args))
}
