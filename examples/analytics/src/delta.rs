//! A Delta table with writers that know nothing of each other: a commit is a put that must create its object.

use std::error::Error;
use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use datafusion::prelude::SessionContext;
use deltalake::logstore::{
    LogStore, LogStoreFactory, ObjectStoreRef, StorageConfig, default_logstore, logstore_factories,
};
use deltalake::{DeltaResult, DeltaTable, DeltaTableBuilder};
use object_store::ObjectStore;
use url::Url;

/// Keeps the log as on any store whose puts can be exclusive.
struct Log;

impl LogStoreFactory for Log {
    fn with_options(
        &self,
        table: ObjectStoreRef,
        root: ObjectStoreRef,
        location: &Url,
        options: &StorageConfig,
    ) -> DeltaResult<Arc<dyn LogStore>> {
        Ok(default_logstore(table, root, location, options))
    }
}

async fn table(store: Arc<dyn ObjectStore>) -> Result<DeltaTable, Box<dyn Error>> {
    logstore_factories().insert(Url::parse("godfs://")?, Arc::new(Log));
    let place = Url::parse("godfs://lake/")?;
    let mut table = DeltaTableBuilder::from_url(place.clone())?.with_storage_backend(store, place).build()?;
    if table.verify_deltatable_existence().await? {
        table.load().await?;
    }
    Ok(table)
}

/// Appends some numbers, each in a commit of its own.
pub async fn append(store: Arc<dyn ObjectStore>, numbers: Range<i64>) -> Result<(), Box<dyn Error>> {
    for number in numbers {
        let column = Arc::new(Int64Array::from_iter_values([number]));
        let batch = RecordBatch::try_from_iter([("number", column as _)])?;
        table(Arc::clone(&store)).await?.write([batch]).await?;
    }
    Ok(())
}

/// All numbers of the table.
pub async fn numbers(store: Arc<dyn ObjectStore>) -> Result<Vec<i64>, Box<dyn Error>> {
    let table = table(store).await?;
    let found = SessionContext::new().read_table(table.table_provider().await?)?.collect().await?;
    Ok(found.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect())
}
