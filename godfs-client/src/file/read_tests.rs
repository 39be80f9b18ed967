//! Reading, and replicas that fail in the middle of it.

use std::io::SeekFrom;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use godfs_core::ErrorKind;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use crate::settings::{ClientSettings, Hedging};
use crate::testing::{CHUNK, FakeCluster, Fault, bytes, options, until};
use crate::{CreateOptions, Reader, Writer};

/// A cluster with one file of a bit more than three chunks under `/f`.
async fn with_file(datanodes: u32) -> (FakeCluster, Vec<u8>) {
    let cluster = FakeCluster::start(datanodes);
    let data = bytes(3 * CHUNK as usize + 4_321);
    cluster.client.put("/f", data.clone(), options()).await.expect("written");
    (cluster, data)
}

async fn all(reader: &Reader) -> Result<Vec<u8>, godfs_core::Error> {
    let parts: Vec<Bytes> = reader.stream(..).try_collect().await?;
    Ok(parts.concat())
}

#[tokio::test]
async fn any_range_reads_as_it_was_written() {
    let (cluster, data) = with_file(3).await;
    let reader = cluster.client.reader("/f").await.expect("opened");
    assert_eq!(reader.len(), data.len() as u64);
    for (offset, length) in [
        (0, 1),
        (0, data.len()),
        (4_095, 2),
        (CHUNK as usize - 1, 2),
        (CHUNK as usize, CHUNK as usize),
        (100_001, 77_777),
        (data.len() - 1, 100),
        (data.len(), 1),
        (data.len() + 5, 1),
        (5, 0),
    ] {
        let wanted = &data[offset.min(data.len())..(offset + length).min(data.len())];
        assert_eq!(reader.read_at(offset as u64, length).await.expect("read"), wanted, "{length} bytes at {offset}");
    }
    assert_eq!(reader.read_at(u64::MAX, usize::MAX).await.expect("beyond the end"), "");
    assert_eq!(all(&reader).await.expect("read"), data);
    let parts: Vec<Bytes> = reader.stream(70_000..=70_009).try_collect().await.expect("read");
    assert_eq!(parts.concat(), data[70_000..70_010]);
    assert_eq!(cluster.client.get("/f").await.expect("read"), data);
}

#[tokio::test]
async fn whole_small_files_take_one_call() {
    let cluster = FakeCluster::start(0);
    cluster.client.put("/small", "hello", CreateOptions::new()).await.expect("put");
    let error = cluster.client.put("/small", "again", CreateOptions::new()).await.expect_err("exists");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let before = cluster.namenode.state.lock().calls.len();
    assert_eq!(cluster.client.get("/small").await.expect("got"), "hello");
    assert_eq!(cluster.namenode.state.lock().calls.len(), before + 1);
    let reader = cluster.client.reader("/small").await.expect("opened");
    assert_eq!(reader.read_at(1, 3).await.expect("read"), "ell");
    assert_eq!(all(&reader).await.expect("read"), b"hello");
}

#[tokio::test]
async fn a_handle_reads_and_seeks() {
    let (cluster, data) = with_file(3).await;
    let mut file = cluster.client.open("/f").await.expect("opened");
    let mut found = Vec::new();
    file.read_to_end(&mut found).await.expect("read");
    assert_eq!(found, data);
    for (to, at) in [
        (SeekFrom::Start(10), 10),
        (SeekFrom::Current(90_000), 90_110),
        (SeekFrom::Current(-50), 90_160),
        (SeekFrom::End(-100), data.len() as u64 - 100),
    ] {
        assert_eq!(file.seek(to).await.expect("in range"), at);
        let mut part = [0; 100];
        file.read_exact(&mut part).await.expect("read");
        let at = usize::try_from(at).expect("small");
        assert_eq!(part, data[at..at + 100]);
    }
    assert!(file.seek(SeekFrom::Current(-1_000_000)).await.is_err());
    file.seek(SeekFrom::End(1_000)).await.expect("beyond the end");
    assert_eq!(file.read(&mut [0; 10]).await.expect("nothing there"), 0);
    for error in [file.write(b"x").await.expect_err("reading"), file.flush().await.expect_err("reading")] {
        assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    }
    assert_eq!(file.hflush().await.expect_err("reading").kind(), ErrorKind::Unsupported);
    file.close().await.expect("nothing to do");
}

