use godfs_core::metadata::MemoryStore;
use godfs_core::namespace::NamespaceSettings;
use godfs_core::{Incarnation, env::Env};

use super::*;

/// Entries as a namespace gives them.
async fn entries(count: usize) -> Vec<ListEntry> {
    let store = Arc::new(MemoryStore::new(Incarnation::from_random(1)));
    let namespace = Namespace::new(store, NamespaceSettings::default(), Env::system()).expect("settings");
    let owner = godfs_core::namespace::Owner { user: "user".into(), group: "group".into(), mode: 0o755 };
    namespace.initialize(owner).await.expect("initialized");
    let session = namespace.open_session("test".to_owned()).await.expect("session");
    let call = godfs_core::namespace::Call { session, slot: 0, sequence: 1 };
    namespace.mkdir(call, DfsPath::parse("/d").expect("path"), Default::default()).await.expect("mkdir");
    let one = namespace.list(DfsPath::root(), String::new(), 10).await.expect("list").remove(0);
    (0..count).map(|number| ListEntry { name: format!("{number:0>200}"), ..one.clone() }).collect()
}

#[tokio::test]
async fn listings_that_nobody_reads_get_smaller_and_wait_for_nobody() {
    let memory = ListMemory::default();
    let all = entries(1_000).await;
    let bytes: usize = all.iter().map(bytes_of).sum();
    let mut held = Vec::new();
    for _ in 0..256 {
        let mut page = all.clone();
        let size = memory.fitting(page.len());
        page.truncate(size);
        held.push((memory.take(&mut page), page.len()));
    }
    let large = held.iter().filter(|(taken, _)| taken.is_some()).count();
    assert_eq!(held.iter().filter(|(_, kept)| *kept == 1_000).count(), WAITING_BYTES / bytes);
    let in_all: usize = held.iter().map(|(_, kept)| kept * bytes_of(&all[0])).sum();
    assert!(in_all <= WAITING_BYTES + 256 * SMALL_PAGE * bytes_of(&all[0]), "{in_all}");
    assert!(large >= WAITING_BYTES / bytes && held.iter().all(|(_, kept)| *kept >= SMALL_PAGE));
    held.clear();
    assert_eq!(memory.fitting(MAX_PAGE), MAX_PAGE, "all is given back");
}
