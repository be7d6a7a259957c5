//! Keeps resumable uploads in one directory: records in `uploads.db` (SQLite), bytes in `uploads/`, one
//! file an upload, named by its id.
//!
//! Several processes may use the directory at once, on one machine and a local file system. A newer request wins
//! among all of them: the process that adds bytes to the upload learns within a quarter of a second that it
//! is to commit what it has and to leave. A process that adds bytes to no upload does nothing for that, and one
//! that does makes one small query each 250 ms, whatever the number of uploads.
//!
//! SQLite comes with this crate; nothing has to be installed. Without the feature `bundled`, which is on by default, the
//! system's library is linked: 3.45.3 or newer, or 3.37 where the application has cargo take `rusqlite` 0.40 or older.
//! Unix only: Linux is tested.
//!
//! A directory of an older version of this crate is brought up to date when it is opened. Older versions cannot open
//! it any more then. Stop all processes that use it before the first one of a new version opens it.
//!
//! A file in `uploads/` that belongs to no upload is deleted a day after it was seen first, unless it was there
//! before the database. Names that no upload can have are left alone.
//!
//! What a power cut leaves depends on the [`Durability`]:
//!
//! | | killed process | power cut |
//! |---|---|---|
//! | [`Synced`](Durability::Synced) (default) | what was acknowledged is there | what was acknowledged is there |
//! | [`Buffered`](Durability::Buffered) | what was acknowledged is there | the last seconds may be gone, or be other bytes; an upload goes on from what is there |

#[cfg(not(unix))]
compile_error!("tus-sqlite needs a Unix: it opens files relative to a directory, without following links");

mod asks;
mod assemble;
mod changes;
mod claims;
mod database;
mod error;
mod files;
mod inner;
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
