//! How fast a large Parquet file is written, read column by column, and scanned by DataFusion.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::columns;

const COLUMNS: usize = 8;
const ROWS_A_BATCH: usize = 1 << 20;
/// How often each kind of read is made; the fastest counts.
const ROUNDS: usize = 3;

/// MB a second of each.
pub struct Speed {
    pub written: f64,
    pub read: f64,
    pub scanned: f64,
}

/// Writes `batches` of 64 MiB and reads them back.
pub async fn run(
    store: Arc<dyn ObjectStore>,
    context: &SessionContext,
    batches: usize,
) -> Result<Speed, Box<dyn Error>> {
    let key = Path::from("large/numbers.parquet");
    let batch = batch()?;
    let begun = Instant::now();
    let size = columns::write(&store, &key, &batch, batches).await?;
    let speed = |begun: Instant| size as f64 / begun.elapsed().as_secs_f64() / 1e6;
    let written = speed(begun);

    let (mut read, mut scanned) = (0_f64, 0_f64);
    for round in 0..ROUNDS {
        let begun = Instant::now();
        for column in 0..COLUMNS {
            let rows = columns::read(&store, &key, size, column).await?;
            assert_eq!(rows, batches * ROWS_A_BATCH, "rows of column {column}");
        }
        read = read.max(speed(begun));

        let table = format!("numbers{round}");
        context.register_parquet(&table, "godfs://lake/large/numbers.parquet", ParquetReadOptions::default()).await?;
        let begun = Instant::now();
        let sums: Vec<String> = (0..COLUMNS).map(|column| format!("bit_xor(c{column})")).collect();
        let found = context.sql(&format!("SELECT {} FROM {table}", sums.join(", "))).await?.collect().await?;
        assert_eq!(found.iter().map(RecordBatch::num_rows).sum::<usize>(), 1, "one row of sums");
        scanned = scanned.max(speed(begun));
    }
    Ok(Speed { written, read, scanned })
}

/// Numbers that no encoding makes smaller, and whose statistics answer no question about their sums.
fn batch() -> Result<RecordBatch, Box<dyn Error>> {
    let mut number = 0_u64;
    let mut column = || {
        let next = || {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            number as i64
        };
        Arc::new(Int64Array::from_iter_values(std::iter::repeat_with(next).take(ROWS_A_BATCH))) as ArrayRef
    };
    let names: Vec<String> = (0..COLUMNS).map(|at| format!("c{at}")).collect();
    Ok(RecordBatch::try_from_iter(names.iter().map(|name| (name, column())))?)
}
