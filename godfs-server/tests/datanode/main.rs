//! Datanodes in this process, over loopback, with a namenode that only remembers.

mod bad_input;
mod disk;
mod fake_namenode;
mod harness;
mod next_node;
mod orders;
mod pipeline;
mod registration;
mod small_reads;
mod whole;
