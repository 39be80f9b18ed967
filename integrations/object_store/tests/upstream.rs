//! What the authors of `object_store` expect of a store: all their functions, against both versions of the trait.

#[macro_use]
#[path = "upstream/suite.rs"]
mod suite;

use godfs_object_store::GodfsStore;
use godfs_server::Cluster;

/// A store of its own in a cluster of its own.
async fn start() -> (Cluster, GodfsStore) {
    let cluster = Cluster::builder().datanodes(3).start().await.expect("done");
    let store = GodfsStore::new(cluster.client(), "/lake").expect("done");
    (cluster, store)
}

macro_rules! in_process {
    ($version:ident: $($name:ident),* $(,)?) => {
        mod $version {
            $(
                #[tokio::test]
                async fn $name() {
                    let (_cluster, store) = super::start().await;
                    super::suite::$version::$name(&store).await;
                    super::suite::nothing_is_left_below(&store).await;
                }
            )*
        }
    };
}

every_function!(in_process);
