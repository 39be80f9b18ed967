//! `report`: the state of the cluster.

use comfy_table::{CellAlignment, Table, presets};
use godfs_core::ClusterId;
use godfs_proto::v1;

use super::args::ReportArgs;
use super::context::Context;
use super::failure::Outcome;
use super::format::size;
use super::output::Output;
use super::view::{Node, NodeScrub, Report, Slow, Volume};

/// Runs `report`.
pub(super) async fn report(context: &Context, args: &ReportArgs, output: &mut Output) -> Outcome {
    let report = Report::from(&context.client.report().await?);
    if output.json() {
        return output.object(&report);
    }
    text(&report, args.human).lines().try_for_each(|line| output.line(line))
}

impl From<&v1::ReportResponse> for Report {
    fn from(report: &v1::ReportResponse) -> Self {
        Self {
            cluster_id: id(&report.cluster_id),
            incarnation: id(&report.incarnation),
            version: report.version,
            software: report.software.clone(),
            uptime_ms: report.uptime_ms,
            complete: report.complete,
            live_datanodes: report.live_datanodes,
            dead_datanodes: report.dead_datanodes,
            files: report.files,
            directories: report.directories,
            open_files: report.open_files,
            chunks: report.chunks,
            bytes: report.bytes,
            replicated_bytes: report.replicated_bytes,
            under_replicated: report.under_replicated,
            missing: report.missing,
            corrupt: report.corrupt,
            over_replicated: report.over_replicated,
            repairing: report.repairing,
            pending_deletes: report.pending_deletes,
            capacity_bytes: report.capacity_bytes,
            used_bytes: report.used_bytes,
            available_bytes: report.available_bytes,
            nodes: report.nodes.iter().map(Node::from).collect(),
        }
    }
}

impl From<&v1::NodeReport> for Node {
    fn from(report: &v1::NodeReport) -> Self {
        let node = report.node.clone().unwrap_or_default();
        let space = report.space.unwrap_or_default();
        Self {
            id: node.id,
            address: node.address,
            domain: node.domain,
            state: match report.state() {
                v1::NodeState::Live => "live",
                v1::NodeState::Suspected => "suspected",
                v1::NodeState::Dead => "dead",
                v1::NodeState::Expected => "expected",
                v1::NodeState::Unspecified => "unknown",
            },
            draining: report.draining,
            capacity_bytes: space.capacity,
            used_bytes: space.used,
            available_bytes: space.available,
            load: report.load,
            silent_ms: report.silent_ms,
            replicas: report.replicas,
            quarantined: report.quarantined,
            unknown_files: report.unknown_files,
            scrub: report.scrub.map_or_else(NodeScrub::default, |scrub| NodeScrub {
                rounds: scrub.rounds,
                checked: scrub.checked,
                total: scrub.total,
                corrupt: scrub.corrupt,
            }),
            volumes: report.volumes.iter().map(Volume::from).collect(),
            slow: report.slowness.map(|slowness| Slow {
                micros: slowness.micros,
                peers_micros: slowness.peers_micros,
                witnesses: slowness.witnesses,
            }),
        }
    }
}

impl From<&v1::Volume> for Volume {
    fn from(volume: &v1::Volume) -> Self {
        let space = volume.space.unwrap_or_default();
        Self {
            path: volume.path.clone(),
            capacity_bytes: space.capacity,
            used_bytes: space.used,
            available_bytes: space.available,
            failure: Some(volume.failure.clone()).filter(|failure| !failure.is_empty()),
        }
    }
}

/// An id of 16 bytes as text; empty when there is none.
fn id(bytes: &[u8]) -> String {
    ClusterId::from_bytes(bytes).map_or_else(String::new, |id| id.to_string())
}

