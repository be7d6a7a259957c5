//! Room on the disk for the assemblies that are running: together, they must not fill it for everybody, fail, and empty
//! it again.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

/// How many bytes running assemblies have yet to write.
#[derive(Debug, Default)]
pub(crate) struct Room(Mutex<u64>);

/// Room for one assembly. Dropping it releases the rest.
#[derive(Debug)]
pub(crate) struct Claimed<'r> {
    room: &'r Room,
    left: u64,
}

impl Room {
    /// Claims this many bytes of those that are free by then. `None` if there are too few.
    pub(crate) fn claim(&self, bytes: u64, free: impl FnOnce() -> io::Result<u64>) -> io::Result<Option<Claimed<'_>>> {
        let mut claimed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free()?.saturating_sub(*claimed) < bytes {
            return Ok(None);
        }
        *claimed += bytes;
        Ok(Some(Claimed { room: self, left: bytes }))
    }
}

impl Claimed<'_> {
    /// The bytes are written, and no longer free.
    pub(crate) fn used(&mut self, bytes: u64) {
        let bytes = bytes.min(self.left);
        self.left -= bytes;
        *self.room.0.lock().unwrap_or_else(PoisonError::into_inner) -= bytes;
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        self.used(self.left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assemblies_do_not_claim_the_same_room() {
        let room = Room::default();
        let mut first = room.claim(60, || Ok(100)).unwrap().unwrap();
        assert!(room.claim(60, || Ok(100)).unwrap().is_none());
        let second = room.claim(40, || Ok(100)).unwrap().unwrap();
        drop(second);
        // What was written is not free.
        first.used(50);
        assert!(room.claim(41, || Ok(50)).unwrap().is_none());
        assert!(room.claim(40, || Ok(50)).unwrap().is_some());
        drop(first);
        assert!(room.claim(50, || Ok(50)).unwrap().is_some());
    }
}
