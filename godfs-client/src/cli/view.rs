//! The shapes of `--json`: what scripts rely on. Fields may be added, never renamed or removed.

use serde::Serialize;

/// A file or directory: `stat`, `ls`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) name: String,
    /// `file`, `directory` or `symlink`.
    pub(super) kind: &'static str,
    pub(super) length: u64,
    pub(super) replication: u32,
    pub(super) chunk_size: u64,
    pub(super) modified_ms: u64,
    pub(super) accessed_ms: u64,
    pub(super) inode: u64,
    pub(super) version: u64,
    /// Inode and version: what `put --if-match` takes.
    pub(super) etag: String,
    /// Whether a writer has it open.
    pub(super) open: bool,
    pub(super) user: String,
    pub(super) group: String,
    /// Four octal digits.
    pub(super) mode: String,
    /// Whether there is an access control list that says more than the mode.
    pub(super) acl: bool,
    /// Where a symbolic link leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<String>,
    /// Where a file lies: `ls --locations`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) chunks: Option<Vec<Chunk>>,
}

/// Something that happened: `watch`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Change {
    /// `created`, `made_directory`, `linked`, `opened`, `closed`, `renamed`, `exchanged`, `removed`, `attributes`, `truncated` or `concatenated`.
    pub(super) change: &'static str,
    /// At the time of the change.
    pub(super) path: String,
    /// `file`, `directory` or `symlink`.
    pub(super) kind: &'static str,
    pub(super) inode: u64,
    pub(super) time_ms: u64,
    /// What `--from` takes to go on behind it.
    pub(super) place: String,
    /// Bytes of a file, where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) length: Option<u64>,
    /// The new path, or that of the other one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<String>,
    /// Where a symbolic link leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) target: Option<String>,
    /// `owner`, `mode`, `times`, `replication`, `xattr`, `acl` or `quota`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attribute: Option<&'static str>,
}

/// Access control lists: `getfacl`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Acl {
    pub(super) path: String,
    pub(super) user: String,
    pub(super) group: String,
    /// Four octal digits.
    pub(super) mode: String,
    pub(super) entries: Vec<String>,
}

/// Extended attributes: `getfattr`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Xattrs {
    pub(super) path: String,
    pub(super) attributes: Vec<Xattr>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Xattr {
    pub(super) name: String,
    /// Where it is UTF-8.
    pub(super) value: Option<String>,
    pub(super) base64: String,
}

/// Where a file lies: `locate`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Located {
    pub(super) path: String,
    pub(super) length: u64,
    pub(super) replication: u32,
    pub(super) chunks: Vec<Chunk>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Chunk {
    pub(super) id: u64,
    pub(super) offset: u64,
    pub(super) generation: u64,
    pub(super) length: u64,
    pub(super) replicas: Vec<Replica>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Replica {
    pub(super) node: u32,
    /// `null` when the datanode has never registered.
    pub(super) address: Option<String>,
    /// `rbw`, `rwr`, `finalized`, `temporary` or `corrupt`.
    pub(super) state: &'static str,
    pub(super) live: bool,
}

/// The state of the cluster: `report`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) cluster_id: String,
    pub(super) incarnation: String,
    pub(super) version: u64,
    pub(super) software: String,
    pub(super) uptime_ms: u64,
    pub(super) complete: bool,
    pub(super) live_datanodes: u32,
    pub(super) dead_datanodes: u32,
    pub(super) files: u64,
    pub(super) directories: u64,
    pub(super) open_files: u64,
    pub(super) chunks: u64,
    pub(super) bytes: u64,
    pub(super) replicated_bytes: u64,
    pub(super) under_replicated: u64,
    pub(super) missing: u64,
    pub(super) corrupt: u64,
    pub(super) over_replicated: u64,
    pub(super) repairing: u64,
    pub(super) pending_deletes: u64,
    pub(super) capacity_bytes: u64,
    pub(super) used_bytes: u64,
    pub(super) available_bytes: u64,
    pub(super) nodes: Vec<Node>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Node {
    pub(super) id: u32,
    pub(super) address: String,
    pub(super) domain: String,
    /// `live`, `suspected`, `dead` or `expected`.
    pub(super) state: &'static str,
    pub(super) draining: bool,
    pub(super) capacity_bytes: u64,
    pub(super) used_bytes: u64,
    pub(super) available_bytes: u64,
    pub(super) load: u32,
    pub(super) silent_ms: u64,
    pub(super) replicas: u64,
    pub(super) quarantined: u64,
    pub(super) unknown_files: u64,
    pub(super) scrub: NodeScrub,
    pub(super) volumes: Vec<Volume>,
    /// Why it is called slow; `null` where it is not.
    pub(super) slow: Option<Slow>,
}

/// How slow a datanode is.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Slow {
    /// Microseconds that a packet takes it, by the median of what its peers tell, and the median of the other nodes.
    pub(super) micros: u64,
    pub(super) peers_micros: u64,
    /// How many told of it.
    pub(super) witnesses: u32,
}

