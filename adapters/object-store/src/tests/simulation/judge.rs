//! What must exist at the end.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use bucket::Fate;
use fastrand::Rng;
use futures_util::TryStreamExt;
use tokio::time::{Instant, sleep};
use tus_service::{Change, Kind, Phase, Storage, Stored, UploadId};

use super::{Machine, NAME, World, byte, id, incarnation};
use crate::tests::uploads::content;

impl World {
    /// All machines are gone, and everything late has arrived. A last machine finishes what remains, and checks what
    /// must exist.
    pub(super) async fn judge(self) {
        for machine in self.machines.lock().unwrap().drain(..) {
            machine.line.cut();
            machine.die();
        }
        self.bucket.on_request(|_| Fate::Done);
        sleep(Duration::from_secs(60)).await;
        let machine = self.machine();
        if self.expires.is_some() && self.draw(Rng::bool) {
            self.nothing_outlives_its_time(&machine).await;
        }
        let stored = self.finished(&machine).await;
        let length: u64 = self.sends.iter().map(|sent| sent.1).sum();
        assert_eq!((stored.upload.phase, stored.upload.offset), (Phase::Notified, length), "it was not finished");
        self.life(&stored, |life| assert!(life.finished > 0, "nobody was notified"));
        let mut all = Vec::new();
        let mut there = BTreeSet::from([incarnation(&stored)]);
        for (id, _) in &self.sends {
            let sent = machine.store.load(id).await.unwrap().expect("it is there");
            let content = content(&machine.store, &sent).await;
            self.is_what_was_sent(&sent, &content);
            all.extend_from_slice(&content);
            there.insert(incarnation(&sent));
        }
        assert!(content(&machine.store, &stored).await == all, "another content");
        for (name, life) in self.known.lock().unwrap().incarnations.iter().filter(|life| !there.contains(life.0)) {
            assert!(life.is_removed || life.acknowledged.is_empty(), "{name:x} is gone, and nobody removed it");
        }
        self.nothing_is_left(&machine).await;
    }

    /// Even if a machine died that had bytes of it. Due work is done nevertheless, and complete uploads stay.
    async fn nothing_outlives_its_time(&self, machine: &Machine) {
        sleep(Duration::from_secs(200)).await;
        for _ in 0..8 {
            self.sweep(machine).await.unwrap();
            sleep(machine.store.0.lives() / 4).await;
        }
        if let Some(stored) = machine.store.load(&id(NAME)).await.unwrap() {
            assert_eq!(stored.upload.phase, Phase::Notified, "it lives on");
        }
    }

    /// The upload, as the last machine finishes it.
    async fn finished(&self, machine: &Machine) -> Stored {
        let before = self.known_to_clients();
        // Longer than an expired upload of a dead machine stays.
        let lives = machine.store.0.lives();
        let until = Instant::now() + 2 * lives;
        let mut pause = Duration::from_secs(1);
        while Instant::now() < until {
            self.sweep(machine).await.unwrap();
            match machine.store.load(&id(NAME)).await.unwrap() {
                Some(stored) if stored.upload.phase == Phase::Notified => {
                    self.report(&stored, &before);
                    return stored;
                }
                Some(stored) => self.report(&stored, &before),
                None => {}
            }
            for id in self.sends.iter().map(|sent| sent.0.clone()).chain([id(NAME)]) {
                if let Err(error) = self.advance(machine, &id).await {
                    self.log(|| format!("the last machine failed: {error}"));
                }
            }
            sleep(pause).await;
            // Less than an upload lives.
            pause = (pause * 9 / 8).min(Duration::from_secs(5));
        }
        panic!("it was not finished: {:?}", machine.store.load(&id(NAME)).await);
    }

    /// Every byte belongs to the attempt to which it was acknowledged, or to one that began before that.
    pub(super) fn is_what_was_sent(&self, stored: &Stored, content: &[u8]) {
        assert_eq!(content.len() as u64, self.length(&stored.upload.id));
        self.life(stored, |life| {
            for (from, to, attempt) in &life.acknowledged {
                for at in *from..*to {
                    let there = content[at as usize];
                    assert_eq!(there, byte(*attempt, at), "a byte at {at} that was acknowledged to attempt {attempt}");
                }
            }
            for (at, there) in (0..).zip(content) {
                let is_of_one = life.began.iter().any(|(attempt, from)| at >= *from && byte(*attempt, at) == *there);
                assert!(is_of_one, "a byte at {at} that nobody sent");
            }
        });
    }

    /// After a removal, or after the end of time, and some sweeps a day later.
    async fn nothing_is_left(&self, machine: &Machine) {
        let store = &machine.store;
        let objects = self.bucket.keys("files/");
        let ids: BTreeSet<UploadId> = self.sends.iter().map(|sent| sent.0.clone()).chain([id(NAME)]).collect();
        for id in &ids {
            assert!(objects.contains(&store.key(id).await.unwrap().unwrap()), "{objects:?}");
        }
        for id in ids {
            let stored = store.load(&id).await.unwrap().unwrap();
            if self.expires.is_none() || stored.upload.kind == Kind::Partial {
                store.remove(&stored).await.unwrap();
                continue;
            }
            let mut change = Change::of(&stored.upload);
            change.expires = Some(self.now() - Duration::from_secs(10));
            store.update(&stored, &change).await.unwrap();
            self.sweep(machine).await.unwrap();
            assert!(store.load(&id).await.unwrap().is_none(), "{id} has expired");
        }
        // Each removal has left a marker, those that failed as well. A sweep deletes the remains of at least one of them.
        let sweeps = self.bucket.keys(".tus/x/").len() as u64 + 2;
        for day in (2..).step_by(2).take(sweeps as usize) {
            let now = SystemTime::now() + Duration::from_secs(day * 24 * 3600);
            self.bucket.age(Duration::from_secs(2 * 24 * 3600));
            let due: Vec<_> = store.pending(now).try_collect().await.unwrap();
            assert_eq!(due, [], "nothing is due");
        }
        assert_eq!(self.bucket.keys(""), [] as [&str; 0], "something is left");
    }
}
