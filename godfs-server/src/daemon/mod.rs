//! What the daemons have in common: settings, logs, the line that says ready, signals, and the way out.
//!
//! The binaries in `src/bin` are `main` functions of a few lines over this.

pub mod config;
pub mod datanode;
mod descriptors;
pub mod dev;
mod lanes;
pub mod namenode;
mod offline;
mod print_config;
mod run;

pub use run::{LogOptions, Running, log_to_stderr, run};
