//! Filling an empty store from an export.
//!
//! Rows that hold the version which wrote them get that of the import: versions of one store mean nothing in another. The row of the store itself
//! says until the end that an import is under way, so that what one that was cut short leaves is never taken for a cluster.

use std::io::Read;
use std::ops::Bound;
use std::sync::Arc;

use super::export::{ExportedRow, Manifest, Reader, damaged, is_store_row};
use super::rows::keys::{self, Table, VersionAt};
use super::rows::{FORMAT_VERSION, StoreRow};
use super::store;
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::{MetadataStore, MetadataStoreExt, Range, Space, Stamped, Step, Transaction};

/// A transaction takes no further row beyond this many bytes.
const TRANSACTION_BYTES: usize = 1 << 20;

/// Imports what `input` holds into `store`, which must be empty; `progress` hears of the rows that are in. Durable when this returns.
///
/// # Errors
/// [`ErrorKind::FailedPrecondition`] when the store holds anything; [`ErrorKind::Corrupt`] when the export is cut short or damaged, and
/// [`ErrorKind::Incompatible`] when it or its rows have another format: the store is then no cluster, and to be removed.
pub async fn import(
    store: &Arc<dyn MetadataStore>,
    input: impl Read,
    mut progress: impl FnMut(u64),
) -> Result<Manifest> {
    let mut reader = Reader::new(input)?;
    if reader.manifest().row_format != FORMAT_VERSION {
        let message = format!(
            "the export has rows of format {}, this software reads format {FORMAT_VERSION}: import it with the software that wrote it",
            reader.manifest().row_format
        );
        return Err(Error::new(ErrorKind::Incompatible, message));
    }
    let under_way = StoreRow { format: store::IMPORTING, cluster: reader.manifest().cluster, superuser: String::new() };
    store
        .commit(move |txn| {
            for space in Space::ALL {
                let any = Range { start: Bound::Unbounded, end: Bound::Unbounded, reverse: false, limit: 1 };
                if !txn.scan(space, &any)?.is_empty() {
                    let message = "the metadata store is not empty: an import needs one that is";
                    return Err(Error::new(ErrorKind::FailedPrecondition, message).into());
                }
            }
            txn.put(Space::Rows, keys::store().into(), under_way.encode());
            Ok(())
        })
        .await?;
    let (mut own, mut rows, mut bytes, mut done) = (None, Vec::new(), 0, 0);
    while let Some(block) = reader.next()? {
        for row in block {
            done += 1;
            if is_store_row(&row) {
                own = Some(row);
                continue;
            }
            bytes += row.key.len() + row.value.len();
            rows.push(row);
            if bytes >= TRANSACTION_BYTES {
                put(store, std::mem::take(&mut rows)).await?;
                bytes = 0;
                progress(done);
            }
        }
    }
    put(store, rows).await?;
    let own = own.ok_or_else(|| damaged("the row of the store is missing"))?;
    if StoreRow::decode(&own.value)?.cluster != reader.manifest().cluster {
        return Err(damaged("its rows are those of another cluster than it says"));
    }
    put(store, vec![own]).await?;
    progress(done);
    Ok(*reader.manifest())
}

async fn put(store: &Arc<dyn MetadataStore>, rows: Vec<ExportedRow>) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    store.commit(move |txn| rows.iter().try_for_each(|row| put_row(txn, row))).await?;
    Ok(())
}

fn put_row(txn: &mut dyn Transaction, ExportedRow { space, key, value }: &ExportedRow) -> Step<()> {
    let short = || damaged("a row is shorter than its kind");
    let stamp = match space {
        Space::Data => VersionAt::Nowhere,
        Space::Rows => match Table::of(key) {
            Some(table) => table.version_at(),
            None => return Err(damaged("a row is in a table that is not known here").into()),
        },
    };
    let anew = |bytes: &[u8]| match (bytes.get(..1), bytes.get(9..)) {
        (Some(before), Some(after)) => Ok(Stamped::versioned(before, after)),
        _ => Err(short()),
    };
    let (key, value) = match stamp {
        VersionAt::Nowhere => (Stamped::plain(&key[..]), Stamped::plain(&value[..])),
        VersionAt::Key => (anew(key)?, Stamped::plain(&value[..])),
        VersionAt::Value => (Stamped::plain(&key[..]), anew(value)?),
    };
    txn.put(*space, key, value);
    Ok(())
}
