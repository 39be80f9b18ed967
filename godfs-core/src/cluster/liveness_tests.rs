use super::*;

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn known(id: u32) -> KnownNode {
    KnownNode { id: NodeId(id), uuid: uuid(id), address: "host:1".to_owned(), domain: Domain::default() }
}

fn uuid(id: u32) -> NodeUuid {
    NodeUuid::from_random(u128::from(id))
}

fn registration(id: u32, instance: u64, address: &str) -> Registration {
    Registration {
        id: NodeId(id),
        uuid: uuid(id),
        instance,
        address: address.to_owned(),
        domain: Domain::default(),
        space: Space { capacity: 100, used: 40, available: 60 },
    }
}

/// A namenode with one live node, whose report has come.
fn one_live() -> (Nodes, StreamId) {
    let mut nodes = Nodes::new(LivenessSettings::default(), at(0));
    let (stream, change) = nodes.register(at(0), registration(1, 7, "h1:1")).unwrap();
    assert_eq!((change.state, change.standing), (NodeState::Live, Standing::Away));
    let change = nodes.report_complete(at(0), NodeId(1), stream).unwrap().unwrap();
    assert_eq!((change.state, change.standing), (NodeState::Live, Standing::Certain));
    (nodes, stream)
}

/// Ticks every 100 ms from `from` to `to` and gives what changed, with the times.
fn tick(nodes: &mut Nodes, from: u64, to: u64) -> Vec<(u64, NodeState, Standing)> {
    let changes = (from / 100..=to / 100).flat_map(|step| {
        let changes = nodes.tick(at(step * 100));
        changes.into_iter().map(move |change| (step * 100, change.state, change.standing))
    });
    changes.collect()
}

#[test]
fn silence_is_suspected_then_dead_then_lost() {
    let (mut nodes, stream) = one_live();
    assert_eq!(
        tick(&mut nodes, 0, 20_000),
        [
            (2_000, NodeState::Suspected, Standing::Away),
            (5_000, NodeState::Dead, Standing::Away),
            (10_000, NodeState::Dead, Standing::Lost),
        ]
    );
    assert!(!nodes.view().nodes[0].live);
    assert_eq!(nodes.counts(), NodeCounts { live: 0, not_live: 1, space: Space::default() });
    // What slept so long begins anew, with a report.
    let refused = nodes.heartbeat(at(20_000), NodeId(1), stream, Heartbeat::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Fenced);
    let (_, change) = nodes.register(at(20_000), registration(1, 7, "h1:1")).unwrap();
    assert_eq!((change.state, change.standing), (NodeState::Live, Standing::Away));
}

#[test]
fn the_end_of_a_stream_is_suspicion_at_once() {
    let (mut nodes, stream) = one_live();
    let change = nodes.stream_lost(at(100), NodeId(1), stream).unwrap();
    assert_eq!((change.state, change.standing), (NodeState::Suspected, Standing::Away));
    assert_eq!(nodes.stream_lost(at(100), NodeId(1), stream), None);
}

#[test]
fn heartbeats_keep_a_node_alive_and_revive_a_suspected_one() {
    let (mut nodes, stream) = one_live();
    for second in 1..20 {
        assert_eq!(nodes.heartbeat(at(second * 1_000), NodeId(1), stream, Heartbeat::default()).unwrap(), None);
        assert_eq!(tick(&mut nodes, second * 1_000, second * 1_000 + 900), []);
    }
    assert_eq!(tick(&mut nodes, 20_000, 21_500).len(), 1);
    let change = nodes.heartbeat(at(21_600), NodeId(1), stream, Heartbeat::default()).unwrap().unwrap();
    assert_eq!((change.state, change.standing), (NodeState::Live, Standing::Certain));
}

/// A restarted namenode has heard of nobody. It must neither bury its cluster nor wait for ever.
#[test]
fn a_new_namenode_grants_a_full_period() {
    let mut nodes = Nodes::new(LivenessSettings::default(), at(1_000_000));
    let change = nodes.expect(known(1)).unwrap();
    assert_eq!((change.state, change.standing), (NodeState::Expected, Standing::Away));
    assert_eq!(nodes.expect(known(1)), None);
    let changes = tick(&mut nodes, 1_000_000, 1_020_000);
    assert_eq!(changes, [(1_010_000, NodeState::Dead, Standing::Lost)]);
}

/// Nobody was ever there to be missed.
#[test]
fn a_node_without_an_address_is_awaited_for_ever() {
    let mut nodes = Nodes::new(LivenessSettings::default(), at(0));
    nodes.expect(KnownNode { address: String::new(), ..known(1) }).unwrap();
    assert_eq!(tick(&mut nodes, 0, 100_000), []);
    assert_eq!(nodes.state(NodeId(1)), Some(NodeState::Expected));
}

