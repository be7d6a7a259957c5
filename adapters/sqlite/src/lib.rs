//! Keeps resumable uploads in one directory: records in `uploads.db` (SQLite), bytes in `uploads/`, one
//! file an upload, named by its id.
//!
//! Several processes may use the directory at once, on one machine and a local file system. Unix only: Linux is tested.
//!
//! SQLite comes with this crate; nothing has to be installed. Without the feature `bundled`, which is on by default, the
//! system's library is linked: 3.45.3 or newer, or 3.37 where the application has cargo take `rusqlite` 0.40 or older.
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

mod changes;
mod database;
mod files;
mod open;
mod pace;
mod row;
mod shared_sync;
mod size;
mod storage;
mod strays;
#[cfg(test)]
mod tests;
mod writer;

pub use open::{Durability, OpenError, Options};
pub use storage::Sqlite;
