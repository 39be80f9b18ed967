//! SIGKILL while metadata is copied: of the namenode and of the verb during a backup, of the tools during an export and an import. What stands under
//! the name that was asked for is whole, or does not stand there.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::future::try_join_all;
use godfs_client::{CreateOptions, MkdirOptions};

use crate::harness::{Daemons, number, path};

const FILES: u64 = 2_000;

fn tool(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_godfs-namenode"));
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Lets it run for a while and kills it, unless it has ended; whether it ended well.
fn cut(mut child: Child, after: Duration, kill: impl FnOnce(&mut Child)) -> bool {
    std::thread::sleep(after);
    kill(&mut child);
    child.wait().expect("wait").success()
}

fn kill(child: &mut Child) {
    // It may have ended.
    let _ = child.kill();
}

/// Whether an export, imported into a folder of its own, is all there is.
fn assert_whole(export: &Path, folder: &Path) {
    let into = folder.join("restored");
    let done = tool(&["import", "--json", "--dir", &path(&into), &path(export)]).stdout(Stdio::piped()).output();
    let done = done.expect("import");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let manifest: serde_json::Value = serde_json::from_slice(&done.stdout).expect("JSON");
    assert_eq!(manifest["files"], FILES, "{manifest}");
    let checked = tool(&["check", "--dir", &path(&into)]).output().expect("check");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    std::fs::remove_dir_all(into).expect("remove");
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_no_half_of_a_copy_is_taken_for_the_whole() {
    let rounds = number("GODFS_ROUNDS", 3);
    let seed = number("GODFS_SEED", fastrand::u64(..));
    println!("GODFS_SEED={seed} kills at the same moments");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut cluster = Daemons::start(0);
    let client = cluster.client().await;
    client.mkdir("/d", MkdirOptions::default()).await.expect("mkdir");
    let puts = (0..FILES).map(|number| {
        let client = client.clone();
        async move { client.put(format!("/d/{number}"), vec![7; 8_000], CreateOptions::default()).await }
    });
    try_join_all(puts).await.expect("put");
    let folder = cluster.folder().join("copies");
    std::fs::create_dir(&folder).expect("a folder");
    let copy = folder.join("copy");
    // Soon after the start as often as late.
    let mut moment = || {
        let most = [20_000, 80_000, 320_000][rng.usize(..3)];
        Duration::from_micros(rng.u64(..most))
    };
    let (mut whole, mut cuts) = (0, 0);
    let mut look = |ended: bool| {
        // It may have been killed when all but its last words was done.
        assert!(copy.exists() || !ended, "one that ended well has left a copy");
        if copy.exists() {
            whole += 1;
            assert_whole(&copy, &folder);
            std::fs::remove_file(&copy).expect("remove");
        } else {
            cuts += 1;
        }
    };
    for _ in 0..rounds {
        let backup = |cluster: &Daemons| {
            let mut verb = Command::new(env!("CARGO_BIN_EXE_godfs"));
            verb.args(["--fs", &cluster.url(), "admin", "backup", &path(&copy)]).stdin(Stdio::null());
            verb.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("godfs")
        };
        let verb = backup(&cluster);
        look(cut(verb, moment(), kill));
        let verb = backup(&cluster);
        look(cut(verb, moment(), |_| cluster.kill_namenode()));

        let metadata = path(&cluster.folder().join("namenode"));
        cluster.check_namenode();
        let export = tool(&["export", "--dir", &metadata, &path(&copy)]).spawn().expect("export");
        look(cut(export, moment(), kill));

        let done = tool(&["export", "--dir", &metadata, &path(&copy)]).output().expect("export");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let half = folder.join("half");
        let import = tool(&["import", "--dir", &path(&half), &path(&copy)]).spawn().expect("import");
        if !cut(import, moment(), kill) {
            let serve = tool(&["--init", "--dir", &path(&half), "--listen", "127.0.0.1:0"]);
            refused_or_whole(serve, &half);
            if half.exists() {
                std::fs::remove_dir_all(&half).expect("remove");
            }
            let again = tool(&["import", "--dir", &path(&half), &path(&copy)]).output().expect("import");
            assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
        }
        let checked = tool(&["check", "--dir", &path(&half)]).output().expect("check");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        std::fs::remove_dir_all(&half).expect("remove");
        std::fs::remove_file(&copy).expect("remove");
        cluster.start_namenode();
    }
    println!("{cuts} copies cut short, {whole} that ended first");
    assert!(cuts > 0, "no kill came in time");
    for entry in std::fs::read_dir(&folder).expect("list") {
        let name = entry.expect("entry").file_name();
        assert!(name.to_string_lossy().starts_with('.'), "{name:?} is no name of what was begun");
    }
}

/// A namenode must not serve a part of an import.
fn refused_or_whole(mut serve: Command, folder: &Path) {
    let begun = folder.exists() && std::fs::read_dir(folder).expect("list").next().is_some();
    if !begun {
        return;
    }
    let mut namenode = serve.stdout(Stdio::piped()).spawn().expect("namenode");
    let mut line = String::new();
    let stdout = namenode.stdout.take().expect("piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("read");
    if line.is_empty() {
        let ended = namenode.wait_with_output().expect("wait");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success() && said.contains("import"), "{said}");
        return;
    }
    let address = line.split_ascii_whitespace().nth(2).expect("ready NAME ADDRESS");
    let list = |directory: &str| {
        let mut verb = Command::new(env!("CARGO_BIN_EXE_godfs"));
        verb.args(["--fs", &format!("godfs://{address}"), "ls", directory]).stdin(Stdio::null());
        String::from_utf8(verb.output().expect("godfs").stdout).expect("UTF-8").lines().count() as u64
    };
    // A new cluster, or all of the import, which was killed on its way out.
    let found = (list("/"), list("/d"));
    namenode.kill().expect("kill");
    namenode.wait().expect("wait");
    assert!([(0, 0), (1, FILES)].contains(&found), "it served a part: {found:?}");
}