/// A namenode that was stopped for an hour heard nobody in that hour, and has no reason to bury anybody.
#[test]
fn a_pause_of_the_namenode_kills_nobody() {
    let (mut nodes, stream) = one_live();
    tick(&mut nodes, 0, 500);
    let changes = nodes.tick(at(3_600_000));
    assert!(changes.iter().all(|change| change.state == NodeState::Suspected), "{changes:?}");
    let change = nodes.heartbeat(at(3_600_001), NodeId(1), stream, Heartbeat::default()).unwrap().unwrap();
    assert_eq!(change.standing, Standing::Certain);
}

#[test]
fn a_copy_of_a_live_folder_is_refused_naming_both() {
    let (mut nodes, stream) = one_live();
    let refused = nodes.register(at(100), registration(1, 8, "h2:2")).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::FailedPrecondition);
    for part in ["h1:1", "h2:2", "0000000000000007", "0000000000000008"] {
        assert!(refused.message().contains(part), "{refused}");
    }
    assert_eq!(nodes.address(NodeId(1)), Some("h1:1"), "the first is undisturbed");
    assert!(nodes.heartbeat(at(100), NodeId(1), stream, Heartbeat::default()).is_ok());
}

#[test]
fn a_restart_elsewhere_is_the_same_node() {
    let (mut nodes, old) = one_live();
    nodes.stream_lost(at(100), NodeId(1), old);
    let (new, change) = nodes.register(at(200), registration(1, 8, "[::1]:2")).unwrap();
    assert_eq!((change.node, change.standing), (NodeId(1), Standing::Away));
    assert_eq!(nodes.address(NodeId(1)), Some("[::1]:2"));
    assert_eq!(nodes.view().nodes[0].host, "::1");
    assert_eq!(nodes.stream_lost(at(300), NodeId(1), old), None, "the old stream's end comes late");
    assert!(nodes.heartbeat(at(300), NodeId(1), old, Heartbeat::default()).is_err());
    assert!(nodes.report_complete(at(300), NodeId(1), new).unwrap().is_some());
}

#[test]
fn the_same_process_may_connect_anew_at_any_time() {
    let (mut nodes, old) = one_live();
    let (new, change) = nodes.register(at(100), registration(1, 7, "h1:1")).unwrap();
    assert_ne!(old, new);
    assert_eq!(change.standing, Standing::Away, "what it holds is uncertain until it has reported");
}

#[test]
fn numbers_and_folders_stay_together() {
    let (mut nodes, stream) = one_live();
    nodes.stream_lost(at(0), NodeId(1), stream);
    let stranger = Registration { uuid: uuid(2), ..registration(1, 9, "h3:3") };
    assert_eq!(nodes.register(at(1), stranger).unwrap_err().kind(), ErrorKind::FailedPrecondition);
    let renumbered = Registration { id: NodeId(5), ..registration(1, 9, "h3:3") };
    assert_eq!(nodes.register(at(1), renumbered).unwrap_err().kind(), ErrorKind::FailedPrecondition);
}

#[test]
fn reservations_last_until_the_next_heartbeat() {
    let (mut nodes, stream) = one_live();
    nodes.reserve(&[NodeId(1), NodeId(9)], 50);
    tick(&mut nodes, 0, 300);
    let view = nodes.view();
    assert_eq!((view.nodes[0].available, view.nodes[0].load), (10, 1));
    let space = Space { capacity: 100, used: 45, available: 55 };
    nodes.heartbeat(at(1_000), NodeId(1), stream, Heartbeat { space, draining: true, ..Heartbeat::default() }).unwrap();
    let view = nodes.view();
    assert_eq!((view.nodes[0].available, view.nodes[0].load, view.nodes[0].eligible), (55, 0, false));
}

#[test]
fn a_node_with_several_disks_takes_what_one_of_them_takes() {
    let (mut nodes, stream) = one_live();
    let disk =
        |available| VolumeStatus { space: Space { capacity: 100, used: 0, available }, ..VolumeStatus::default() };
    let heartbeat =
        |volumes| Heartbeat { space: Space { capacity: 200, used: 0, available: 90 }, volumes, ..Heartbeat::default() };
    nodes.heartbeat(at(100), NodeId(1), stream, heartbeat(vec![disk(50), disk(40)])).unwrap();
    assert_eq!((nodes.view().nodes[0].available, nodes.view().nodes[0].largest), (90, 50));
    nodes.heartbeat(at(200), NodeId(1), stream, heartbeat(Vec::new())).unwrap();
    assert_eq!((nodes.view().nodes[0].available, nodes.view().nodes[0].largest), (90, 90));
}

#[test]
fn a_node_that_reports_again_is_not_certain_until_it_has() {
    let (mut nodes, stream) = one_live();
    nodes.report_complete(at(100), NodeId(1), stream).unwrap();
    let change = nodes.report_begun(at(200), NodeId(1), stream).unwrap().expect("a change");
    assert_eq!((change.state, change.standing), (NodeState::Live, Standing::Away));
    let change = nodes.report_complete(at(300), NodeId(1), stream).unwrap().expect("a change");
    assert_eq!(change.standing, Standing::Certain);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    assert!(LivenessSettings::default().validate().is_ok());
    let hasty = LivenessSettings { suspect_after: at(1_000), ..LivenessSettings::default() };
    assert!(hasty.validate().is_err());
}
