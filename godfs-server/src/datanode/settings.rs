//! The settings of a datanode.

use godfs_client::transport::TransportSettings;
use serde::{Deserialize, Serialize};

use crate::net::ServeSettings;

/// The settings of a datanode: plain data with defaults that work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatanodeSettings {
    /// Reads and writes being served at a time. Default 1,024.
    pub max_streams: usize,
    /// When all are in use, the one that has not moved for the longest gives way to a new one, if that is for at least so many
    /// milliseconds. Default two minutes.
    pub idle_stream_ms: u64,
    /// Bytes that the packets of all streams may take, besides one packet for each stream. Default 64 MiB.
    pub stream_memory_bytes: u64,
    /// Whether reads are checked against their checksums here too, and not only by the client. Default no.
    pub verify_reads: bool,
    /// Whether readers on the same machine may have the files of finished replicas, and read them by themselves.
    pub local_reads: bool,
    /// Replicas of which the writer says that they will have at most so many bytes share files, up to 1 MiB; 0: every replica has a file of
    /// its own. What is there already stays where it is. Not used with a given store. Default 1 MiB.
    pub small_replica_bytes: u64,
    /// Milliseconds that a caller may take between opening a stream and its first message. Default 10,000.
    pub first_message_ms: u64,
    /// Commands of a namenode carried out at a time, copies not counted. Default 8.
    pub command_workers: usize,
    /// Copies to other nodes at a time. Default 4.
    pub copies: usize,
    /// Bytes a second that all copies together may send; 0 for no bound. Default 100 MiB.
    pub copy_bytes_per_second: u64,
    /// Within how many milliseconds the scrubber reads every replica. Default three weeks.
    pub scrub_period_ms: u64,
    /// Bytes a second that scrubbing may read at most. Default 32 MiB.
    pub scrub_bytes_per_second: u64,
    /// Replicas written less than so many milliseconds ago are left to the next round. Default one hour.
    pub scrub_skip_recent_ms: u64,
    /// What is told of how long other nodes take goes back at least so many milliseconds, and less than twice as many. Default 30,000.
    pub peer_span_ms: u64,
    /// The shortest and the longest pause, in milliseconds, before a namenode is tried again. Default 100 and 5,000.
    pub reconnect_min_ms: u64,
    /// See [`DatanodeSettings::reconnect_min_ms`].
    pub reconnect_max_ms: u64,
    /// A refusal that may pass by itself, such as that of a folder whose node seems to be live elsewhere, counts as final to
    /// [`ready`](super::Datanode::ready) when it has lasted for so many milliseconds: several times what a namenode takes to notice
    /// that a node is gone. Default 30,000.
    pub refused_ms: u64,
    /// How many milliseconds [`stop`](super::Datanode::stop) lets streams end. Default 10,000.
    pub drain_ms: u64,
    /// The connections that come in.
    pub serve: ServeSettings,
    /// The connections that go out.
    pub transport: TransportSettings,
}

impl Default for DatanodeSettings {
    fn default() -> Self {
        Self {
            max_streams: 1_024,
            idle_stream_ms: 120_000,
            stream_memory_bytes: 64 << 20,
            verify_reads: false,
            local_reads: true,
            small_replica_bytes: 1 << 20,
            first_message_ms: 10_000,
            command_workers: 8,
            copies: 4,
            copy_bytes_per_second: 100 << 20,
            scrub_period_ms: 21 * 24 * 3_600 * 1_000,
            scrub_bytes_per_second: 32 << 20,
            scrub_skip_recent_ms: 3_600 * 1_000,
            peer_span_ms: 30_000,
            reconnect_min_ms: 100,
            reconnect_max_ms: 5_000,
            refused_ms: 30_000,
            drain_ms: 10_000,
            serve: ServeSettings::default(),
            transport: TransportSettings::default(),
        }
    }
}