#[tokio::test]
async fn a_handle_writes() {
    let cluster = FakeCluster::start(3);
    let data = bytes(CHUNK as usize + 10);
    let mut file = cluster.client.create("/f", options()).await.expect("created");
    tokio::io::copy(&mut &data[..], &mut file).await.expect("copied");
    assert_eq!(file.stream_position().await.expect("told"), data.len() as u64);
    assert!(file.rewind().await.is_err());
    assert_eq!(file.read(&mut [0]).await.expect_err("writing").kind(), std::io::ErrorKind::Unsupported);
    assert_eq!(file.read_at(0, 1).await.expect_err("writing").kind(), ErrorKind::Unsupported);
    file.hsync().await.expect("synced");
    file.shutdown().await.expect("closed");
    assert_eq!(cluster.client.get("/f").await.expect("read"), data);
    let error = cluster.client.create("/f", options()).await.expect_err("exists");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}

#[tokio::test]
async fn a_replica_that_fails_in_the_middle_is_replaced_unseen() {
    for fault in [Fault::EndReadAfter(2), Fault::EndReadAfter(0), Fault::Lie] {
        let (cluster, data) = with_file(3).await;
        cluster.namenode.state.lock().order = vec![2, 1, 3];
        cluster.datanode(2).set_fault(fault.clone());
        let reader = cluster.client.reader("/f").await.expect("opened");
        assert_eq!(all(&reader).await.expect("read"), data, "{fault:?}");
        assert_eq!(cluster.datanode(2).reads(), 1, "a node that failed is left alone");
        if fault == Fault::Lie {
            until("the lie is reported", || !cluster.namenode.state.lock().corrupt.is_empty()).await;
            let chunk = cluster.namenode.file("/f").chunks[0].id;
            assert_eq!(cluster.namenode.state.lock().corrupt, [(chunk, 2)]);
        }
    }
}

#[tokio::test]
async fn a_node_killed_in_the_middle_of_a_read_is_replaced_unseen() {
    let (cluster, data) = with_file(3).await;
    let reader = cluster.client.reader("/f").await.expect("opened");
    let mut parts = reader.stream(..);
    let mut found = parts.try_next().await.expect("read").expect("bytes").to_vec();
    cluster.datanode(1).kill();
    while let Some(part) = parts.try_next().await.expect("read") {
        found.extend_from_slice(&part);
    }
    assert_eq!(found, data);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stalls_is_replaced() {
    let (cluster, data) = with_file(3).await;
    cluster.datanode(1).set_fault(Fault::StallReads);
    let reader = cluster.client.reader("/f").await.expect("opened");
    assert_eq!(all(&reader).await.expect("read"), data);
}

/// Nothing wrong is ever handed out: when all replicas lie, the error names the bytes.
#[tokio::test(start_paused = true)]
async fn bytes_that_no_replica_has_are_named() {
    let (cluster, _) = with_file(3).await;
    for node in &cluster.datanodes {
        node.set_fault(Fault::Lie);
    }
    let reader = cluster.client.reader("/f").await.expect("opened");
    let began = tokio::time::Instant::now();
    let error = all(&reader).await.map(drop).expect_err("all lie");
    assert!(began.elapsed() < Duration::from_secs(1), "waiting mends no lie: {:?}", began.elapsed());
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("bytes 16384..20480 of /f"), "{error}");
    for node in ["node 1", "node 2", "node 3"] {
        assert!(error.message().contains(node), "{error}");
    }
    for node in &cluster.datanodes {
        node.kill();
    }
    let began = tokio::time::Instant::now();
    let error = reader.read_at(CHUNK, 10).await.expect_err("all are gone");
    assert!(began.elapsed() >= ClientSettings::default().call_timeout, "given up after {:?}", began.elapsed());
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.message().contains("bytes 65536..65546 of /f"), "{error}");
}

