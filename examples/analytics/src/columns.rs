//! A large Parquet file, written as an upload of parts, and read one column after another.

use std::error::Error;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::parquet::arrow::async_reader::ParquetObjectReader;
use datafusion::parquet::arrow::{AsyncArrowWriter, ParquetRecordBatchStreamBuilder, ProjectionMask};
use datafusion::parquet::file::properties::WriterProperties;
use futures::TryStreamExt;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

/// Writes the batch so many times; gives the size of the file.
pub async fn write(
    store: &Arc<dyn ObjectStore>,
    key: &Path,
    batch: &RecordBatch,
    times: usize,
) -> Result<u64, Box<dyn Error>> {
    let properties = WriterProperties::builder().set_dictionary_enabled(false).build();
    let to = BufWriter::new(Arc::clone(store), key.clone());
    let mut writer = AsyncArrowWriter::try_new(to, batch.schema(), Some(properties))?;
    for _ in 0..times {
        writer.write(batch).await?;
    }
    writer.close().await?;
    Ok(store.head(key).await?.size)
}

/// Reads one column; gives the number of its rows.
pub async fn read(store: &Arc<dyn ObjectStore>, key: &Path, size: u64, column: usize) -> Result<usize, Box<dyn Error>> {
    let reader = ParquetObjectReader::new(Arc::clone(store), key.clone()).with_file_size(size);
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await?;
    let only = ProjectionMask::leaves(builder.parquet_schema(), [column]);
    let rows = builder.with_projection(only).build()?;
    Ok(rows.try_fold(0, async |rows, batch| Ok(rows + batch.num_rows())).await?)
}
