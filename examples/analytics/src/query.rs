//! DataFusion over a partitioned set of Parquet files.

use std::error::Error;
use std::sync::Arc;

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::prelude::SessionContext;
use object_store::ObjectStore;
use url::Url;

/// DataFusion with the store under `godfs://lake`.
pub fn context(store: Arc<dyn ObjectStore>) -> Result<SessionContext, Box<dyn Error>> {
    let context = SessionContext::new();
    context.register_object_store(&Url::parse("godfs://lake")?, store);
    Ok(context)
}

/// Writes a million events, a folder for each day, and sums them up.
pub async fn run(context: &SessionContext) -> Result<String, Box<dyn Error>> {
    let events = context
        .sql("SELECT value % 10 AS day, value AS number, value * 3 AS amount FROM generate_series(1, 1000000)")
        .await?;
    let by_day = DataFrameWriteOptions::new().with_partition_by(vec!["day".into()]);
    events.write_parquet("godfs://lake/events/", by_day, None).await?;

    context
        .sql("CREATE EXTERNAL TABLE events STORED AS PARQUET PARTITIONED BY (day) LOCATION 'godfs://lake/events/'")
        .await?;
    let sums = context
        .sql("SELECT day, count(*), sum(number), max(amount) FROM events WHERE number > 1000 GROUP BY day ORDER BY day")
        .await?;
    Ok(pretty_format_batches(&sums.collect().await?)?.to_string())
}
