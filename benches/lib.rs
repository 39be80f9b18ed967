//! The criterion benches of GoDFS; each is a file in `benches/`.
