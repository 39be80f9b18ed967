//! The machines of one simulation, and what befalls them.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use godfs_core::env::Env;
use godfs_core::io::{Failing, Io, SimIo};
use godfs_core::metadata::LoggedStore;
use godfs_core::namespace::ChunkInfo;
use godfs_core::{ChunkId, Incarnation, NodeId};
use godfs_server::datanode::{Datanode, DatanodeOptions};
use godfs_server::namenode::{MetadataSource, Namenode, NamenodeOptions, NamenodeSettings};
use parking_lot::Mutex;
use turmoil::Sim;

use super::clients::{self, Common, Progress};
use super::model::File;
use super::plan::{FILES, Plan, What, When, Who};
use super::powers::{self, Powers};
use crate::cluster::{FOLDER, PANICS, align_task_ids, count_panics};
use crate::invariants;
use crate::network::{Outgoing, address, listen};
use crate::trace::{ShowOnFailure, Trace};

/// Virtual time after which nothing more is waited for.
const LONGEST: Duration = Duration::from_secs(900);
/// The step of the simulation. Messages arrive at its ends, timers at their time.
const TICK: Duration = Duration::from_millis(2);
/// Between two looks at the rows.
const LOOK: Duration = Duration::from_millis(20);
/// Between two checks of every invariant of the rows.
const CHECK: Duration = Duration::from_secs(2);
/// Writers that are not done by then are killed as they are.
const STORM: Duration = Duration::from_secs(60);
/// How long all power is gone.
const DARKNESS: Duration = Duration::from_millis(300);
/// Between two looks at a process whose disk does not let it start.
const RESTART: Duration = Duration::from_millis(200);

/// The machine of a server: what outlives its process.
#[derive(Debug)]
struct Machine {
    disk: Mutex<SimIo>,
    lives: Mutex<u64>,
    id: Mutex<Option<NodeId>>,
}

impl Machine {
    fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self { disk: Mutex::new(SimIo::new(seed)), lives: Mutex::new(0), id: Mutex::default() })
    }

    fn next_life(&self) -> u64 {
        let mut lives = self.lives.lock();
        *lives += 1;
        *lives
    }
}

/// What happened in a simulation.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) events: Vec<String>,
    /// Copies that were begun to a node that was to join a pipeline.
    pub(super) copies: usize,
    /// Nodes that have joined one.
    pub(super) joined: usize,
    /// The longest that an operation of a writer took.
    pub(super) longest: Duration,
}

/// Runs one simulation to its end, checks what must hold, and answers what happened.
pub(super) fn run(plan: &Plan) -> Outcome {
    count_panics();
    align_task_ids();
    let trace = Trace::default();
    let shown = ShowOnFailure(trace.clone());
    let plan = Arc::new(plan.clone());
    let files: super::model::Files = Arc::new(Mutex::new((0..plan.scripts.len() * FILES).map(File::new).collect()));
    let progress = Progress { ops: vec![0; plan.scripts.len()], ..Progress::default() };
    let common = Common {
        plan: Arc::clone(&plan),
        files: Arc::clone(&files),
        progress: Arc::new(Mutex::new(progress)),
        powers: Arc::new(Powers::new(files, plan.chunk)),
        trace,
    };
    let mut sim = turmoil::Builder::new()
        .rng_seed(plan.random(2))
        .simulation_duration(LONGEST)
        .tick_duration(TICK)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(plan.latency)
        .build();
    let namenode = Machine::new(plan.random(99));
    add_namenode(&mut sim, &common, &namenode);
    let nodes: Vec<_> = (0..plan.datanodes).map(|index| Machine::new(plan.random(100 + index as u64))).collect();
    for (index, node) in nodes.iter().enumerate() {
        add_datanode(&mut sim, &common, index, node);
    }
    for writer in 0..plan.scripts.len() {
        add_writer(&mut sim, &common, writer);
    }
    let reader = common.clone();
    sim.host("reader", move || {
        let reader = reader.clone();
        async move {
            Box::pin(clients::read(reader)).await;
            Ok(())
        }
    });
    let judge = common.clone();
    sim.client("judge", async move {
        Box::pin(clients::judge(judge)).await;
        Ok(())
    });
    let mut world = World {
        sim,
        common,
        namenode,
        nodes,
        begun: None,
        waiting: plan.faults.clone(),
        due: Vec::new(),
        down: BTreeSet::new(),
        links: BTreeMap::new(),
        seen: BTreeMap::new(),
        pipelines: BTreeMap::new(),
        joining: BTreeSet::new(),
        joined: 0,
        darkened: false,
    };
    world.run();
    drop(shown);
    Outcome {
        events: world.common.trace.events(),
        copies: world.joining.len(),
        joined: world.joined,
        longest: world.common.progress.lock().longest,
    }
}

