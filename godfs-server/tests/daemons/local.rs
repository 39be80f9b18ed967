//! Reading the files of datanodes on the same machine.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::PathBuf;

use godfs_client::transport::Channels;
use godfs_client::transport::hello::Identity;
use godfs_client::{Client, ClientSettings, CreateOptions, LocalReads, RemoveOptions};
use godfs_core::ErrorKind;
use godfs_core::chunk::format::{Layout, Record, Slot};
use godfs_proto::v1;
use prost::Message;
use tokio::io::AsyncWriteExt;

use crate::harness::{Daemons, Flags, noise, wait_for};

const MIB: usize = 1 << 20;

/// Chunks that have files of their own.
fn large() -> CreateOptions {
    CreateOptions::new().chunk_size(4 * MIB as u64)
}

/// The files of finished replicas, of all datanodes.
fn replicas(cluster: &Daemons) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for node in 0..cluster.datanodes.len() {
        let folder = cluster.datanode_folder(node).join("chunks/chunks/v1/finalized");
        let folder = if folder.exists() { folder } else { cluster.datanode_folder(node).join("chunks/v1/finalized") };
        for fan in std::fs::read_dir(&folder).expect("a folder") {
            let files = std::fs::read_dir(fan.expect("entry").path()).expect("a folder");
            found.extend(files.map(|file| file.expect("entry").path()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_come_from_files_and_are_verified() {
    let cluster = Daemons::start(3);
    let client = cluster.client().await;
    let data = noise(10 * MIB + 4_321, 1);
    client.put("/f", data.clone(), large()).await.expect("put");
    assert!(client.get("/f").await.expect("get") == data);
    assert_eq!(client.local_bytes_read(), data.len() as u64);
    let reader = client.reader("/f").await.expect("open");
    for (from, length) in [(0, 1), (4_095, 2), (4 * MIB - 1, 2), (10 * MIB + 4_000, 321), (5 * MIB, 70_000)] {
        assert!(reader.read_at(from as u64, length).await.expect("read") == data[from..from + length], "{from}");
    }
    // As none come that nobody may read: a frozen process is not asked.
    for node in cluster.datanodes.iter().flatten() {
        node.signal("STOP");
    }
    assert!(reader.read_at(MIB as u64, 9_000).await.expect("read") == data[MIB..MIB + 9_000]);
    for node in cluster.datanodes.iter().flatten() {
        node.signal("CONT");
    }

    let before = client.local_bytes_read();
    let mut settings = ClientSettings::default();
    settings.local_reads = LocalReads::Never;
    let never = Client::builder().namenodes(&cluster.url()).settings(settings).connect().await.expect("connect");
    assert!(never.get("/f").await.expect("get") == data);
    assert_eq!(never.local_bytes_read(), 0);

    // One replica of each chunk rots, the one that is read first among them or not: nobody sees it.
    let mut rotten = std::collections::BTreeSet::new();
    for path in replicas(&cluster) {
        let name = path.file_name().expect("a name").to_owned();
        if rotten.insert(name) {
            let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).expect("open");
            let at = Layout { capacity: 4 * MIB as u64 }.data_at(20_000);
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).expect("read");
            file.write_all_at(&[byte[0] ^ 4], at).expect("write");
        }
    }
    for client in [&client, &cluster.client().await] {
        assert!(client.get("/f").await.expect("get") == data, "rot came through");
        let reader = client.reader("/f").await.expect("open");
        assert!(reader.read_at(19_000, 2_000).await.expect("read") == data[19_000..21_000]);
    }
    assert!(client.local_bytes_read() > before);
}

/// Whatever becomes of a replica whose file a reader has, it gives what was there or says that it can't.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_given_up_when_replicas_change() {
    let cluster = Daemons::start(3);
    let (client, other) = (cluster.client().await, cluster.client().await);
    let data = noise(3 * MIB, 2);
    client.put("/f", data.clone(), large()).await.expect("put");
    let reader = client.reader("/f").await.expect("open");
    assert!(reader.read_at(0, data.len()).await.expect("read") == data);
    assert_eq!(client.local_bytes_read(), data.len() as u64);

    let mut file = other.append("/f").await.expect("append");
    file.write_all(&noise(100_000, 3)).await.expect("write");
    file.hflush().await.expect("hflush");
    assert!(reader.read_at(0, data.len()).await.expect("read on") == data, "while it is written on");
    file.close().await.expect("close");
    let whole = [data.clone(), noise(100_000, 3)].concat();
    assert!(client.get("/f").await.expect("get") == whole);

    other.truncate("/f", 2 * MIB as u64 + 7).await.expect("truncate");
    let mut file = other.append("/f").await.expect("append");
    let changed = noise(MIB, 4);
    file.write_all(&changed).await.expect("write");
    file.close().await.expect("close");
    // This one saw what was there before.
    let from = 2 * MIB + 7;
    match reader.read_at(from as u64, 50_000).await {
        Ok(bytes) => assert!(bytes == data[from..from + 50_000] || bytes == changed[..50_000], "a mixture"),
        Err(error) => assert!(matches!(error.kind(), ErrorKind::Fenced | ErrorKind::Unavailable), "{error}"),
    }
    let now = [&data[..from], &changed[..]].concat();
    assert!(client.get("/f").await.expect("get") == now);

    // A deleted replica is let go, by a reader too that reads no more.
    let open = || {
        let links = std::fs::read_dir("/proc/self/fd").expect("listed").filter_map(Result::ok);
        let links = links.filter_map(|entry| std::fs::read_link(entry.path()).ok());
        let folder = cluster.folder().to_path_buf();
        links.filter(|link| link.starts_with(&folder) && link.to_string_lossy().contains(".chunk")).count()
    };
    let fresh = cluster.client().await;
    assert!(fresh.get("/f").await.expect("get") == now);
    assert!(fresh.local_bytes_read() == now.len() as u64 && open() > 0, "files are kept open");
    client.remove("/f", RemoveOptions::new()).await.expect("remove");
    tokio::task::block_in_place(|| {
        wait_for("the files are let go", || if open() == 0 { Ok(()) } else { Err(format!("{} are open", open())) });
    });
}

/// What a process says on a datanode's socket, and what it gets.
fn ask(socket: &SocketAddr, open: &v1::LocalOpen) -> v1::LocalOpened {
    let mut stream = UnixStream::connect_addr(socket).expect("connect");
    let length = u32::try_from(open.encoded_len()).expect("small");
    stream.write_all(&[&length.to_be_bytes()[..], &open.encode_to_vec()].concat()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    v1::LocalOpened::decode(&answer[4..]).expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_a_file_without_a_grant() {
    let cluster = Daemons::start(1);
    let client = cluster.client().await;
    client.put("/f", noise(3 * MIB, 5), large()).await.expect("put");
    client.put("/small", noise(100_000, 6), large()).await.expect("put");
    let chunk = cluster.locate("/f")["chunks"][0].clone();
    let open = v1::LocalOpen {
        hello: Some(Identity::client("test").hello()),
        node: u32::try_from(chunk["replicas"][0]["node"].as_u64().expect("a node")).expect("small"),
        chunk: chunk["id"].as_u64().expect("an id"),
        generation: 1,
        grant: Default::default(),
    };
    let address = cluster.datanodes[0].as_ref().expect("running").address.parse().expect("an address");
    let mut service = Channels::tcp().chunk_service(&address).await.expect("connect");
    let request = v1::LocalSocketRequest { hello: open.hello.clone(), node: open.node };
    let name = service.local_socket(request).await.expect("answered").into_inner().name;
    let socket = SocketAddr::from_abstract_name(name).expect("a name");
    for grant in [vec![], vec![0; 32], vec![7; 31]] {
        let answer = ask(&socket, &v1::LocalOpen { grant: grant.into(), ..open.clone() });
        assert!(answer.error.is_some() && answer.replica.is_none(), "{answer:?}");
    }
    // What is too long, and what is nothing, ends there.
    for bytes in [vec![0xff; 8], vec![0, 0, 0, 3, 0xff, 0xff, 0xff], vec![]] {
        let mut stream = UnixStream::connect_addr(&socket).expect("connect");
        stream.write_all(&bytes).expect("sent");
        stream.shutdown(std::net::Shutdown::Write).expect("shut");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    // Small replicas share files, which nobody gets: the network has them.
    assert!(client.get("/small").await.expect("get") == noise(100_000, 6));
    assert_eq!(client.local_bytes_read(), 0);
    assert!(client.get("/f").await.expect("get") == noise(3 * MIB, 5));
    assert_eq!(client.local_bytes_read(), 3 * MIB as u64);
    let read = std::fs::read(&replicas(&cluster)[0]).expect("a file");
    assert!(read.chunks(512).take(8).any(|slot| matches!(Record::decode(slot), Slot::Record(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datanode_may_give_no_files() {
    let flags = Flags { datanode: vec!["--local-reads", "false"], ..Flags::default() };
    let cluster = Daemons::with(1, &flags);
    let client = cluster.client().await;
    client.put("/f", noise(3 * MIB, 8), large()).await.expect("put");
    assert!(client.get("/f").await.expect("get") == noise(3 * MIB, 8));
    assert_eq!(client.local_bytes_read(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_say_whether_reads_were_local() {
    let cluster = Daemons::start(2);
    let client = cluster.client().await;
    // A last chunk of 1 MiB or less would come through the network.
    client.put("/f", noise(6 * MIB, 7), large()).await.expect("put");
    for (words, local) in [
        (&["bench", "read", "--path", "/f"][..], true),
        (&["bench", "read", "--path", "/f", "--local", "never"][..], false),
        (&["bench", "random", "--path", "/f", "--count", "300"][..], true),
        (&["bench", "random", "--path", "/f", "--count", "300", "--local", "never"][..], false),
    ] {
        let figures = cluster.ok(&[words, &["--json"]].concat());
        let figures: serde_json::Value = serde_json::from_str(&figures).expect("JSON");
        let row = &figures[0];
        assert_eq!((&row["local"], &row["errors"]), (&local.into(), &0.into()), "{words:?}: {row}");
        assert!(row["rss_max_bytes"].as_u64().is_some_and(|bytes| bytes > MIB as u64), "{row}");
    }
}