/// One disk of a datanode.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Volume {
    pub(super) path: String,
    pub(super) capacity_bytes: u64,
    pub(super) used_bytes: u64,
    pub(super) available_bytes: u64,
    /// Why it is out of use; `null` while it is not.
    pub(super) failure: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct NodeScrub {
    pub(super) rounds: u64,
    pub(super) checked: u64,
    pub(super) total: u64,
    pub(super) corrupt: u64,
}

/// The room of the cluster: `df`.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Room {
    pub(super) capacity_bytes: u64,
    pub(super) used_bytes: u64,
    pub(super) available_bytes: u64,
}

/// The room that a file or directory takes: `du`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Usage {
    pub(super) path: String,
    pub(super) bytes: u64,
    /// The same, times the replicas of each file.
    pub(super) replicated_bytes: u64,
    pub(super) files: u64,
    pub(super) directories: u64,
}

/// A file that is being written: `open-files`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct OpenFile {
    pub(super) inode: u64,
    /// `null` where it has none.
    pub(super) path: Option<String>,
    pub(super) length: u64,
    /// `null`, and so is `client`, where the namenode recovers the file.
    pub(super) session: Option<u64>,
    pub(super) client: Option<String>,
    /// For how long nothing was heard of that client, milliseconds.
    pub(super) silent_ms: Option<u64>,
}

/// A symbolic link: `readlink`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Link {
    pub(super) path: String,
    pub(super) target: String,
}

/// An item of the trash: `trash list`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct TrashItem {
    pub(super) id: String,
    pub(super) path: String,
    pub(super) original: String,
    pub(super) kind: &'static str,
    pub(super) user: String,
    pub(super) deleted_ms: u64,
    pub(super) expires_ms: u64,
    pub(super) bytes: u64,
    pub(super) files: u64,
    pub(super) directories: u64,
}

impl TrashItem {
    pub(super) fn new(item: &crate::TrashItem) -> Self {
        Self {
            id: item.path.name().unwrap_or_default().to_owned(),
            path: item.path.to_string(),
            original: item.original.to_string(),
            kind: super::stat::kind_name(item.kind),
            user: item.user.clone(),
            deleted_ms: item.deleted_ms,
            expires_ms: item.expires_ms,
            bytes: item.bytes,
            files: item.files,
            directories: item.directories,
        }
    }
}

/// Where an item of the trash is now: `trash restore`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Restored {
    pub(super) item: String,
    pub(super) path: String,
}

/// What a directory may hold, and does: `quota show`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct QuotaUse {
    pub(super) path: String,
    pub(super) names: u64,
    pub(super) names_quota: Option<u64>,
    /// Times replicas.
    pub(super) bytes: u64,
    pub(super) bytes_quota: Option<u64>,
}

/// The checksum of a file: `checksum`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Checksum {
    pub(super) path: String,
    pub(super) length: u64,
    /// `crc32c`.
    pub(super) algorithm: &'static str,
    /// Eight hexadecimal digits.
    pub(super) checksum: String,
}

/// What a backup holds: `admin backup`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Backup {
    pub(super) cluster_id: String,
    pub(super) version: u64,
    pub(super) rows: u64,
    /// The length of the file.
    pub(super) bytes: u64,
    pub(super) files: u64,
    pub(super) directories: u64,
    pub(super) chunks: u64,
}

/// What a scrub found: `admin scrub`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Scrubbed {
    pub(super) path: String,
    pub(super) checked: u64,
    pub(super) total: u64,
    pub(super) bytes: u64,
    pub(super) corrupt: u64,
    pub(super) failed: u64,
    pub(super) findings: Vec<String>,
}

/// One measured phase: `bench`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    pub(super) name: String,
    pub(super) ops: u64,
    pub(super) bytes: u64,
    pub(super) seconds: f64,
    pub(super) per_second: f64,
    /// Millions of bytes a second.
    pub(super) mb_per_second: f64,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
    pub(super) max_us: u64,
    pub(super) errors: u64,
    /// User and system time of this process.
    pub(super) cpu_seconds: f64,
    /// User and system time of this process and of all daemons of the cluster; left out unless all run on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_all_seconds: Option<f64>,
    /// The same for each 2^30 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_all_per_gib: Option<f64>,
    /// Whether what changed was on disk when it was answered; left out where nothing changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) synced: Option<bool>,
    /// Whether all bytes of chunks came from files of this machine's datanodes; left out where none were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) local: Option<bool>,
    /// The most memory that this process ever had resident, bytes; 0 where the system does not say.
    pub(super) rss_max_bytes: u64,
    /// The most memory that any of the daemons ever had resident, where they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) daemon_rss_max_bytes: Option<u64>,
    /// What the stream moved that moved least, and what the one that moved most; left out where there are no streams that are told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) least_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) most_bytes: Option<u64>,
    /// Where it worked.
    pub(super) path: String,
}