fn settings() -> NamenodeSettings {
    let mut settings = crate::cluster::namenode_settings();
    settings.namespace.session_timeout = Duration::from_secs(4);
    settings.namespace.lease_soft_limit = Duration::from_secs(2);
    settings.recovery.reply_timeout = Duration::from_secs(3);
    settings.recovery.restarted_only = Duration::from_secs(20);
    settings.recovery.backoff_most = Duration::from_secs(2);
    settings.reader_grace = Duration::from_secs(1);
    settings
}

fn name(who: Who) -> String {
    match who {
        Who::Namenode => "namenode".into(),
        Who::Datanode(index) => format!("datanode-{index}"),
        Who::Writer(index) => format!("writer-{index}"),
        Who::Reader => "reader".into(),
    }
}

fn add_namenode(sim: &mut Sim<'_>, common: &Common, machine: &Arc<Machine>) {
    let (common, machine) = (common.clone(), Arc::clone(machine));
    sim.host("namenode", move || {
        let (common, machine) = (common.clone(), Arc::clone(&machine));
        let life = machine.next_life();
        let env = Env::simulated(common.plan.random(1_000 + life));
        async move {
            let io: Arc<dyn Io> = Arc::new(machine.disk.lock().clone());
            let incarnation = Incarnation::from_random(u128::from(common.plan.random(1)));
            let store = Arc::new(LoggedStore::open(Path::new("/namenode"), &io, &env, incarnation)?);
            common.powers.opened(Arc::clone(&store) as _);
            let listener = listen("namenode", &common.trace).await?;
            let mut options = NamenodeOptions::new(MetadataSource::Store(store), listener);
            options.init = true;
            options.env = env;
            options.settings = settings();
            let _namenode = Namenode::start(options).await?;
            common.trace.note("namenode", format_args!("serves, life {life}"));
            std::future::pending().await
        }
    });
}

fn add_datanode(sim: &mut Sim<'_>, common: &Common, index: usize, machine: &Arc<Machine>) {
    let (common, machine) = (common.clone(), Arc::clone(machine));
    let name = name(Who::Datanode(index));
    sim.host(name.clone(), move || {
        let (common, machine, name) = (common.clone(), Arc::clone(&machine), name.clone());
        let life = machine.next_life();
        async move {
            let mut starts = 0;
            let datanode = loop {
                let seed = common.plan.random(10_000 * (index as u64 + 1) + 100 * life + starts);
                let listener = listen(&name, &common.trace).await?;
                let mut options = DatanodeOptions::new(FOLDER, listener, vec![address("namenode")]);
                options.io = Arc::new(machine.disk.lock().clone());
                options.env = Env::simulated(seed);
                options.connector = Outgoing::of(&name, &common.trace);
                options.settings.transport.keep_alive = Duration::from_secs(1);
                options.settings.transport.keep_alive_timeout = Duration::from_secs(1);
                options.settings.serve.keepalive_ms = 1_000;
                options.settings.serve.keepalive_timeout_ms = 1_000;
                options.settings.reconnect_max_ms = 1_000;
                match Datanode::start(options).await {
                    Ok(datanode) => break datanode,
                    // Its disk fails.
                    Err(error) => common.trace.note(&name, format_args!("does not start: {}", error.report())),
                }
                starts += 1;
                tokio::time::sleep(RESTART).await;
            };
            common.trace.note(&name, format_args!("runs, life {life}"));
            while let Err(error) = datanode.ready().await {
                // It goes on trying.
                common.trace.note(&name, format_args!("is not registered: {}", error.report()));
                tokio::time::sleep(RESTART).await;
            }
            let id = datanode.node_id();
            common.trace.note(&name, format_args!("is registered as node {}", id.map_or(0, NodeId::get)));
            let before = std::mem::replace(&mut *machine.id.lock(), id);
            assert!(before.is_none() || before == id, "{name} was {before:?} and is {id:?}");
            std::future::pending().await
        }
    });
}

