//! Stores resumable uploads in one directory: records in `uploads.db` (SQLite), bytes in `uploads/`, one file per
//! upload, named by its id.
//!
//! Several processes may use the directory at once, on one machine and a local file system. A newer request wins
//! across all of them: the process that adds bytes to the upload learns within a quarter of a second that it must
//! commit what it has and leave. A process that adds bytes to an upload makes one small query each 250 ms for this,
//! whatever the number of uploads; a process that adds none does nothing.
//!
//! SQLite is compiled in; nothing has to be installed. Without the default feature `bundled`, the system's library is
//! linked: 3.45.3 or newer, or 3.37 if cargo resolves `rusqlite` to 0.40 or older. Unix only: Linux is tested.
//!
//! A directory of an older version of this crate is migrated when it is opened. Older versions can no longer open it
//! then. Stop all processes that use it before the first process of a new version opens it.
//!
//! A file in `uploads/` that belongs to no upload is deleted one day after it was first noticed, unless it existed
//! before the database. Files whose names cannot be upload ids are left alone.
//!
//! What survives a power cut depends on the [`Durability`]:
//!
//! | | killed process | power cut |
//! |---|---|---|
//! | [`Synced`](Durability::Synced) (default) | all acknowledged bytes exist | all acknowledged bytes exist |
//! | [`Buffered`](Durability::Buffered) | all acknowledged bytes exist | the last seconds may be missing or contain other bytes; an upload continues from the bytes that exist |

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(unix))]
compile_error!(
    "tus-sqlite needs a Unix: it opens files relative to a directory, without following links. Elsewhere, depend on the \
     framework's crate with `default-features = false`, and store uploads in a bucket (feature `object-store`) or in memory"
);

mod asks;
mod assemble;
mod changes;
mod claims;
mod database;
mod error;
mod files;
mod fresh;
mod inner;
mod job;
mod lane;
mod leftovers;
mod moving;
mod open;
mod opened;
mod orphans;
mod presence;
mod private;
mod queries;
mod reading;
mod reserve;
mod room;
mod row;
mod schema;
mod shared_sync;
mod storage;
mod takeover;
#[cfg(test)]
mod tests;
mod writer;
mod writers;

pub use error::OpenError;
pub use inner::Durability;
pub use open::Options;
pub use storage::Sqlite;