/// An entry for tests.
#[cfg(test)]
pub(super) fn sample() -> Entry {
    Entry {
        path: "/a".into(),
        name: "a".into(),
        kind: "file",
        length: 5,
        replication: 3,
        chunk_size: 128 << 20,
        modified_ms: 1_767_225_600_000,
        accessed_ms: 1_767_225_600_000,
        inode: 7,
        version: 9,
        etag: "7-9".into(),
        open: false,
        user: "alice".into(),
        group: "staff".into(),
        mode: "0644".into(),
        target: None,
        acl: false,
        chunks: None,
    }
}

/// A report for tests.
#[cfg(test)]
pub(super) fn sample_report() -> Report {
    Report {
        cluster_id: "c".into(),
        incarnation: "i".into(),
        version: 1,
        software: "godfs 0.1.0".into(),
        uptime_ms: 61_000,
        complete: true,
        live_datanodes: 1,
        dead_datanodes: 1,
        files: 4,
        directories: 5,
        open_files: 0,
        chunks: 6,
        bytes: 7,
        replicated_bytes: 21,
        under_replicated: 2,
        missing: 0,
        corrupt: 0,
        over_replicated: 0,
        repairing: 2,
        pending_deletes: 0,
        capacity_bytes: 100,
        used_bytes: 21,
        available_bytes: 79,
        nodes: vec![Node {
            id: 3,
            address: "127.0.0.1:4801".into(),
            domain: "/dc1/rack7".into(),
            state: "suspected",
            draining: false,
            capacity_bytes: 100,
            used_bytes: 21,
            available_bytes: 79,
            load: 0,
            silent_ms: 1_250,
            replicas: 6,
            quarantined: 0,
            unknown_files: 0,
            scrub: NodeScrub::default(),
            volumes: vec![Volume {
                path: "/disk1".into(),
                capacity_bytes: 100,
                used_bytes: 21,
                available_bytes: 79,
                failure: None,
            }],
            slow: None,
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of the fields of an object, in their order.
    fn keys(value: &impl Serialize) -> String {
        let text = serde_json::to_string(value).expect("JSON");
        let value: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).expect("an object");
        value.keys().map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn located_is_as_documented() {
        let replica = Replica { node: 2, address: Some("127.0.0.1:4801".into()), state: "finalized", live: true };
        let chunk = Chunk { id: 5, offset: 0, generation: 1, length: 3, replicas: vec![replica] };
        let located = Located { path: "/a".into(), length: 3, replication: 1, chunks: vec![chunk] };
        assert_eq!(
            serde_json::to_string(&located).expect("JSON"),
            r#"{"path":"/a","length":3,"replication":1,"chunks":[{"id":5,"offset":0,"generation":1,"length":3,"#
                .to_owned()
                + r#""replicas":[{"node":2,"address":"127.0.0.1:4801","state":"finalized","live":true}]}]}"#
        );
    }

    #[test]
    fn entries_keep_their_fields() {
        assert_eq!(
            keys(&sample()),
            "accessed_ms acl chunk_size etag group inode kind length mode modified_ms name open path replication user version"
        );
        let link = Entry { target: Some("/b".into()), ..sample() };
        assert!(keys(&link).contains(" target "));
    }

    #[test]
    fn reports_keep_their_fields() {
        assert_eq!(
            keys(&sample_report()),
            "available_bytes bytes capacity_bytes chunks cluster_id complete corrupt dead_datanodes directories files \
             incarnation live_datanodes missing nodes open_files over_replicated pending_deletes repairing \
             replicated_bytes software under_replicated uptime_ms used_bytes version"
        );
        assert_eq!(
            keys(&sample_report().nodes[0]),
            "address available_bytes capacity_bytes domain draining id load quarantined replicas scrub silent_ms slow state \
             unknown_files used_bytes volumes"
        );
        assert_eq!(
            keys(&sample_report().nodes[0].volumes[0]),
            "available_bytes capacity_bytes failure path used_bytes"
        );
        assert_eq!(keys(&Slow::default()), "micros peers_micros witnesses");
        assert_eq!(keys(&NodeScrub::default()), "checked corrupt rounds total");
    }

    #[test]
    fn the_other_objects_keep_their_fields() {
        let name = String::new;
        let acl = Acl { path: name(), user: name(), group: name(), mode: name(), entries: Vec::new() };
        assert_eq!(keys(&acl), "entries group mode path user");
        let xattr = Xattr { name: name(), value: None, base64: name() };
        assert_eq!(keys(&xattr), "base64 name value");
        assert_eq!(keys(&Xattrs { path: name(), attributes: vec![xattr] }), "attributes path");
        let room = Room { capacity_bytes: 1, used_bytes: 1, available_bytes: 0 };
        assert_eq!(keys(&room), "available_bytes capacity_bytes used_bytes");
        let usage = Usage { path: "/".into(), bytes: 0, replicated_bytes: 0, files: 0, directories: 1 };
        assert_eq!(keys(&usage), "bytes directories files path replicated_bytes");
        let checksum = Checksum { path: "/".into(), length: 0, algorithm: "crc32c", checksum: "00000000".into() };
        assert_eq!(keys(&checksum), "algorithm checksum length path");
    }
}