fn add_writer(sim: &mut Sim<'_>, common: &Common, writer: usize) {
    let (common, lives) = (common.clone(), Cell::new(0));
    let name = name(Who::Writer(writer));
    sim.host(name.clone(), move || {
        lives.set(lives.get() + 1);
        let (common, name, life) = (common.clone(), name.clone(), lives.get());
        async move {
            Box::pin(clients::write(common, writer, name, life)).await;
            Ok(())
        }
    });
}

/// What the network between two machines does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Parted,
    Held,
}

struct World<'a> {
    sim: Sim<'a>,
    common: Common,
    namenode: Arc<Machine>,
    nodes: Vec<Arc<Machine>>,
    /// When the writers began.
    begun: Option<Duration>,
    /// Faults that have not happened yet.
    waiting: Vec<super::plan::Fault>,
    /// Faults that will be mended.
    due: Vec<(Duration, What)>,
    /// Machines without a process.
    down: BTreeSet<Who>,
    links: BTreeMap<(Who, Who), Link>,
    seen: BTreeMap<ChunkId, ChunkInfo>,
    /// Nodes that were ever in the pipeline of a chunk.
    pipelines: BTreeMap<ChunkId, BTreeSet<NodeId>>,
    /// Nodes that were to join it.
    joining: BTreeSet<(ChunkId, NodeId)>,
    joined: usize,
    darkened: bool,
}

