//! Rows come back as they were written, and bad bytes are refused.

use proptest::prelude::*;

use super::session::{decode_leased, encode_leased};
use super::small::{decode_garbage, decode_number};
use super::*;
use crate::id::{ClusterId, NodeUuid, SessionNumber, Version};
use crate::namespace::{ETag, Owner};
use crate::path::DfsPath;

fn inode_row(file: Option<FileRow>) -> InodeRow {
    InodeRow {
        version: Version(7),
        parent: InodeId(300),
        name: "näme".into(),
        modified_ms: u64::MAX,
        accessed_ms: 0,
        owner: Owner { user: "u".into(), group: String::new(), mode: 0o7777 },
        marks: Marks { acl: true, xattrs: file.is_some(), trashed: file.is_none() },
        kind: file.map_or(
            InodeKind::Directory { entries: 1 << 40, reach: Reach { names: u32::MAX, bytes: 7 } },
            InodeKind::File,
        ),
    }
}

fn file_row(open: Option<OpenState>) -> FileRow {
    FileRow { replication: 512, chunk_size: 1 << 32, length: 1 << 50, chunks: 1 << 34, small: open.is_none(), open }
}

fn chunk_row(state: ChunkState) -> ChunkRow {
    ChunkRow {
        version: Version(9),
        inode: InodeId(1 << 40),
        references: 1,
        generation: Generation(2),
        issued: Generation(3),
        length: 65_536,
        target: 3,
        state,
        leaving: vec![NodeId(1), NodeId(u32::MAX)],
        left_out: vec![NodeId(4)],
    }
}

#[test]
fn inodes_come_back() {
    let open = |hidden| OpenState {
        lease: LeaseId(5),
        hidden,
        thin: Some(1 << 30),
        cut: true,
        chunks: vec![(0, ChunkId(1)), (9, ChunkId(2))],
        end: 1 << 40,
    };
    let etag = ETag { inode: InodeId(4), version: Version(1 << 40) };
    let place = DfsPath::parse("/a/b/c").unwrap();
    for row in [
        inode_row(None),
        inode_row(Some(file_row(None))),
        inode_row(Some(file_row(Some(open(None))))),
        inode_row(Some(file_row(Some(open(Some(Hidden { overwrite: false, if_match: None, place: None })))))),
        inode_row(Some(file_row(Some(open(Some(Hidden { overwrite: true, if_match: Some(etag), place: None })))))),
        inode_row(Some(file_row(Some(open(Some(Hidden {
            overwrite: true,
            if_match: Some(etag),
            place: Some(place),
        })))))),
        InodeRow { kind: InodeKind::Symlink("../a".into()), ..inode_row(None) },
    ] {
        assert_eq!(InodeRow::decode(&row.encode().commit(Version(7))).unwrap(), row);
        assert_eq!(InodeRow::decode(row.encode().pending()).unwrap().version, Version::PENDING);
    }
}

#[test]
fn chunks_come_back_and_are_small() {
    let replica = |node, generation, corrupt| ReplicaRow {
        node: NodeId(node),
        generation: Generation(generation),
        length: 65_536,
        corrupt,
    };
    let committed = vec![replica(1, 2, false), replica(2, 1, true), replica(3, 2, true)];
    for state in [ChunkState::Open(vec![NodeId(3), NodeId(1)]), ChunkState::Committed(committed)] {
        let row = chunk_row(state);
        assert_eq!(ChunkRow::decode(&row.encode().commit(Version(9))).unwrap(), row);
    }
    let plain = (1..4).map(|node| replica(node, 2, false)).collect();
    let row = ChunkRow { leaving: vec![], left_out: vec![], ..chunk_row(ChunkState::Committed(plain)) };
    assert!(row.encode().pending().len() <= 32, "three replicas that agree take two bytes each");
}

#[test]
fn attributes_come_back() {
    use crate::namespace::acl::{AclRow, DefaultList, GroupClass};
    let named = |names: &[(&str, u8)]| names.iter().map(|(name, rights)| ((*name).to_owned(), *rights)).collect();
    let class = GroupClass { users: named(&[("a", 7), ("b", 0)]), group: 5, groups: named(&[("g", 4)]) };
    let default = |mask| DefaultList { owner: 7, class: class.clone(), mask, other: 1 };
    for (access, default) in [
        (Some(class.clone()), None),
        (None, Some(default(None))),
        (Some(GroupClass::default()), Some(default(Some(3)))),
    ] {
        let row = AclRow { access, default };
        assert_eq!(AclRow::decode(row.encode().pending()).unwrap(), row);
    }
}