/// Every replica that the reader knows of is gone, but the namenode knows of another.
#[tokio::test]
async fn locations_are_asked_for_anew_when_all_fail() {
    let (cluster, data) = with_file(4).await;
    let reader = cluster.client.reader("/f").await.expect("opened");
    let chunks = cluster.namenode.file("/f").chunks;
    for chunk in &chunks {
        cluster.datanode(4).adopt(cluster.datanode(1), chunk.id);
    }
    for node in 1..=3 {
        cluster.datanode(node).kill();
    }
    for chunk in &mut cluster.namenode.state.lock().files.get_mut("/f").expect("there").chunks {
        chunk.nodes = vec![4];
    }
    assert_eq!(all(&reader).await.expect("read"), data);
}

/// The only node is away for seconds and comes back under another address.
#[tokio::test(start_paused = true)]
async fn a_read_waits_for_a_node_that_restarts() {
    let mut cluster = FakeCluster::start(1);
    let data = bytes(3 * CHUNK as usize);
    cluster.client.put("/f", data.clone(), options()).await.expect("written");
    let reader = cluster.client.reader("/f").await.expect("opened");
    let mut parts = reader.stream(..);
    let mut found = parts.try_next().await.expect("read").expect("bytes").to_vec();
    cluster.datanode(1).kill();
    let rest = async {
        while let Some(part) = parts.try_next().await.expect("read goes on") {
            found.extend_from_slice(&part);
        }
    };
    let restart = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        cluster.restart(1);
    };
    tokio::join!(rest, restart);
    assert_eq!(found, data);
}

/// A length is what the namenode says: it takes no memory before bytes arrive.
#[tokio::test]
async fn a_length_that_is_a_lie_takes_no_memory() {
    let (cluster, _) = with_file(1).await;
    cluster.namenode.state.lock().files.get_mut("/f").expect("there").length = 1 << 60;
    let error = cluster.client.get("/f").await.expect_err("there is no such chunk");
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
}

#[tokio::test]
async fn a_file_being_written_shows_what_was_flushed() {
    let cluster = FakeCluster::start(3);
    let data = bytes(2 * CHUNK as usize);
    let mut writer = cluster.client.writer("/f", options()).await.expect("created");
    writer.write(&data[..5_000]).await.expect("written");
    writer.hflush().await.expect("flushed");
    writer.write(&data[5_000..10_000]).await.expect("written");
    writer.hflush().await.expect("flushed");
    let reader = cluster.client.reader("/f").await.expect("opened");
    assert_eq!(all(&reader).await.expect("read"), data[..10_000]);
    writer.write(&data[10_000..CHUNK as usize + 100]).await.expect("written");
    writer.hflush().await.expect("flushed");
    assert_eq!(reader.len(), 10_000, "as it was when opened");
    assert_eq!(reader.refresh().await.expect("asked"), CHUNK + 100);
    assert_eq!(all(&reader).await.expect("read"), data[..CHUNK as usize + 100]);
    let located = cluster.client.locate("/f").await.expect("located");
    assert!(located.status.open && located.chunks.len() == 2 && located.chunks[1].open);
}

/// A file `/f` that is being written, its bytes flushed, and gone again from one of three nodes.
async fn flushed_and_lost(cluster: &FakeCluster) -> (Writer, Vec<u8>) {
    let data = bytes(10_000);
    let mut writer = cluster.client.writer("/f", options()).await.expect("created");
    writer.write(&data).await.expect("written");
    writer.hflush().await.expect("flushed");
    cluster.datanode(2).lose_all();
    (writer, data)
}

/// A node that comes back without its replica, after its power was gone, was taken for one that the pipeline had not reached yet: then nothing of the chunk
/// could be seen.
#[tokio::test]
async fn a_node_that_has_lost_its_replica_hides_nothing() {
    let cluster = FakeCluster::start(3);
    let (_writer, data) = flushed_and_lost(&cluster).await;
    let reader = cluster.client.reader("/f").await.expect("opened");
    assert_eq!(all(&reader).await.expect("read"), data);
}

