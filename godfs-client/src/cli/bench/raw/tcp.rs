//! The rows over loopback.

use std::path::Path;

use godfs_core::Result;

use super::super::measure::{Meter, Phase, Spent, Tally};
use super::Run;
use super::packets::{Packets, Source, lengths};
use super::parts::{Part, Player, connect, wait_for_done};

/// Hops of the relay: the replicas of a file.
const HOPS: usize = 3;

/// Receives and checks what another process sends.
pub(super) fn tcp_crc(size: u64, phase: &Phase, tally: &mut Tally) -> Result<Run> {
    let sender = Player::start(Part::Sender, size, None, None)?;
    let mut packets = Packets::new();
    let meter = Meter::start(phase);
    let mut stream = connect(&sender.address)?;
    for length in lengths(size) {
        packets.take(length, &mut stream)?;
        packets.verify()?;
    }
    end(size, meter, [sender], tally)
}

/// Sends through three others.
pub(super) fn relay3(size: u64, dir: &Path, phase: &Phase, tally: &mut Tally) -> Result<Run> {
    let mut hops: Vec<Player> = Vec::new();
    for _ in 0..HOPS {
        let next = hops.last().map(|hop| hop.address.clone());
        hops.push(Player::start(Part::Relay, size, Some(dir), next.as_deref())?);
    }
    let source = Source::new(false);
    let meter = Meter::start(phase);
    let mut stream = connect(&hops[HOPS - 1].address)?;
    source.send(size, &mut stream)?;
    wait_for_done(&mut stream)?;
    end(size, meter, hops, tally)
}

fn end(size: u64, mut meter: Meter, players: impl IntoIterator<Item = Player>, tally: &mut Tally) -> Result<Run> {
    let spent = meter.stop();
    tally.succeed(size, spent.time);
    let (mut all, mut most) = (spent.own, 0);
    for player in players {
        let (cpu, rss) = player.end()?;
        all += cpu;
        most = most.max(rss);
    }
    meter.set(Spent { all: Some(all), ..spent });
    Ok(Run { meter, rss_max: Some(most) })
}
