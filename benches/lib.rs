//! What the benches of GoDFS share: daemons as processes, runtimes, and rows of figures. The criterion benches are files in `benches/`.

pub mod daemons;
pub mod lanes;
pub mod rows;
