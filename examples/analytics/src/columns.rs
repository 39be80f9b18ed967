//! A large Parquet file, written as an upload of parts, and read one column after another.

use std::error::Error;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::RecordBatch;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::arrow::{AsyncArrowWriter, ParquetRecordBatchStreamBuilder, ProjectionMask};
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use datafusion::parquet::file::properties::WriterProperties;
use futures::future::BoxFuture;
use futures::{FutureExt, TryStreamExt};
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

/// An object, as Parquet reads it: the ranges of a column's pages together.
struct Object {
    store: Arc<dyn ObjectStore>,
    key: Path,
    size: u64,
}

impl AsyncFileReader for Object {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async { self.store.get_range(&self.key, range).await.map_err(|error| ParquetError::External(error.into())) }
            .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move {
            let found = self.store.get_ranges(&self.key, &ranges).await;
            found.map_err(|error| ParquetError::External(error.into()))
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        let size = self.size;
        let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
        async move { reader.load_and_finish(self, size).await.map(Arc::new) }.boxed()
    }
}

/// Reads one column; gives the number of its rows.
pub async fn read(store: &Arc<dyn ObjectStore>, key: &Path, size: u64, column: usize) -> Result<usize, Box<dyn Error>> {
    let object = Object { store: Arc::clone(store), key: key.clone(), size };
    let builder = ParquetRecordBatchStreamBuilder::new(object).await?;
    let only = ProjectionMask::leaves(builder.parquet_schema(), [column]);
    let rows = builder.with_projection(only).build()?;
    Ok(rows.try_fold(0, async |rows, batch| Ok(rows + batch.num_rows())).await?)
}
