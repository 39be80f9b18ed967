//! Rows of `godfs bench --json`, and what many of them come to.

use serde::{Deserialize, Serialize};

/// What is taken of a row; the fields mean what `godfs bench` says they do.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Row {
    pub name: String,
    pub bytes: u64,
    pub seconds: f64,
    pub per_second: f64,
    pub mb_per_second: f64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
    pub errors: u64,
    #[serde(default)]
    pub cpu_all_seconds: Option<f64>,
    #[serde(default)]
    pub cpu_all_per_gib: Option<f64>,
    #[serde(default)]
    pub rss_max_bytes: u64,
    #[serde(default)]
    pub daemon_rss_max_bytes: Option<u64>,
    #[serde(default)]
    pub least_bytes: Option<u64>,
    #[serde(default)]
    pub most_bytes: Option<u64>,
    #[serde(default)]
    pub path: String,
}

/// The value in the middle; of an even number, the mean of the two there. `None` of none.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        even if even % 2 == 0 => Some(f64::midpoint(values[middle - 1], values[middle])),
        _ => Some(values[middle]),
    }
}