fn text(report: &Report, human: bool) -> String {
    let bytes = |bytes| size(bytes, human);
    let mut text = format!(
        "cluster           {}\n\
         namenode          {}, up {}, version {}\n\
         datanodes         {} live, {} dead\n\
         files             {} in {} directories, {} open, {} bytes\n\
         chunks            {}\n\
         under-replicated  {}\n\
         over-replicated   {}\n\
         missing           {}\n\
         corrupt           {}\n\
         repairing         {}\n\
         pending deletes   {}\n\
         room              {} of {} used, {} available\n",
        report.cluster_id,
        report.software,
        humantime::format_duration(std::time::Duration::from_secs(report.uptime_ms / 1_000)),
        report.version,
        report.live_datanodes,
        report.dead_datanodes,
        report.files,
        report.directories,
        report.open_files,
        bytes(report.bytes),
        report.chunks,
        report.under_replicated,
        report.over_replicated,
        report.missing,
        report.corrupt,
        report.repairing,
        report.pending_deletes,
        bytes(report.used_bytes),
        bytes(report.capacity_bytes),
        bytes(report.available_bytes),
    );
    if !report.complete {
        text += "the namenode is still counting: the counts of chunks are not complete\n";
    }
    if !report.nodes.is_empty() {
        text += &format!("\n{}\n", node_table(&report.nodes, human));
    }
    // Of a node with one disk, the node says it all.
    let telling = |node: &&Node| node.volumes.len() > 1 || node.volumes.iter().any(|volume| volume.failure.is_some());
    let nodes: Vec<&Node> = report.nodes.iter().filter(telling).collect();
    if !nodes.is_empty() {
        text += &format!("\n{}\n", volume_table(&nodes, human));
    }
    text
}

fn node_table(nodes: &[Node], human: bool) -> Table {
    /// Where the columns of numbers begin.
    const FIRST_NUMBER: usize = 4;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "node",
        "address",
        "domain",
        "state",
        "replicas",
        "used",
        "available",
        "silent",
        "corrupt found",
    ]);
    for node in nodes {
        let mut state = node.state.to_owned();
        if node.draining {
            state += ", draining";
        }
        if let Some(Slow { micros, peers_micros, .. }) = node.slow {
            let ms = |micros: u64| format!("{}.{}", micros / 1_000, micros % 1_000 / 100);
            state += &format!(", slow: {} ms a packet, others {} ms", ms(micros), ms(peers_micros));
        }
        table.add_row([
            node.id.to_string(),
            node.address.clone(),
            node.domain.clone(),
            state,
            node.replicas.to_string(),
            size(node.used_bytes, human),
            size(node.available_bytes, human),
            format!("{}.{}s", node.silent_ms / 1_000, node.silent_ms % 1_000 / 100),
            node.scrub.corrupt.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(FIRST_NUMBER) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn volume_table(nodes: &[&Node], human: bool) -> Table {
    /// The columns of numbers.
    const NUMBERS: std::ops::Range<usize> = 2..5;
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["node", "volume", "capacity", "used", "available", "state"]);
    for (node, volume) in nodes.iter().flat_map(|node| node.volumes.iter().map(move |volume| (node, volume))) {
        let bytes = |bytes| if volume.failure.is_some() { "-".to_owned() } else { size(bytes, human) };
        table.add_row([
            node.id.to_string(),
            volume.path.clone(),
            bytes(volume.capacity_bytes),
            bytes(volume.used_bytes),
            bytes(volume.available_bytes),
            volume.failure.as_ref().map_or_else(|| "in use".to_owned(), |why| format!("failed: {why}")),
        ]);
    }
    for column in table.column_iter_mut().skip(NUMBERS.start).take(NUMBERS.len()) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::view::sample_report;
    use super::*;

    #[test]
    fn says_what_counts() {
        let mut report = sample_report();
        let said = text(&report, false);
        assert!(said.contains("\nunder-replicated  2\n") && said.contains("1 live, 1 dead"), "{said}");
        assert!(
            said.contains("/dc1/rack7") && said.contains("suspected") && !said.contains("still counting"),
            "{said}"
        );
        assert!(!said.contains("slow"), "{said}");
        report.nodes[0].slow = Some(Slow { micros: 61_234, peers_micros: 950, witnesses: 2 });
        let slow = text(&report, false);
        assert!(slow.contains("suspected, slow: 61.2 ms a packet, others 0.9 ms"), "{slow}");
        assert!(!said.contains("/disk1"), "a node with one disk: {said}");
        let failed =
            Volume { path: "/disk2".into(), failure: Some("unmounted".into()), ..report.nodes[0].volumes[0].clone() };
        report.nodes[0].volumes.push(failed);
        let said = text(&report, false);
        assert!(said.contains("/disk1") && said.contains("in use") && said.contains("failed: unmounted"), "{said}");
        report.complete = false;
        report.nodes.clear();
        let said = text(&report, true);
        assert!(said.ends_with("not complete\n"), "{said}");
    }
}
