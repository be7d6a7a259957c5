//! Since when this process knows what others have recorded about uploads. Clocks are not compared, so an age counts from
//! here.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;
use tus_service::Incarnation;

/// An entry that nobody asks about for this long is forgotten, at the latest after twice as long. A sweep asks about each
/// upload more often than that.
const KEPT: Duration = Duration::from_secs(3600);

/// The most entries, of about 150 bytes each.
const MOST: usize = 256 * 1024;

/// One entry for each upload: what was recorded last, and since when this process knows it. If it is full, new entries wait
/// until others are settled or forgotten: were the oldest ones forgotten instead, none of many would ever grow old.
#[derive(Debug)]
pub(crate) struct FirstSeen {
    young: HashMap<Incarnation, Entry>,
    old: HashMap<Incarnation, Entry>,
    turned: Instant,
    most: usize,
}

#[derive(Debug)]
struct Entry {
    recorded: String,
    since: Instant,
}

impl Default for FirstSeen {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), turned: Instant::now(), most: MOST }
    }
}

impl FirstSeen {
    /// Since when this is known to be recorded about an upload: now, if it is new.
    pub(crate) fn since(&mut self, upload: Incarnation, recorded: &str) -> Instant {
        let (now, known) = (Instant::now(), self.known(upload, recorded));
        let entry = Entry { recorded: recorded.to_owned(), since: known.unwrap_or(now) };
        self.forget(upload);
        let since = entry.since;
        if self.young.len() + self.old.len() < self.most {
            self.young.insert(upload, entry);
        }
        since
    }

    /// The same without remembering it.
    pub(crate) fn known(&mut self, upload: Incarnation, recorded: &str) -> Option<Instant> {
        if self.turned.elapsed() >= KEPT {
            let before =
                if self.turned.elapsed() < 2 * KEPT { std::mem::take(&mut self.young) } else { HashMap::new() };
            (self.young, self.old, self.turned) = (HashMap::new(), before, Instant::now());
        }
        let entry = self.young.get(&upload).or_else(|| self.old.get(&upload));
        entry.filter(|entry| entry.recorded == recorded).map(|entry| entry.since)
    }

    /// It is no longer recorded.
    pub(crate) fn forget(&mut self, upload: Incarnation) {
        self.young.remove(&upload);
        self.old.remove(&upload);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn upload(n: usize) -> Incarnation {
        Incarnation::from_random(n as u128)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_looked_at_in_cycles_grows_old() {
        let most = 10_000;
        let mut seen = FirstSeen { most, ..FirstSeen::default() };
        let began = Instant::now();
        for _ in 0..5 {
            for n in 0..most {
                assert_eq!(seen.since(upload(n), "a"), began);
            }
            advance(KEPT * 3 / 4).await;
        }
        assert_eq!(seen.young.len() + seen.old.len(), most);
    }

    #[tokio::test(start_paused = true)]
    async fn another_record_begins_anew_and_what_nobody_asks_about_is_forgotten() {
        let mut seen = FirstSeen::default();
        let first = seen.since(upload(1), "a");
        advance(Duration::from_secs(10)).await;
        assert_eq!((seen.since(upload(1), "a"), seen.known(upload(1), "b")), (first, None));
        assert_eq!(seen.since(upload(1), "b"), Instant::now());
        seen.forget(upload(1));
        assert_eq!(seen.known(upload(1), "b"), None);
        seen.since(upload(2), "a");
        for _ in 0..2 {
            advance(KEPT).await;
            seen.since(upload(3), "a");
        }
        assert_eq!(seen.young.len() + seen.old.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn if_it_is_full_new_entries_wait_for_others() {
        let mut seen = FirstSeen { most: 2, ..FirstSeen::default() };
        for n in 0..3 {
            seen.since(upload(n), "a");
        }
        let before = Instant::now();
        advance(Duration::from_secs(10)).await;
        assert_eq!([0, 1].map(|n| seen.since(upload(n), "a")), [before; 2]);
        assert_eq!(seen.since(upload(2), "a"), Instant::now());
        seen.forget(upload(0));
        let now = seen.since(upload(2), "a");
        advance(Duration::from_secs(10)).await;
        assert_eq!(seen.since(upload(2), "a"), now);
    }
}
