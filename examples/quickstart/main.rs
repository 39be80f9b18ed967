//! The main job, end to end: a file written to three datanodes, one of them killed, the file read back intact, the lost copies made
//! again, a flipped bit found and repaired, everything restarted from disk and read once more.
//!
//! `cargo run --release --example quickstart [FILE]`

mod steps;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use steps::Quickstart;

#[tokio::main]
async fn main() -> ExitCode {
    let file = match std::env::args_os().nth(1) {
        Some(file) => PathBuf::from(file),
        None => match std::env::current_exe() {
            Ok(program) => largest_file_near(&program),
            Err(error) => {
                eprintln!("quickstart: no FILE given, and this program can't find itself: {error}");
                return ExitCode::from(2);
            }
        },
    };
    match Quickstart::run(&file).await {
        Ok(done) => {
            println!("{}", done.table());
            println!(
                "quickstart ok sha256 {} chunks {} repaired_in {:.2} corrupt_found {}",
                done.sha256,
                done.chunks,
                done.repaired_in.as_secs_f64(),
                done.corrupt_found
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("quickstart: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The largest file beside this program, which is at least the program itself: real bytes, and always at hand.
fn largest_file_near(program: &Path) -> PathBuf {
    /// Enough for a good number of chunks, little enough for a small disk.
    const AT_MOST: u64 = 256 << 20;
    let beside = program.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    beside
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok().filter(std::fs::Metadata::is_file)?.len(), entry.path())))
        .filter(|(length, _)| *length <= AT_MOST)
        .max()
        .map_or_else(|| program.to_owned(), |(_, largest)| largest)
}
