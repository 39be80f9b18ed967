//! The registrations of datanodes.

use super::MAX_PAGE;
use super::answers::NodeInfo;
use super::options::Registration;
use super::rows::{self, NodeRow, Series, keys, small};
use crate::error::{Error, ErrorKind};
use crate::id::NodeId;
use crate::metadata::{Range, Snapshot, Space, Step, Transaction};
use crate::placement::Domain;

/// The longest address of a node, in bytes: a DNS name, a colon and a port.
const MAX_ADDRESS_BYTES: usize = 260;

/// Gives a folder its number, or finds it again; and keeps where the node is reached.
pub(super) fn register(txn: &mut dyn Transaction, request: &Registration) -> Step<NodeId> {
    let Registration { uuid, node: claimed, address, domain } = request;
    if address.is_empty() || address.len() > MAX_ADDRESS_BYTES {
        let message = format!("the address of a datanode has 1 to {MAX_ADDRESS_BYTES} bytes, not {}", address.len());
        return Err(Error::new(ErrorKind::InvalidArgument, message).into());
    }
    Domain::parse(domain)?;
    let row = NodeRow { uuid: *uuid, address: address.clone(), domain: domain.clone() };
    let known = txn.get(Space::Rows, &keys::node_uuid(*uuid))?.map(|row| small::decode_number(&row)).transpose()?;
    let node = match (known, claimed) {
        (Some(known), _) => NodeId(u32::try_from(known).map_err(|_| {
            Error::new(ErrorKind::Corrupt, format!("metadata: folder {uuid} has the impossible node number {known}"))
        })?),
        (None, None) => {
            let drawn = rows::draw_ids(txn, Series::Nodes, 1)?;
            txn.put(Space::Rows, keys::node_uuid(*uuid).into(), small::encode_number(drawn));
            NodeId(u32::try_from(drawn).expect("draw_ids keeps node numbers within 32 bits"))
        }
        (None, Some(claimed)) => {
            let message = format!(
                "the folder {uuid} says that it is node {claimed}, which this namenode never registered: it belongs to another cluster, \
                 or to a later state of this one"
            );
            return Err(Error::new(ErrorKind::Incompatible, message).into());
        }
    };
    if claimed.is_some_and(|claimed| claimed != node) {
        let message = format!(
            "the folder {uuid} says that it is node {}, it was registered as node {node}",
            claimed.unwrap_or_default()
        );
        return Err(Error::new(ErrorKind::Incompatible, message).into());
    }
    if rows::find_node(txn, node)?.as_ref() != Some(&row) {
        txn.put(Space::Rows, keys::node(node).into(), row.encode());
    }
    Ok(node)
}

/// Registered nodes in order of their numbers.
pub(super) fn page(snapshot: &mut dyn Snapshot, after: NodeId, limit: usize) -> Step<Vec<NodeInfo>> {
    let prefix = keys::table(keys::Table::Nodes);
    let range = Range::prefix_after(&prefix, &keys::node(after), limit.clamp(1, MAX_PAGE));
    let mut nodes = Vec::new();
    for (key, value) in snapshot.scan(Space::Rows, &range)? {
        let node = NodeId(keys::KeyReader::new(&key)?.u32()?);
        let NodeRow { uuid, address, domain } = NodeRow::decode(&value)?;
        nodes.push(NodeInfo { node, uuid, address, domain });
    }
    Ok(nodes)
}