#[test]
fn small_rows_come_back() {
    let session = SessionRow {
        version: Version(1),
        number: SessionNumber(300),
        name: "n".into(),
        opened_ms: 2,
        renewed_ms: 3,
        ended: true,
    };
    assert_eq!(SessionRow::decode(&session.encode().commit(Version(1))).unwrap(), session);
    let slot = SlotRow { version: Version(1), sequence: 9, operation: 2, outcome: vec![1, 2, 3] };
    assert_eq!(SlotRow::decode(&slot.encode().commit(Version(1))).unwrap(), slot);
    let lease = LeaseRow { session: SessionId(1), inode: InodeId(2) };
    assert_eq!(LeaseRow::decode(lease.encode().pending()).unwrap(), lease);
    assert_eq!(decode_leased(encode_leased(InodeId(3)).pending()).unwrap(), InodeId(3));
    for kind in [EntryKind::File, EntryKind::Directory, EntryKind::Symlink] {
        let entry = EntryRow { inode: InodeId(1), kind };
        assert_eq!(EntryRow::decode(entry.encode().pending()).unwrap(), entry);
    }
    let extent = ExtentRow { chunk: ChunkId(1), length: 2 };
    assert_eq!(ExtentRow::decode(extent.encode().pending()).unwrap(), extent);
    let trash = TrashRow { expires_ms: 1 << 41, deleted_ms: 1 << 40, user: "u".into(), path: "/a/b".into() };
    assert_eq!(TrashRow::decode(trash.encode().pending()).unwrap(), trash);
    for (names, space) in [(Some(0), None), (None, Some(u64::MAX)), (Some(1), Some(2))] {
        let quota = QuotaRow(crate::namespace::Quota { names, space });
        assert_eq!(QuotaRow::decode(quota.encode().pending()).unwrap(), quota);
    }
    let node = NodeRow { uuid: NodeUuid::from_random(1), address: "h:1".into(), domain: "/d".into() };
    assert_eq!(NodeRow::decode(node.encode().pending()).unwrap(), node);
    let store = StoreRow { format: 1, cluster: ClusterId::from_random(1), superuser: "hdfs".into() };
    assert_eq!(StoreRow::decode(store.encode().pending()).unwrap(), store);
}

proptest! {
    #[test]
    fn bad_bytes_are_refused_and_nothing_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), first in 0..3_u8) {
        if let Some(format) = bytes.first_mut() {
            *format = first;
        }
        let _ = InodeRow::decode(&bytes);
        let _ = ChunkRow::decode(&bytes);
        let _ = SessionRow::decode(&bytes);
        let _ = SlotRow::decode(&bytes);
        let _ = LeaseRow::decode(&bytes);
        let _ = EntryRow::decode(&bytes);
        let _ = ExtentRow::decode(&bytes);
        let _ = NodeRow::decode(&bytes);
        let _ = (QuotaRow::decode(&bytes), TrashRow::decode(&bytes));
        let _ = StoreRow::decode(&bytes);
        let _ = (crate::namespace::acl::AclRow::decode(&bytes).is_ok(), attributes::decode_xattr(&bytes).is_ok());
        let _ = (decode_leased(&bytes), decode_garbage(&bytes), decode_number(&bytes));
        let mut key = keys::KeyReader::new(&bytes);
        let _ = key.as_mut().map(|key| (key.u32().is_ok(), key.u64().is_ok()));
    }

    #[test]
    fn a_row_with_one_bit_flipped_never_panics(byte in 0..60_usize, bit in 0..8_u8) {
        let open = OpenState { lease: LeaseId(5), hidden: None, thin: None, cut: false, chunks: vec![(0, ChunkId(1))], end: 9 };
        let rows = [
            inode_row(Some(file_row(Some(open)))).encode().commit(Version(1)),
            chunk_row(ChunkState::Open(vec![NodeId(1)])).encode().commit(Version(1)),
        ];
        for mut row in rows {
            let at = byte % row.len();
            row[at] ^= 1 << bit;
            let _ = (InodeRow::decode(&row), ChunkRow::decode(&row));
            row.truncate(at);
            prop_assert!(InodeRow::decode(&row).is_err() && ChunkRow::decode(&row).is_err());
        }
    }
}