/// Where only a node answers that has lost its replica, nobody knows how much was flushed: no reader is told that it is nothing.
#[tokio::test]
async fn a_node_that_has_lost_its_replica_does_not_speak_for_others() {
    let settings = ClientSettings { call_timeout: Duration::from_millis(200), ..ClientSettings::default() };
    let cluster = FakeCluster::with_settings(3, settings);
    let (_writer, data) = flushed_and_lost(&cluster).await;
    let reader = cluster.client.reader("/f").await.expect("opened");
    for silent in [1, 3] {
        cluster.datanode(silent).set_fault(Fault::TellNothing);
    }
    let error = cluster.client.reader("/f").await.expect_err("nobody knows");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(reader.refresh().await.expect_err("nobody knows").kind(), ErrorKind::Unavailable);
    assert_eq!(reader.len(), data.len() as u64);
    cluster.datanode(3).mend();
    let reader = cluster.client.reader("/f").await.expect("opened");
    assert_eq!(reader.len(), data.len() as u64);
}

#[tokio::test]
async fn checksums_do_not_depend_on_chunks() {
    let (cluster, data) = with_file(3).await;
    let sum = cluster.client.checksum("/f").await.expect("composed");
    assert_eq!((sum.crc32c, sum.length), (godfs_core::checksum::crc32c(&data), data.len() as u64));
    cluster.client.put("/g", data, options().chunk_size(2 * CHUNK)).await.expect("written");
    assert_eq!(cluster.client.checksum("/g").await.expect("composed"), sum);
    cluster.client.put("/small", "abc", CreateOptions::new()).await.expect("written");
    let small = cluster.client.checksum("/small").await.expect("computed");
    assert_eq!(small.crc32c, godfs_core::checksum::crc32c(b"abc"));
}

#[tokio::test]
async fn copies_are_equal() {
    let (cluster, data) = with_file(3).await;
    let length = cluster.client.copy("/f", "/g", options()).await.expect("copied");
    assert_eq!(length, data.len() as u64);
    assert_eq!(cluster.client.get("/g").await.expect("read"), data);
    let located = cluster.client.locate("/g").await.expect("located");
    assert_eq!(located.chunks.iter().map(|chunk| chunk.offset).collect::<Vec<_>>(), [0, CHUNK, 2 * CHUNK, 3 * CHUNK]);
    assert!(located.chunks.iter().all(|chunk| chunk.replicas.len() == 3));
}

