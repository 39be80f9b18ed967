//! SIGKILL of the namenode at random moments, while many clients change names: for as many rounds as asked, `GODFS_ROUNDS` (default
//! 10), from `GODFS_SEED` on.
//!
//! Every client has a tree to itself, in which it knows what each call must come to, and all race for names in one directory.
//! At a kill, one half of them lets go of the call that is under way and looks later whether it was made, whole or not at all; the
//! other half waits for the answer, which comes from the next namenode and must be the first one's.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use futures::future::{join_all, try_join_all};
use godfs_client::{Client, ClientSettings, CreateOptions, MkdirOptions, RemoveOptions};
use godfs_core::ErrorKind;
use tokio_util::sync::CancellationToken;

use crate::harness::{Daemons, Flags, number};
use crate::owned::{Op, Tree};

const CLIENTS: usize = 64;

/// One client, and what it knows.
struct Worker {
    id: usize,
    client: Client,
    rng: fastrand::Rng,
    tree: Tree,
    /// What it let go of, and the tree if it was made.
    cut: Option<(Op, Tree)>,
    /// What became of its race for each name.
    races: Vec<Race>,
    answered: u64,
    after_kill: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Race {
    Won,
    Lost,
    Cut,
}

impl Worker {
    async fn new(id: usize, url: &str, seed: u64) -> Self {
        let mut settings = ClientSettings::default();
        settings.call_timeout = Duration::from_secs(90);
        let client = Client::builder().namenodes(url).settings(settings).connect().await.expect("connect");
        let worker = Self {
            id,
            client,
            rng: fastrand::Rng::with_seed(seed),
            tree: Tree::default(),
            cut: None,
            races: Vec::new(),
            answered: 0,
            after_kill: 0,
        };
        worker.client.mkdir(worker.top(), MkdirOptions::default().parents(true)).await.expect("mkdir");
        worker
    }

    fn top(&self) -> String {
        format!("/own/{}", self.id)
    }

    /// Calls until the namenode is killed.
    async fn work(mut self, killed: CancellationToken) -> Self {
        let patient = self.rng.bool();
        while !killed.is_cancelled() && self.cut.is_none() && self.races.last() != Some(&Race::Cut) {
            if self.rng.u8(0..6) == 0 {
                self.race(patient, &killed).await;
            } else {
                self.change(patient, &killed).await;
            }
            self.answered += 1;
            self.after_kill += u64::from(killed.is_cancelled() && patient);
        }
        self
    }

    async fn change(&mut self, patient: bool, killed: &CancellationToken) {
        let op = self.tree.choose(&mut self.rng);
        let mut after = self.tree.clone();
        let expected = after.apply(&op);
        let top = self.top();
        let call = op.perform(&self.client, &top);
        let outcome = if patient || op.is_many_calls() {
            call.await
        } else {
            tokio::select! {
                outcome = call => outcome,
                () = killed.cancelled() => {
                    self.cut = Some((op, after));
                    return;
                }
            }
        };
        let found = outcome.as_ref().map(drop).map_err(godfs_core::Error::kind);
        assert_eq!(found, expected, "client {}: {op:?} on {:?}: {outcome:?}", self.id, self.tree);
        self.tree = after;
    }

    /// All clients want the same names, one after another, each for itself alone.
    async fn race(&mut self, patient: bool, killed: &CancellationToken) {
        let path = format!("/shared/{}", self.races.len());
        let call = self.client.put(path, self.id.to_string(), CreateOptions::default());
        let outcome = tokio::select! {
            outcome = call => outcome,
            () = killed.cancelled(), if !patient => return self.races.push(Race::Cut),
        };
        self.races.push(match outcome {
            Ok(()) => Race::Won,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Race::Lost,
            Err(error) => panic!("client {}: {}", self.id, error.report()),
        });
    }

