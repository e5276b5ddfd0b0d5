//! The `migrate` program.

/// A large plan and its run are millions of small pieces: a quarter of their time went into asking the system's allocator for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    migrate::cli::main()
}
