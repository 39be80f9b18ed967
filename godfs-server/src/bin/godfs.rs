//! The command line of GoDFS; [`godfs_client::cli`] is all of it.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    godfs_client::cli::main_from(std::env::args_os())
}
