//! What a client is tuned to.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::transport::TransportSettings;

/// What a client is tuned to: plain data, with defaults that work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClientSettings {
    /// How long a call to the namenode may take in all, retries included.
    pub call_timeout: Duration,
    /// How long one attempt of it may take before the next namenode is asked.
    pub attempt_timeout: Duration,
    /// How long the very first contact may take: short, since a wrong address is likelier than a namenode that restarts.
    pub first_contact_timeout: Duration,
    /// How long closing a file waits for replicas that are missing, and a call that needs a file closed for one whose writer is gone.
    pub close_timeout: Duration,
    /// How long a writer tries to go on after a datanode failed.
    pub recovery_timeout: Duration,
    /// When another datanode takes the place of one that failed in the middle of a chunk.
    pub replace_nodes: ReplaceNodes,
    /// For how long a reader leaves alone a datanode that failed it.
    pub avoid_node: Duration,
    /// After how much silence of a datanode a reader asks another one that has the bytes, and takes them from whoever answers first.
    pub read_silence: Duration,
    /// Whether, and when, a reader does so sooner.
    pub hedging: Hedging,
    /// How many of a hundred waits for bytes may be hedged at most, besides the first sixteen: so that datanodes which are all slow do not get twice the
    /// load.
    pub hedge_budget_percent: u32,
    /// Whether bytes on datanodes of this machine are read from their files.
    pub local_reads: LocalReads,
    /// The host this client runs on, as datanodes name theirs: nearby replicas are preferred. Empty when unknown.
    pub host: String,
    /// What connections are tuned to.
    pub transport: TransportSettings,
}

/// When another datanode takes the place of one that failed in the middle of a chunk. The writer goes on with those that are left in any case, and the
/// namenode repairs what has too few replicas once the chunk is finished; until then its bytes are on those nodes alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReplaceNodes {
    /// Never.
    Never,
    /// When one is left, or half of them at most.
    #[default]
    WhenSmall,
    /// Each time.
    Always,
}

impl std::str::FromStr for ReplaceNodes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "never" => Ok(Self::Never),
            "when-small" | "when_small" => Ok(Self::WhenSmall),
            "always" => Ok(Self::Always),
            _ => Err(format!("{text:?} is none of never, when-small, always")),
        }
    }
}

/// Whether bytes on datanodes of this machine are read from their files, which the datanode hands over, and not through the network. They are verified all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LocalReads {
    /// Where that is possible: on Linux, of finished replicas above the size of those that share files. Else, and on any trouble, through the network.
    #[default]
    Auto,
    /// Never.
    Never,
}

impl std::str::FromStr for LocalReads {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "never" => Ok(Self::Never),
            _ => Err(format!("{text:?} is none of auto, never")),
        }
    }
}

/// When a reader asks a second datanode for bytes that the first has not given yet, at the cost of reading them twice. It takes what comes first, and leaves
/// the other alone for two seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Hedging {
    /// Not before [`ClientSettings::read_silence`].
    #[default]
    Off,
    /// After this time.
    After(Duration),
    /// After as long as so many of a hundred of the client's latest waits took at most. Not before 32 of them are known.
    Percentile(u8),
}

impl std::str::FromStr for Hedging {
    type Err = String;

    /// `off`, milliseconds as `80ms`, seconds as `2s`, or a percentile as `p95`.
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is none of off, a time such as 80ms, a percentile such as p95");
        if text == "off" {
            return Ok(Self::Off);
        }
        if let Some(percentile) = text.strip_prefix('p') {
            let percentile = percentile.parse().ok().filter(|percentile| (1..=99).contains(percentile));
            return percentile.map(Self::Percentile).ok_or_else(refused);
        }
        let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?);
        let number = number.parse().map_err(|_| refused())?;
        match unit {
            "ms" => Ok(Self::After(Duration::from_millis(number))),
            "s" => Ok(Self::After(Duration::from_secs(number))),
            _ => Err(refused()),
        }
    }
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(10),
            first_contact_timeout: Duration::from_millis(4_500),
            close_timeout: Duration::from_secs(60),
            recovery_timeout: Duration::from_secs(60),
            replace_nodes: ReplaceNodes::default(),
            avoid_node: Duration::from_secs(30),
            read_silence: Duration::from_millis(1_500),
            hedging: Hedging::default(),
            hedge_budget_percent: 10,
            local_reads: LocalReads::default(),
            host: String::new(),
            transport: TransportSettings::default(),
        }
    }
}
