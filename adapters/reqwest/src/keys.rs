//! Keys of uploads that are running in this process.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

static RUNNING: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// The only running upload with a key in this process. A second one would write to the same URL.
#[derive(Debug)]
pub(crate) struct Key(String);

impl Key {
    /// `None` if an upload with this key is running.
    pub(crate) fn claim(key: String) -> Option<Self> {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        // Only a claimed key may be dropped, because dropping releases it.
        let is_new = running.get_or_insert_default().insert(key.clone());
        is_new.then(|| Self(key))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = running.as_mut() {
            running.remove(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_key_belongs_to_one_upload_at_a_time() {
        let key = Key::claim("one at a time".into()).unwrap();
        assert!(Key::claim("one at a time".into()).is_none());
        drop(key);
        assert!(Key::claim("one at a time".into()).is_some());
    }
}
