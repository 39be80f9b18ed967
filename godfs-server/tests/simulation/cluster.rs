//! The machines of one simulation, and what befalls them.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::Once;
use std::time::Duration;

use godfs_core::env::Env;
use godfs_core::io::SimIo;
use godfs_core::metadata::MemoryStore;
use godfs_core::{Incarnation, NodeId};
use godfs_server::datanode::{Datanode, DatanodeOptions};
use godfs_server::namenode::{MetadataSource, Namenode, NamenodeOptions, NamenodeSettings};
use parking_lot::Mutex;
use turmoil::Sim;

use crate::network::{Outgoing, address, listen};
use crate::plan::{DATANODES, Loss, Plan};
use crate::probe::Probe;
use crate::trace::{ShowOnFailure, Trace};
use crate::workload::{Machine, Progress};

/// The folder of each datanode on its own disk.
pub(crate) const FOLDER: &str = "/datanode";
/// Virtual time after which nothing more is waited for.
const LONGEST: Duration = Duration::from_secs(300);
/// Between two looks at the rows.
const LOOK: Duration = Duration::from_millis(20);
/// Between two checks of every invariant.
const CHECK: Duration = Duration::from_millis(500);
/// How long all power is gone.
const DARKNESS: Duration = Duration::from_millis(300);

const NAMES: [&str; DATANODES] = ["datanode-0", "datanode-1", "datanode-2"];

/// The machine of a datanode: what outlives its process.
#[derive(Debug)]
struct Node {
    disk: Mutex<SimIo>,
    lives: Mutex<u64>,
    id: Mutex<Option<NodeId>>,
}

/// Runs one simulation to its end, checks what must hold, and answers what happened.
pub(crate) fn run(plan: &Plan) -> Vec<String> {
    count_panics();
    align_task_ids();
    let trace = Trace::default();
    let shown = ShowOnFailure(trace.clone());
    let plan = Arc::new(plan.clone());
    let store = MemoryStore::new(Incarnation::from_random(u128::from(plan.random(1))));
    let nodes: Vec<Arc<Node>> = (0..DATANODES)
        .map(|index| {
            let disk = Mutex::new(SimIo::new(plan.random(100 + index as u64)));
            Arc::new(Node { disk, lives: Mutex::new(0), id: Mutex::default() })
        })
        .collect();
    let progress = Arc::new(Mutex::new(Progress::default()));
    let mut sim = turmoil::Builder::new()
        .rng_seed(plan.random(2))
        .simulation_duration(LONGEST)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(plan.latency)
        .build();
    add_namenode(&mut sim, &plan, &store, &trace);
    for (index, node) in nodes.iter().enumerate() {
        add_datanode(&mut sim, &plan, index, node, &trace);
    }
    let machine =
        |name| Machine { name, plan: Arc::clone(&plan), progress: Arc::clone(&progress), trace: trace.clone() };
    let (writer, reader) = (machine("writer"), machine("reader"));
    sim.client(writer.name, async move {
        Box::pin(writer.write()).await;
        Ok(())
    });
    sim.client(reader.name, async move {
        Box::pin(reader.read()).await;
        Ok(())
    });

    let probe = Probe::new(&store, &trace);
    let mut world = World { sim, plan, nodes, progress, trace, probe, due: Vec::new(), struck: false, darkened: false };
    world.run();
    drop(shown);
    world.trace.events()
}

/// A namenode that notices losses soon.
pub(crate) fn namenode_settings() -> NamenodeSettings {
    let mut settings = NamenodeSettings::default();
    settings.liveness.heartbeat = Duration::from_millis(250);
    settings.liveness.suspect_after = Duration::from_millis(700);
    settings.liveness.dead_after = Duration::from_millis(1_500);
    settings.liveness.repair_grace = Duration::from_millis(500);
    settings.serve.keepalive_ms = 1_000;
    settings.serve.keepalive_timeout_ms = 1_000;
    settings
}

