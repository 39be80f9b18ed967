//! The real thing: daemons as processes, gRPC on loopback, and SIGKILL at every moment of a file's life.

mod abuse;
mod appending;
mod backups;
mod dying;
mod following;
mod frames;
mod harness;
mod healing;
mod joining;
mod kills;
mod life;
mod local;
mod objects;
mod owned;
mod random;
mod restarting;
mod segments;
mod silent;
mod soak;
mod stalling;
mod steps;
mod truncating;
mod volumes;
mod watching;
