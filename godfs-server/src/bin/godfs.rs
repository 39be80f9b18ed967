//! The command line of GoDFS; [`godfs_client::cli`] is all of it.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Quiet unless asked: what goes wrong on the way and is mended is no business of whoever reads the output.
    if let Ok(filter) = std::env::var("GODFS_LOG") {
        godfs_server::daemon::log_to_stderr(&filter);
    }
    godfs_client::cli::main_from(std::env::args_os())
}