fn add_namenode(sim: &mut Sim<'_>, plan: &Arc<Plan>, store: &MemoryStore, trace: &Trace) {
    let (plan, store, trace) = (Arc::clone(plan), store.reopen(), trace.clone());
    let lives = Cell::new(0);
    sim.host("namenode", move || {
        lives.set(lives.get() + 1);
        let (life, trace) = (lives.get(), trace.clone());
        let seed = plan.random(1_000 + life);
        let store = Arc::new(store.reopen());
        async move {
            let mut options = NamenodeOptions::new(MetadataSource::Store(store), listen("namenode", &trace).await?);
            options.init = true;
            options.env = Env::simulated(seed);
            options.settings = namenode_settings();
            let _namenode = Namenode::start(options).await?;
            trace.note("namenode", format_args!("serves, life {life}"));
            std::future::pending().await
        }
    });
}

fn add_datanode(sim: &mut Sim<'_>, plan: &Arc<Plan>, index: usize, node: &Arc<Node>, trace: &Trace) {
    let (plan, node, trace) = (Arc::clone(plan), Arc::clone(node), trace.clone());
    let name = NAMES[index];
    sim.host(name, move || {
        let (node, trace) = (Arc::clone(&node), trace.clone());
        let life = {
            let mut lives = node.lives.lock();
            *lives += 1;
            *lives
        };
        let seed = plan.random(10_000 * (index as u64 + 1) + life);
        async move {
            let mut options = DatanodeOptions::new(FOLDER, listen(name, &trace).await?, vec![address("namenode")]);
            options.io = Arc::new(node.disk.lock().clone());
            options.env = Env::simulated(seed);
            options.connector = Outgoing::of(name, &trace);
            options.settings.transport.keep_alive = Duration::from_secs(1);
            options.settings.transport.keep_alive_timeout = Duration::from_secs(1);
            options.settings.serve.keepalive_ms = 1_000;
            options.settings.serve.keepalive_timeout_ms = 1_000;
            let datanode = Datanode::start(options).await?;
            trace.note(name, format_args!("runs, life {life}"));
            datanode.ready().await?;
            let id = datanode.node_id();
            trace.note(name, format_args!("is registered as node {}", id.map_or(0, NodeId::get)));
            let before = std::mem::replace(&mut *node.id.lock(), id);
            assert!(before.is_none() || before == id, "{name} was {before:?} and is {id:?}");
            std::future::pending().await
        }
    });
}

/// Something that befalls a machine.
#[derive(Clone, Copy, Debug)]
enum Event {
    Lost,
    Back,
    NamenodeKilled,
    NamenodeBack,
    Dark,
    Light,
}

