//! Datanodes in this process, over loopback, with a namenode that only remembers.

mod fake_namenode;
mod harness;
mod pipeline;
