//! GoDFS behind the `object_store` trait, versions 0.13 and 0.14: what DataFusion, Delta, Parquet, Polars, Lance and SlateDB need to run on it.
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use godfs_object_store::GodfsStore;
//! use object_store_014::path::Path;
//! use object_store_014::{ObjectStoreExt, PutMode};
//!
//! let store = GodfsStore::from_url("godfs://127.0.0.1:4700/lake")?;
//! let key = Path::from("table/_log/0.json");
//! store.put(&key, "one".into()).await?;
//! assert_eq!(store.get(&key).await?.bytes().await?, "one");
//! # Ok(())
//! # }
//! ```
//!
//! # Keys and paths
//! The object `a/b` of a store at `/lake` is the file `/lake/a/b`: whoever walks or copies the file system sees it there, and files that were put there
//! otherwise are objects. Directories are made with the first object below them and go with the last one, in the transaction that deletes it; one that others
//! made, and that holds no file, does not show.
//!
//! Some keys have no path. They are refused with `NotSupported`, saying why:
//! - a key below an object (`a/b` while there is an object `a`), and one that other keys lie below (`a` while there is an object `a/b`);
//! - a name longer than 255 bytes, more than 1,000 names, more than 64 KiB in all, a NUL;
//! - empty names, `.` and `..`, where the trait's own `Path` lets them pass;
//! - the name [`UPLOADS`], where parts of uploads lie until they are complete.
//!
//! # What holds
//! | | |
//! |---|---|
//! | `put` | Durable before it appears, whole or not at all. `Create` has one winner among any number of writers, `Update` compares the ETag and replaces in one transaction. Small objects take one round trip. |
//! | ETag | `INODE-VERSION`: another one after every change, also of attributes. `version` is not kept, and refused where it is asked for. |
//! | multipart | Parts are hidden files, written in parallel; `complete` joins their chunks to the object and publishes it in one transaction, without copying a byte. At most 10,000 parts. |
//! | abandoned uploads | Removed by a store that begins an upload, after a week ([`StoreOptions::abandoned_after`]); at once by [`GodfsStore::collect_abandoned`]. |
//! | `get_ranges` | Ranges that lie close together are read together, several reads at a time. |
//! | `list`, `list_with_offset` | In the order of the keys' bytes; a page in memory at a time. |
//! | `copy` | The bytes pass through the client; the copy appears whole. `rename` is one transaction and moves nothing. |
//! | attributes, tags | Extended attributes `user.object.*` of the file, from the moment it appears. |
//!
//! It must not know how the client talks to anybody: it uses `godfs-client`'s public API only, and each version of the trait in one module, [`v0_13`] and
//! [`v0_14`], over the same source.

mod attributes;
mod key;
mod read;
mod store;
mod uploads;
mod url;

#[cfg(feature = "object_store_0_13")]
pub mod v0_13;
#[cfg(feature = "object_store_0_14")]
pub mod v0_14;

pub use key::UPLOADS;
pub use store::{GodfsStore, StoreOptions};
