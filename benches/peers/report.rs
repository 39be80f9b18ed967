//! What was found, as a table, as figures, and as a chart.

use std::fmt::Write as _;
use std::path::Path;

use godfs_benches::rows::{Row, median};
use godfs_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::{chart, write};

/// One measure on both.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Pair {
    pub(crate) name: String,
    /// Whether chunks that were written are on disk; `None` where nothing is written.
    pub(crate) synced: Option<bool>,
    /// A row for each round.
    pub(crate) godfs: Vec<Row>,
    pub(crate) hdfs: Vec<Row>,
}

/// All measures, and what they were taken with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Compared {
    pub(crate) godfs: String,
    pub(crate) hdfs: String,
    pub(crate) cores: usize,
    pub(crate) rounds: u32,
    /// Of the machine, at the end.
    pub(crate) load: String,
    /// The most memory that a daemon of each had resident, bytes.
    pub(crate) rss_max: [u64; 2],
    pub(crate) pairs: Vec<Pair>,
}

/// What a row is judged by: megabytes a second of one large file, operations a second of many small ones.
fn rate(row: &Row) -> (f64, &'static str) {
    let operations = row.per_second * row.seconds;
    if operations < 2.0 { (row.mb_per_second, "MB/s") } else { (row.per_second, "/s") }
}

/// The same as text.
pub(crate) fn figure(row: &Row) -> String {
    let (rate, unit) = rate(row);
    format!("{rate:.0} {unit}")
}

/// CPU time for what a row is judged by: seconds a GiB, or milliseconds an operation.
fn cost(row: &Row) -> Option<(f64, &'static str)> {
    match rate(row).1 {
        "MB/s" => row.cpu_all_per_gib.map(|seconds| (seconds, "s/GiB")),
        _ => row.cpu_all_seconds.map(|seconds| (seconds * 1e3 / (row.per_second * row.seconds), "ms each")),
    }
}

/// Medians of one measure.
pub(crate) struct Medians {
    pub(crate) unit: &'static str,
    pub(crate) rates: [f64; 2],
    cost_unit: &'static str,
    costs: [Option<f64>; 2],
}

impl Pair {
    pub(crate) fn medians(&self) -> Option<Medians> {
        let unit = rate(self.godfs.first()?).1;
        let rates = |rows: &[Row]| median(rows.iter().map(|row| rate(row).0));
        let costs = |rows: &[Row]| median(rows.iter().filter_map(cost).map(|cost| cost.0));
        Some(Medians {
            unit,
            rates: [rates(&self.godfs)?, rates(&self.hdfs)?],
            cost_unit: cost(self.godfs.first()?).map_or("", |cost| cost.1),
            costs: [costs(&self.godfs), costs(&self.hdfs)],
        })
    }

    /// The name, with what is on disk.
    pub(crate) fn title(&self) -> String {
        let synced = if self.synced == Some(true) { ", synced" } else { "" };
        format!("{}{synced}", self.name)
    }
}

impl Compared {
    /// Writes table, figures and chart into the folder `out`; gives the table.
    pub(crate) fn write(&self, out: &Path) -> Result<String> {
        std::fs::create_dir_all(out).map_err(|error| Error::io(out.display(), error))?;
        let json = serde_json::to_string_pretty(self);
        let json = json.map_err(|error| Error::new(ErrorKind::Internal, format!("JSON: {error}")))?;
        let table = self.table();
        write(out, "peers.json", &(json + "\n"))?;
        write(out, "peers.md", &table)?;
        write(out, "peers.svg", &chart::chart(self))?;
        Ok(table)
    }

    fn table(&self) -> String {
        let mut text = format!(
            "GoDFS {} and HDFS {}, {} cores, medians of {} rounds by turns. A daemon had at most {} and {} MiB resident. What GoDFS acknowledges of small files and names \
             is on disk; of HDFS, names are, and bytes only where it says synced.\n\n",
            self.godfs,
            self.hdfs,
            self.cores,
            self.rounds,
            self.rss_max[0] >> 20,
            self.rss_max[1] >> 20,
        );
        text += "| three replicas | GoDFS | HDFS | ratio | CPU of all processes: GoDFS | HDFS | ratio |\n";
        text += "|---|---|---|---|---|---|---|\n";
        for pair in &self.pairs {
            let Some(Medians { unit, rates: [godfs, hdfs], cost_unit, costs }) = pair.medians() else { continue };
            let _ = write!(text, "| {} | {godfs:.0} {unit} | {hdfs:.0} {unit} | {:.1} |", pair.title(), godfs / hdfs);
            let _ = match costs {
                [Some(own), Some(other)] => {
                    writeln!(text, " {own:.2} {cost_unit} | {other:.2} {cost_unit} | {:.2} |", own / other)
                }
                _ => writeln!(text, " | | |"),
            };
        }
        text
    }
}

/// What an earlier run has written into `out`.
pub(crate) fn load(out: &Path) -> Result<Compared> {
    let path = out.join("peers.json");
    let text = std::fs::read_to_string(&path).map_err(|error| Error::io(path.display(), error))?;
    serde_json::from_str(&text)
        .map_err(|error| Error::new(ErrorKind::InvalidArgument, format!("{}: {error}", path.display())))
}
