//! What people and programs get wrong, and what attackers would: each is told so clearly, nothing is lost, and others are served on.

mod attributes;
mod damage;
mod harness;
mod lies;
mod names;
mod nodes;
mod room;
mod wire;
mod writers;
