//! What an operator can set.

use std::time::Duration;

use godfs_core::cluster::{LivenessSettings, RecoverySettings, RepairSettings, SlowSettings};
use godfs_core::metadata::FjallOptions;
use godfs_core::namespace::NamespaceSettings;
use godfs_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::net::ServeSettings;

/// How a namenode behaves. Plain data with defaults that work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NamenodeSettings {
    /// What files get unless they ask, and how long a session lives.
    pub namespace: NamespaceSettings,
    /// How fast a lost datanode is noticed, and when its chunks are copied.
    pub liveness: LivenessSettings,
    /// When a datanode is called slow.
    pub slow: SlowSettings,
    /// How hard repair works.
    pub repair: RepairSettings,
    /// How patient the recovery of a file is whose writer is gone.
    pub recovery: RecoverySettings,
    /// Files that are deleted or replaced keep their chunks for so long: readers that have them open can finish. Longer delays the return of the room.
    pub reader_grace: Duration,
    /// How long a datanode has to recover, settle or delete a replica before the command is given up and given anew.
    pub command_timeout: Duration,
    /// How long a datanode has to read a whole replica and check it.
    pub verify_timeout: Duration,
    /// How many replicas one datanode checks at once when a scrub is asked for.
    pub checks_per_node: usize,
    /// How often one replica is looked at again because a client found it corrupt.
    pub recheck_interval: Duration,
    /// How long calls under way may take to end when the namenode stops.
    pub drain: Duration,
    /// The metadata store, where the namenode opens it itself.
    pub store: FjallOptions,
    /// The settings of connections.
    pub serve: ServeSettings,
}

impl Default for NamenodeSettings {
    fn default() -> Self {
        Self {
            namespace: NamespaceSettings {
                session_timeout: Duration::from_secs(30),
                lease_soft_limit: Duration::from_secs(10),
                ..NamespaceSettings::default()
            },
            liveness: LivenessSettings::default(),
            slow: SlowSettings::default(),
            repair: RepairSettings::default(),
            recovery: RecoverySettings::default(),
            reader_grace: Duration::from_secs(10),
            command_timeout: Duration::from_secs(10),
            verify_timeout: Duration::from_secs(300),
            checks_per_node: 2,
            recheck_interval: Duration::from_secs(10),
            drain: Duration::from_secs(5),
            store: FjallOptions::default(),
            serve: ServeSettings::default(),
        }
    }
}

impl NamenodeSettings {
    /// Checks every bound.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] naming the setting.
    pub fn check(&self) -> Result<()> {
        self.namespace.check()?;
        self.liveness.validate()?;
        if self.namespace.session_timeout.is_zero() || self.command_timeout.is_zero() || self.verify_timeout.is_zero() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "session_timeout, command_timeout and verify_timeout must be above 0",
            ));
        }
        let (soft, hard) = (self.namespace.lease_soft_limit, self.namespace.session_timeout);
        if soft.is_zero() || soft >= hard {
            let message = format!(
                "lease_soft_limit is {soft:?}, it must be above 0 and below session_timeout, which is {hard:?}"
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        if self.checks_per_node == 0 {
            return Err(Error::new(ErrorKind::InvalidArgument, "checks_per_node must be above 0"));
        }
        Ok(())
    }
}
