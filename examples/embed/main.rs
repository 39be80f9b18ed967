//! A cluster inside a program: a file is written to three datanodes and read back.

use godfs_client::CreateOptions;
use godfs_server::Cluster;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A namenode and three datanodes on free loopback ports, in a temporary folder that goes with it.
    let cluster = Cluster::builder().datanodes(3).start().await?;
    let client = cluster.client();

    let mut file = client.create("/hello.txt", CreateOptions::default()).await?;
    file.write_all(b"hello, replicas").await?;
    file.close().await?; // complete, and on the disks of at least two datanodes

    let mut file = client.open("/hello.txt").await?;
    file.seek(std::io::SeekFrom::Start(7)).await?;
    let mut text = String::new();
    file.read_to_string(&mut text).await?;
    assert_eq!(text, "replicas");
    println!("read back from {}: {text}", cluster.url());
    Ok(())
}
