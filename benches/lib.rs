//! What the benches of GoDFS share: daemons as processes, and rows of figures. The criterion benches are files in `benches/`.

pub mod daemons;
pub mod rows;