struct World<'a> {
    sim: Sim<'a>,
    plan: Arc<Plan>,
    nodes: Vec<Arc<Node>>,
    progress: Arc<Mutex<Progress>>,
    trace: Trace,
    probe: Probe,
    due: Vec<(Duration, Event)>,
    struck: bool,
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
                self.probe.look(now);
                look = now + LOOK;
            }
            if now >= check {
                self.probe.check();
                check = now + CHECK;
            }
            if done {
                break;
            }
            self.plan_ahead(now);
            while let Some(next) = self.due.iter().position(|(at, _)| *at <= now) {
                let (_, event) = self.due.remove(next);
                self.befall(now, event);
            }
        }
        self.end();
    }

    fn plan_ahead(&mut self, now: Duration) {
        let progress = self.progress.lock();
        if progress.moment && !self.struck {
            self.struck = true;
            let lost = now + self.plan.delay;
            self.due.extend([(lost, Event::Lost), (lost + self.plan.away, Event::Back)]);
            if let Some((after, away)) = self.plan.namenode_killed {
                let killed = lost + after;
                self.due.extend([(killed, Event::NamenodeKilled), (killed + away, Event::NamenodeBack)]);
            }
        }
        let quiet = self.due.is_empty();
        if progress.take_power && quiet && !self.darkened {
            self.darkened = true;
            self.due.extend([(now, Event::Dark), (now + DARKNESS, Event::Light)]);
        }
    }

    fn befall(&mut self, now: Duration, event: Event) {
        let (loss, victim) = (self.plan.loss, self.plan.victim);
        self.trace.at(now, "fate", format_args!("{event:?} {loss:?} {}", NAMES[victim]));
        match event {
            Event::Lost => self.lose(loss, victim),
            Event::Back => self.bring_back(loss, victim),
            Event::NamenodeKilled => self.sim.crash("namenode"),
            Event::NamenodeBack => self.sim.bounce("namenode"),
            Event::Dark => (0..DATANODES).for_each(|index| self.lose(Loss::PowerCut, index)),
            Event::Light => {
                (0..DATANODES).for_each(|index| self.bring_back(Loss::PowerCut, index));
                self.progress.lock().power_is_back = true;
            }
        }
    }

    fn others(index: usize) -> impl Iterator<Item = &'static str> {
        ["namenode", "writer", "reader"].into_iter().chain(NAMES.into_iter().filter(move |name| *name != NAMES[index]))
    }

    fn lose(&mut self, loss: Loss, index: usize) {
        let name = NAMES[index];
        match loss {
            Loss::Killed => self.crash(index, SimIo::crash_keeping_all),
            Loss::PowerCut => {
                // Nobody is told.
                Self::others(index).for_each(|other| self.sim.partition(name, other));
                let seed = self.plan.random(*self.nodes[index].lives.lock() + 50 * index as u64);
                self.crash(index, |disk| disk.crash(seed));
            }
            Loss::CutOff => Self::others(index).for_each(|other| self.sim.partition(name, other)),
            Loss::CutOffFromNamenode => self.sim.partition(name, "namenode"),
            Loss::CutOffFromNeighbour => self.sim.partition(name, neighbour(index)),
            Loss::Stalled => Self::others(index).for_each(|other| self.sim.hold(name, other)),
        }
    }

    fn bring_back(&mut self, loss: Loss, index: usize) {
        let name = NAMES[index];
        match loss {
            Loss::Killed => self.sim.bounce(name),
            Loss::PowerCut => {
                Self::others(index).for_each(|other| self.sim.repair(name, other));
                self.sim.bounce(name);
            }
            Loss::CutOff => Self::others(index).for_each(|other| self.sim.repair(name, other)),
            Loss::CutOffFromNamenode => self.sim.repair(name, "namenode"),
            Loss::CutOffFromNeighbour => self.sim.repair(name, neighbour(index)),
            Loss::Stalled => Self::others(index).for_each(|other| self.sim.release(name, other)),
        }
    }

    fn crash(&mut self, index: usize, found: impl FnOnce(&SimIo) -> SimIo) {
        self.sim.crash(NAMES[index]);
        let mut disk = self.nodes[index].disk.lock();
        self.trace.at(self.sim.elapsed(), NAMES[index], format_args!("crashes, {}", work(&disk)));
        let after = found(&disk);
        *disk = after;
    }

    fn end(&mut self) {
        self.probe.check();
        let disks: Vec<(NodeId, SimIo)> =
            self.nodes.iter().map(|node| (node.id.lock().expect("registered"), node.disk.lock().clone())).collect();
        self.probe.check_disks(&disks, &self.plan.content());
        let now = self.sim.elapsed();
        self.trace.at(now, "rows", format_args!("end at version {}", self.probe.version()));
        for (node, disk) in disks {
            self.trace.at(now, "disk", format_args!("of node {node}: {}", work(&disk)));
        }
    }
}

fn work(disk: &SimIo) -> String {
    format!("{} changes and {} syncs of its disk", disk.changes(), disk.syncs())
}

fn neighbour(index: usize) -> &'static str {
    NAMES[(index + 1) % DATANODES]
}

thread_local! {
    /// Panics of this thread's tasks.
    pub(crate) static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// The tasks of a machine take their panics with them: count them.
pub(crate) fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.set(PANICS.get() + 1);
            before(panic);
        }));
    });
}

/// A runtime that ends drops its tasks in an order that depends on their ids modulo a small power of two, and ids are counted for the whole
/// process: begins each simulation at the same place, so that connections of a killed process break in the same order.
pub(crate) fn align_task_ids() {
    const EVERY: u64 = 1 << 10;
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let next = || runtime.spawn(async {}).id().to_string().parse::<u64>().expect("ids are numbers");
    while next() % EVERY != 0 {}
}
