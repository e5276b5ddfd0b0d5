//! The `migrate` program.

fn main() -> std::process::ExitCode {
    migrate::cli::main()
}
