//! The runnable examples of GoDFS: `cargo run --release --example quickstart`.