impl World<'_> {
    fn run(&mut self) {
        let (mut look, mut check) = (Duration::ZERO, Duration::ZERO);
        loop {
            let done = self.sim.step().unwrap_or_else(|error| panic!("the simulation failed: {error}"));
            assert_eq!(PANICS.get(), 0, "a task has panicked");
            let now = self.sim.elapsed();
            if now >= look {
                self.look(now);
                look = now + LOOK;
            }
            if now >= check {
                self.check_rows();
                check = now + CHECK;
            }
            if done {
                break;
            }
            self.befall(now);
            while let Some(next) = self.due.iter().position(|(at, _)| *at <= now) {
                let (_, what) = self.due.remove(next);
                self.common.trace.at(now, "fate", format_args!("mends {what:?}"));
                self.mend(what);
            }
            self.change_scene(now);
        }
        self.check_rows();
        self.check_disks();
    }

    /// Has those faults happen whose time has come.
    fn befall(&mut self, now: Duration) {
        if self.begun.is_none() && self.common.progress.lock().begun {
            self.begun = Some(now);
        }
        let Some(begun) = self.begun else { return };
        let ops = self.common.progress.lock().ops.clone();
        for fault in std::mem::take(&mut self.waiting) {
            let at = match fault.when {
                When::At(millis) => Some(begun + Duration::from_millis(millis)),
                When::After { writer, op, millis } => (ops[writer] > op).then(|| now + Duration::from_millis(millis)),
            };
            match at {
                Some(at) if at <= now => {
                    self.common.trace.at(now, "fate", format_args!("{:?}", fault.what));
                    self.strike(fault.what);
                    self.due.push((now + fault.lasts, fault.what));
                }
                Some(at) => {
                    let millis = u64::try_from((at - begun).as_millis()).unwrap_or(u64::MAX);
                    self.waiting.push(super::plan::Fault { when: When::At(millis), ..fault });
                }
                None => self.waiting.push(fault),
            }
        }
    }

    /// Ends the storm once the writers are done; takes all power when asked.
    fn change_scene(&mut self, now: Duration) {
        let Some(begun) = self.begun else { return };
        let (all_done, mended, take_power) = {
            let progress = self.common.progress.lock();
            let done = |(ops, script): (&usize, &Vec<_>)| *ops > script.len();
            let all_done = progress.ops.iter().zip(&self.common.plan.scripts).all(done);
            (all_done, progress.mended, progress.take_power)
        };
        if !mended && (all_done && self.due.is_empty() || now > begun + STORM) {
            self.mend_all(now);
        }
        if take_power && !self.darkened {
            self.darkened = true;
            self.common.trace.at(now, "fate", "all power goes");
            self.strike(What::Dark);
            self.due.push((now + DARKNESS, What::Dark));
        }
        if self.darkened && self.due.is_empty() {
            self.common.progress.lock().power_is_back = true;
        }
    }

    fn mend_all(&mut self, now: Duration) {
        self.common.trace.at(now, "fate", "mends all, and ends the writers");
        self.waiting.clear();
        for writer in 0..self.common.plan.scripts.len() {
            self.kill(Who::Writer(writer));
        }
        for (_, what) in std::mem::take(&mut self.due) {
            self.mend(what);
        }
        self.common.progress.lock().mended = true;
    }

    fn everyone(&self) -> Vec<Who> {
        let datanodes = (0..self.nodes.len()).map(Who::Datanode);
        let writers = (0..self.common.plan.scripts.len()).map(Who::Writer);
        [Who::Namenode, Who::Reader].into_iter().chain(datanodes).chain(writers).collect()
    }

    fn strike(&mut self, what: What) {
        match what {
            What::Killed(who) => self.kill(who),
            What::PowerCut(who) => self.cut_power(who),
            What::Dark => {
                self.cut_power(Who::Namenode);
                (0..self.nodes.len()).for_each(|index| self.cut_power(Who::Datanode(index)));
            }
            What::Parted(one, other) => self.set_link(one, other, Some(Link::Parted)),
            What::CutOff(who) => self.set_links(who, Some(Link::Parted)),
            What::Stalled(who) => self.set_links(who, Some(Link::Held)),
            What::Slow(one, other, millis) => {
                self.sim.set_link_latency(name(one), name(other), Duration::from_millis(millis));
            }
            What::Unreadable(node) => self.set_failing(node, |failing| failing.reads = true),
            What::Unwritable(node) => self.set_failing(node, |failing| failing.writes = true),
            What::Unsyncable(node) => {
                self.fall_sick(node);
                self.set_failing(node, |failing| failing.syncs = true);
            }
            What::OneSyncFails(node, which) => {
                self.fall_sick(node);
                self.nodes[node].disk.lock().fail_sync(which);
            }
            What::Full(node, room) => {
                let disk = self.nodes[node].disk.lock();
                disk.set_capacity(Some(disk.used() + room));
            }
        }
    }

    fn mend(&mut self, what: What) {
        match what {
            What::Killed(who) => self.bring_back(who),
            What::PowerCut(who) => {
                self.set_links(who, None);
                self.bring_back(who);
            }
            What::Dark => {
                self.mend(What::PowerCut(Who::Namenode));
                (0..self.nodes.len()).for_each(|index| self.mend(What::PowerCut(Who::Datanode(index))));
            }
            What::Parted(one, other) => self.set_link(one, other, None),
            What::CutOff(who) | What::Stalled(who) => self.set_links(who, None),
            What::Slow(one, other, _) => {
                self.sim.set_link_latency(name(one), name(other), Duration::from_millis(1));
            }
            // What was being written on a disk that failed is not believed before its store is opened again.
            What::Unreadable(node) | What::Unwritable(node) | What::Unsyncable(node) | What::OneSyncFails(node, _) => {
                self.nodes[node].disk.lock().set_failing(Failing::default());
                self.kill(Who::Datanode(node));
                self.bring_back(Who::Datanode(node));
            }
            What::Full(node, _) => self.nodes[node].disk.lock().set_capacity(None),
        }
    }

    fn set_failing(&self, node: usize, set: impl FnOnce(&mut Failing)) {
        let mut failing = Failing::default();
        set(&mut failing);
        self.nodes[node].disk.lock().set_failing(failing);
    }

    fn fall_sick(&self, node: usize) {
        if let Some(id) = *self.nodes[node].id.lock() {
            self.common.powers.falls_sick(id);
        }
    }

    fn kill(&mut self, who: Who) {
        if self.down.insert(who) {
            self.sim.crash(name(who));
        }
    }

    fn bring_back(&mut self, who: Who) {
        let ended = matches!(who, Who::Writer(_)) && self.common.progress.lock().mended;
        if !ended && self.down.remove(&who) {
            self.sim.bounce(name(who));
        }
    }

    fn cut_power(&mut self, who: Who) {
        // Nobody is told.
        self.set_links(who, Some(Link::Parted));
        self.kill(who);
        let machine = match who {
            Who::Datanode(index) => Arc::clone(&self.nodes[index]),
            _ => Arc::clone(&self.namenode),
        };
        let seed = self.common.plan.random(50 + *machine.lives.lock());
        let mut disk = machine.disk.lock();
        let found = disk.crash(seed);
        *disk = found.clone();
        let id = *machine.id.lock();
        if let Some(id) = id {
            self.common.powers.synced_bytes_outlive_power(id, &found);
            self.common.powers.lost_power(id);
        }
    }

    fn set_links(&mut self, who: Who, link: Option<Link>) {
        for other in self.everyone().into_iter().filter(|other| *other != who) {
            self.set_link(who, other, link);
        }
    }

    fn set_link(&mut self, one: Who, other: Who, link: Option<Link>) {
        let pair = (one.min(other), one.max(other));
        let (one, other) = (name(one), name(other));
        match (self.links.get(&pair).copied(), link) {
            (None, Some(Link::Parted)) => self.sim.partition(one, other),
            (None, Some(Link::Held)) => self.sim.hold(one, other),
            (Some(Link::Parted), None) => self.sim.repair(one, other),
            (Some(Link::Held), None) => self.sim.release(one, other),
            // What is held may get lost as well.
            (Some(Link::Held), Some(Link::Parted)) => {
                self.sim.release(one.clone(), other.clone());
                self.sim.partition(one, other);
            }
            (None, None) | (Some(_), Some(_)) => return,
        }
        match link {
            Some(link) => self.links.insert(pair, link),
            None => self.links.remove(&pair),
        };
    }

    /// Looks at all chunks, and notes what has changed.
    fn look(&mut self, now: Duration) {
        let count = self.common.files.lock().len();
        for file in 0..count {
            for location in self.common.powers.chunks(file) {
                let info = location.info;
                let before = self.seen.get(&info.chunk);
                if before == Some(&info) {
                    continue;
                }
                invariants::generations_only_grow(before, &info);
                invariants::closed_chunks_do_not_grow(before, &info);
                let nodes: Vec<_> = info.replicas.iter().map(|place| place.node.to_string()).collect();
                let left: Vec<_> = info.left_out.iter().map(ToString::to_string).collect();
                self.common.trace.at(
                    now,
                    "rows",
                    format_args!(
                        "chunk {} of {} at {}: generation {} of {}, {} bytes, {}, on {}, without {}",
                        info.chunk,
                        clients::path(file),
                        location.offset,
                        info.generation,
                        info.issued,
                        info.length,
                        if info.open { "open" } else { "closed" },
                        nodes.join(" "),
                        left.join(" ")
                    ),
                );
                self.count_joins(&info);
                self.seen.insert(info.chunk, info);
            }
        }
    }

    /// Whoever is left out of a pipeline and never was in it gets a copy, to join it.
    fn count_joins(&mut self, info: &ChunkInfo) {
        if !info.open {
            return;
        }
        let known = self.pipelines.entry(info.chunk).or_default();
        for place in &info.replicas {
            let new = known.insert(place.node);
            self.joined += usize::from(new && self.joining.contains(&(info.chunk, place.node)));
        }
        let newcomers = info.left_out.iter().filter(|node| !known.contains(node));
        self.joining.extend(newcomers.map(|node| (info.chunk, *node)));
    }

    fn check_rows(&self) {
        if let Some(rows) = self.common.powers.rows() {
            invariants::rows_hold(&rows);
        }
    }

    /// Every replica that the rows name is on its disk, finished, with the right bytes, and so equal to the others.
    fn check_disks(&self) {
        let chunks: Vec<ChunkId> = self.seen.keys().copied().collect();
        let mut replicas: BTreeMap<ChunkId, Vec<_>> = BTreeMap::new();
        for node in &self.nodes {
            let id = node.id.lock().expect("registered");
            for (chunk, generation, bytes) in powers::finished(&node.disk.lock(), &chunks) {
                replicas.entry(chunk).or_default().push((id, generation, bytes));
            }
        }
        for (chunk, replicas) in &replicas {
            invariants::replicas_of_a_generation_are_equal(*chunk, replicas);
        }
        let files = self.common.files.lock();
        for (file, known) in files.iter().enumerate() {
            for location in self.common.powers.chunks(file) {
                let info = location.info;
                let expected = known.bytes(location.offset, usize::try_from(info.length).expect("small"));
                for place in &info.replicas {
                    let found = replicas.get(&info.chunk).into_iter().flatten();
                    let mut found =
                        found.filter(|(node, generation, _)| (*node, *generation) == (place.node, info.generation));
                    let (_, _, bytes) = found.next_back().unwrap_or_else(|| {
                        panic!("the rows name a replica of chunk {} on node {}, which has none", info.chunk, place.node)
                    });
                    let what = (clients::path(file), info.chunk, place.node);
                    invariants::bytes_are_those_that_were_written(what, location.offset, &expected, bytes);
                }
            }
        }
        drop(files);
        self.common.trace.at(self.sim.elapsed(), "disk", format_args!("{} chunks hold what they must", replicas.len()));
    }
}