    /// Looks whether all is there; gives whether what it let go of was made.
    async fn verify(mut self) -> (Self, Option<bool>) {
        if let Some((op, _)) = &self.cut {
            op.settle(&self.client, &self.top()).await;
        }
        let found = Tree::found(&self.client, &self.top()).await.expect("what was found");
        let Some((op, after)) = self.cut.take() else {
            assert_eq!(found, self.tree, "client {}", self.id);
            return (self, None);
        };
        let made = found == after;
        assert!(made || found == self.tree, "client {}: {op:?} half made\n{found:#?}\nof {:#?}", self.id, self.tree);
        self.tree = found;
        (self, Some(made))
    }
}

/// Of each name somebody has it, who won it or does not know, and nobody else believes to have won.
async fn judge_races(client: &Client, workers: &mut [Worker]) {
    let mut owners = Vec::new();
    let mut names = client.list("/shared").expect("list");
    while let Some(entry) = names.try_next().await.expect("list") {
        owners.push(entry.name.parse::<usize>().expect("a number"));
    }
    let owners = try_join_all(owners.into_iter().map(|name| async move {
        let owner = client.get(format!("/shared/{name}")).await?;
        Ok::<_, godfs_client::Error>((name, String::from_utf8_lossy(&owner).parse::<usize>().expect("a client")))
    }));
    let owners: std::collections::BTreeMap<_, _> = owners.await.expect("read").into_iter().collect();
    for worker in &mut *workers {
        for (name, race) in worker.races.iter().enumerate() {
            let owner = owners.get(&name);
            let right = match race {
                Race::Won => owner == Some(&worker.id),
                Race::Lost => owner.is_some_and(|owner| *owner != worker.id),
                Race::Cut => true,
            };
            assert!(right, "client {} says {race:?} of name {name}, which is that of {owner:?}", worker.id);
        }
    }
    for (name, owner) in owners {
        let race = workers[owner].races.get(name);
        assert!(matches!(race, Some(Race::Won | Race::Cut)), "client {owner} has name {name} and says {race:?}");
    }
    client.remove("/shared", RemoveOptions::default().recursive(true)).await.expect("remove");
    client.mkdir("/shared", MkdirOptions::default()).await.expect("mkdir");
    workers.iter_mut().for_each(|worker| worker.races.clear());
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_the_namenode_is_killed_while_names_change() {
    let rounds = number("GODFS_ROUNDS", 10);
    let seed = number("GODFS_SEED", fastrand::u64(..));
    println!("GODFS_SEED={seed} replays this, as far as processes and threads can be replayed");
    let mut rng = fastrand::Rng::with_seed(seed);
    let flags = Flags { namenode: vec!["--session-timeout", "10m"], ..Flags::default() };
    let mut cluster = Daemons::with(1, &flags);
    let judge = cluster.client().await;
    judge.mkdir("/shared", MkdirOptions::default()).await.expect("mkdir");
    let url: Arc<str> = cluster.url().into();
    let seeds: Vec<_> = (0..CLIENTS).map(|_| rng.u64(..)).collect();
    let mut workers = join_all(seeds.into_iter().enumerate().map(|(id, seed)| Worker::new(id, &url, seed))).await;
    let (mut made, mut unmade) = (0, 0);
    for _ in 0..rounds {
        let killed = CancellationToken::new();
        let tasks: Vec<_> = workers.into_iter().map(|worker| tokio::spawn(worker.work(killed.clone()))).collect();
        tokio::time::sleep(Duration::from_micros(rng.u64(5_000..250_000))).await;
        cluster.kill_namenode();
        killed.cancel();
        cluster.check_namenode();
        cluster.start_namenode();
        workers = Vec::new();
        for task in tasks {
            workers.push(task.await.expect("a client"));
        }
        let tasks: Vec<_> = workers.into_iter().map(|worker| tokio::spawn(worker.verify())).collect();
        workers = Vec::new();
        for task in tasks {
            let (worker, whole) = task.await.expect("a client");
            made += u64::from(whole == Some(true));
            unmade += u64::from(whole == Some(false));
            workers.push(worker);
        }
        judge_races(&judge, &mut workers).await;
    }
    let answered: u64 = workers.iter().map(|worker| worker.answered).sum();
    let repeated: u64 = workers.iter().map(|worker| worker.after_kill).sum();
    println!(
        "{rounds} kills: {answered} calls were answered, {repeated} of them by the next namenode; of those that nobody waited for \
         {made} were made and {unmade} not"
    );
    cluster.kill_namenode();
    cluster.check_namenode();
}