#[tokio::test]
async fn readers_are_shared_between_tasks_and_reuse_connections() {
    let (cluster, data) = with_file(1).await;
    let (reader, data) = (cluster.client.reader("/f").await.expect("opened"), Arc::new(data));
    for _ in 0..5 {
        let tasks: Vec<_> = (0..4)
            .map(|number| {
                let (reader, data) = (reader.clone(), Arc::clone(&data));
                tokio::spawn(async move {
                    let offset = number * 50_000;
                    let found = reader.read_at(offset as u64, 45_000).await.expect("read");
                    assert_eq!(found, data[offset..offset + 45_000]);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
    }
    let made = cluster.network.connections(cluster.datanode(1).address());
    assert!(made <= 8, "{made} connections for 20 reads, 4 at once");
}

/// The first flush of a small file lies with the namenode, the second one in a chunk; a reader follows.
#[tokio::test]
async fn a_small_file_that_grows_is_followed() {
    let cluster = FakeCluster::start(3);
    let mut writer = cluster.client.writer("/f", options()).await.expect("created");
    let early = cluster.client.reader("/f").await.expect("opened");
    writer.write(b"one").await.expect("written");
    writer.hflush().await.expect("flushed");
    let reader = cluster.client.reader("/f").await.expect("opened");
    assert_eq!(all(&reader).await.expect("read"), b"one");
    writer.write(b"two").await.expect("written");
    writer.hflush().await.expect("flushed");
    let second = cluster.client.reader("/f").await.expect("opened");
    assert_eq!(all(&second).await.expect("read"), b"onetwo");
    for reader in [reader, early] {
        assert_eq!(reader.refresh().await.expect("asked"), 6);
        assert_eq!(all(&reader).await.expect("read"), b"onetwo");
    }
}

/// Random operations on a handle against a vector.
mod model {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Operation {
        Write(usize),
        Flush,
        Hflush,
        Hsync,
        Kill(u32),
    }

    fn operations() -> impl Strategy<Value = Vec<Operation>> {
        let one = prop_oneof![
            6 => (1_usize..90_000).prop_map(Operation::Write),
            2 => (1_usize..600).prop_map(Operation::Write),
            1 => Just(Operation::Flush),
            2 => Just(Operation::Hflush),
            1 => Just(Operation::Hsync),
            1 => (1_u32..=5).prop_map(Operation::Kill),
        ];
        proptest::collection::vec(one, 1..12)
    }

    async fn run(operations: Vec<Operation>, reads: Vec<(u64, usize)>) {
        let cluster = FakeCluster::start(5);
        let mut model = Vec::new();
        let mut killed = Vec::new();
        let mut file = cluster.client.create("/f", options()).await.expect("created");
        for operation in operations {
            match operation {
                Operation::Write(length) => {
                    let data: Vec<u8> = (0..length).map(|at| (at * 7 + model.len()) as u8).collect();
                    file.write_all(&data).await.expect("written");
                    model.extend_from_slice(&data);
                }
                Operation::Flush => file.flush().await.expect("flushed"),
                Operation::Hflush | Operation::Hsync => {
                    if matches!(operation, Operation::Hflush) {
                        file.hflush().await.expect("flushed");
                    } else {
                        file.hsync().await.expect("synced");
                    }
                    let found = cluster.client.get("/f").await.expect("read");
                    assert!(found == model, "{} bytes flushed, {} read", model.len(), found.len());
                }
                // Two may go: each chunk has three replicas.
                Operation::Kill(node) if killed.len() < 2 && !killed.contains(&node) => {
                    cluster.datanode(node).kill();
                    killed.push(node);
                }
                Operation::Kill(_) => {}
            }
        }
        file.close().await.expect("closed");
        let file = cluster.client.open("/f").await.expect("opened");
        for (offset, length) in reads {
            let from = usize::try_from(offset).expect("small").min(model.len());
            let wanted = &model[from..(from + length).min(model.len())];
            assert!(file.read_at(offset, length).await.expect("read") == wanted, "{length} bytes at {offset}");
        }
        assert!(cluster.client.get("/f").await.expect("read") == model);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn a_file_is_a_vector(
            operations in operations(),
            reads in proptest::collection::vec((0_u64..300_000, 0_usize..150_000), 0..5),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(run(operations, reads));
        }
    }
}

/// A node that never answers, of which nobody knows yet: readers take another in time, and the next ones do not ask it first.
#[tokio::test(start_paused = true)]
async fn silence_is_not_waited_out() {
    for (hedging, most) in [
        (Hedging::Off, Duration::from_millis(1_600)),
        (Hedging::After(Duration::from_millis(50)), Duration::from_millis(60)),
    ] {
        let cluster = FakeCluster::with_settings(3, ClientSettings { hedging, ..ClientSettings::default() });
        let data = bytes(3 * CHUNK as usize);
        cluster.client.put("/f", data.clone(), options()).await.expect("written");
        cluster.datanode(1).set_fault(Fault::StallReads);
        let began = tokio::time::Instant::now();
        assert!(cluster.client.get("/f").await.expect("read") == data);
        assert!(began.elapsed() <= most, "{hedging:?}: {:?} for three chunks", began.elapsed());
        let asked = cluster.datanode(1).reads();
        assert!(cluster.client.get("/f").await.expect("read") == data);
        assert_eq!(cluster.datanode(1).reads(), asked, "another reader of the client knows");
    }
}

/// Where all nodes are silent a hedged read costs a second stream at most, and the budget bounds how many there are.
#[tokio::test(start_paused = true)]
async fn hedging_does_not_double_the_load() {
    let hedging = Hedging::After(Duration::from_millis(1));
    let mut settings = ClientSettings { hedging, ..ClientSettings::default() };
    settings.avoid_node = Duration::ZERO;
    let cluster = FakeCluster::with_settings(2, settings);
    let data = bytes(CHUNK as usize);
    cluster.client.put("/f", data.clone(), options().replication(2)).await.expect("written");
    let reader = cluster.client.reader("/f").await.expect("opened");
    cluster.datanode(1).set_fault(Fault::SlowReads(Duration::from_millis(100)));
    cluster.datanode(2).set_fault(Fault::SlowReads(Duration::from_millis(100)));
    for _ in 0..100 {
        reader.read_at(0, 4_096).await.expect("read");
    }
    let asked = cluster.datanode(1).reads() + cluster.datanode(2).reads();
    assert!((120..=130).contains(&asked), "{asked} streams for 100 reads: 16 at first, then one of ten");
}

/// Each replica is corrupt somewhere else: every byte is good on one of them.
#[tokio::test]
async fn replicas_that_are_corrupt_in_different_places_make_a_whole() {
    let (cluster, data) = with_file(3).await;
    for (node, at) in [(1, 3_000), (2, 21_000), (3, 62_000)] {
        cluster.datanode(node).flip(at);
    }
    assert!(cluster.client.get("/f").await.expect("read") == data);
    until("it is reported", || !cluster.namenode.state.lock().corrupt.is_empty()).await;
}

#[tokio::test]
async fn what_is_lost_is_named_and_the_rest_is_given() {
    let (cluster, data) = with_file(3).await;
    for node in 1..=3 {
        // Of every chunk: in its third piece and in its last.
        cluster.datanode(node).flip(9_000);
        cluster.datanode(node).flip(CHUNK as usize - 1);
    }
    let reader = cluster.client.reader("/f").await.expect("opened");
    let error = reader.read_at(0, CHUNK as usize).await.expect_err("two pieces are lost");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("bytes 8192..12288, 61440..65536 of /f are lost"), "{error}");
    let error = reader.read_at(9_000, 10).await.expect_err("lost");
    assert!(error.message().contains("bytes 9000..9010 of /f are lost"), "{error}");
    let all: Result<Vec<Bytes>, _> = reader.stream(..).try_collect().await;
    assert_eq!(all.expect_err("lost").kind(), ErrorKind::Corrupt);

    let ranges =
        [12_288..20_000, 0..8_192, 8_000..8_200, 8_192..8_193, 65_000..65_537, CHUNK..CHUNK + 5, 1 << 40..1 << 41];
    let found = reader.read_ranges(&ranges).await;
    for (range, found) in ranges.iter().zip(&found) {
        let lost = [2, 3, 4].iter().any(|at| ranges[*at] == *range);
        match found {
            Ok(bytes) => {
                let end = usize::try_from(range.end).expect("small").min(data.len());
                assert!(!lost && bytes == &data[end.min(range.start as usize)..end], "{range:?}");
            }
            Err(error) => assert!(lost && error.kind() == ErrorKind::Corrupt, "{range:?}: {error}"),
        }
    }

    let wrong = reader.unverified().read_at(8_192, 4_096).await.expect("as it is");
    assert_ne!(wrong, data[8_192..12_288]);
    assert_eq!((wrong[0], wrong[4_095]), (data[8_192], data[12_287]));
}

#[tokio::test]
async fn ranges_come_in_their_order_and_cost_few_streams() {
    let (cluster, data) = with_file(1).await;
    let reader = cluster.client.reader("/f").await.expect("opened");
    let ranges: Vec<_> = (0..60_u64).rev().map(|number| number * 1_000..number * 1_000 + 700).collect();
    let before = cluster.datanode(1).reads();
    let found = reader.read_ranges(&ranges).await;
    for (range, found) in ranges.iter().zip(found) {
        assert_eq!(found.expect("read"), data[range.start as usize..range.end as usize]);
    }
    assert_eq!(cluster.datanode(1).reads() - before, 1, "one stream for one chunk");
    assert!(reader.read_ranges(&[]).await.is_empty());
}

#[tokio::test]
async fn lines_are_read_from_the_buffer() {
    let cluster = FakeCluster::start(3);
    let text: String = (0..20_000).map(|line| format!("line {line}\n")).collect();
    cluster.client.put("/f", text.clone(), options()).await.expect("written");
    let file = cluster.client.reader("/f").await.expect("opened").into_file();
    let mut lines = file.lines();
    let mut found = String::new();
    while let Some(line) = lines.next_line().await.expect("read") {
        found.push_str(&line);
        found.push('\n');
    }
    assert!(found == text);
    let mut writing = cluster.client.create("/g", options()).await.expect("created");
    let error = writing.fill_buf().await.expect_err("open for writing");
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
}
