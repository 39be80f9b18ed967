//! The in-process cluster as other people's tests use it.

use godfs_client::CreateOptions;
use godfs_server::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_cluster_in_mid_write_leaves_no_file_and_no_port() {
    let cluster = Cluster::builder().datanodes(3).start().await.expect("cluster");
    let folder = cluster.folder().to_owned();
    let addresses: Vec<_> = (0..3).filter_map(|index| cluster.datanode_address(index)).collect();
    let client = cluster.client();
    let options = CreateOptions::default().chunk_size(1 << 20);
    let writing = tokio::spawn(async move { client.put("/cut-off", vec![7; 64 << 20], options).await });
    while std::fs::read_dir(folder.join("datanode-0/chunks")).map_or(0, Iterator::count) == 0 {
        tokio::task::yield_now().await;
    }
    drop(cluster);
    writing.abort();
    let gone = async {
        while folder.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        for address in addresses {
            while tokio::net::TcpStream::connect(&address).await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), gone).await.expect("nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_in_a_folder_comes_back_with_its_files() {
    let folder = tempfile::tempdir().expect("folder");
    let first = Cluster::builder().datanodes(2).folder(folder.path()).start().await.expect("first life");
    let data = vec![3; 3 << 20];
    first.client().put("/kept", data.clone(), CreateOptions::default().replication(2)).await.expect("put");
    first.stop().await.expect("stop");
    let second = Cluster::builder().datanodes(2).folder(folder.path()).start().await.expect("second life");
    assert!(second.client().get("/kept").await.expect("get") == data);
}
