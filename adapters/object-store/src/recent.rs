//! A bounded memory of the newest entries.

use std::{borrow::Borrow, collections::HashMap, hash::Hash};

/// Two generations: if the younger one is full, the older one is forgotten.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    most: usize,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    /// At least the last `most` entries are remembered, and at most twice as many.
    pub(crate) fn new(most: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), most }
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.most {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let old = self.old.remove(key);
        self.young.remove(key).or(old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_entries_are_remembered() {
        let mut recent = Recent::new(3);
        for n in 0..10 {
            recent.insert(n, n);
            assert!((n.max(2) - 2..=n).all(|n| recent.get(&n) == Some(&n)), "{n}");
        }
        assert!(recent.get(&0).is_none() && recent.young.len() + recent.old.len() <= 6);
        assert_eq!((recent.remove(&9), recent.get(&9)), (Some(9), None));
    }
}
