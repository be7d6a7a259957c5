//! Clients, and their requests.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use futures_util::TryStreamExt;
use tokio::time::{Instant, sleep, timeout};
use tus_service::{
    Access, Change, Hint, Incarnation, Kind, Part, Phase, Storage, StorageError, Stored, Upload, UploadId,
};

use super::{Machine, NAME, World, byte, id};
use crate::tests::uploads::{hinted, upload};

impl World {
    /// A client that continues until everything is complete, or for two minutes.
    pub(super) async fn client(self) {
        let until = Instant::now() + Duration::from_secs(120);
        let mut left: Vec<_> = self.sends.iter().map(|sent| sent.0.clone()).collect();
        if self.is_concatenated() {
            left.push(id(NAME));
        }
        while Instant::now() < until && !left.is_empty() {
            let machine = self.any_machine();
            let at = self.draw(|random| random.usize(0..left.len()));
            let id = left[at].clone();
            let (world, on) = (self.clone(), machine.clone());
            let request = match self.draw(|random| random.u8(0..20)) {
                0..5 => self.on(&machine, async move { world.head(&on, &id).await }),
                5 => self.on(&machine, async move { world.delete(&on, &id).await }),
                _ => self.on(&machine, async move { world.advance(&on, &id).await }),
            };
            // It may lose patience; the request continues without it.
            let patience = self.draw(|random| Duration::from_millis(random.u64(100..30_000)));
            if let Ok(Ok(Ok(true))) = timeout(patience, request).await {
                left.swap_remove(at);
            }
            sleep(self.draw(|random| Duration::from_millis(random.u64(0..500)))).await;
        }
    }

    async fn head(&self, machine: &Machine, id: &UploadId) -> Result<bool, StorageError> {
        let before = self.known_to_clients();
        if let Some(stored) = self.settled(machine, id, Access::Read).await? {
            self.report(&stored, &before);
        }
        Ok(false)
    }

    /// An upload that has not expired, as far as the machine knows.
    async fn settled(&self, machine: &Machine, id: &UploadId, access: Access) -> Result<Option<Stored>, StorageError> {
        let patience = Duration::from_secs(if access == Access::Read { 4 } else { 10 });
        let stored = match machine.store.load(id).await? {
            Some(stored) if stored.held_elsewhere => machine.store.settle(&stored, access, patience).await?,
            stored => stored,
        };
        let now = self.now() - machine.is_late;
        Ok(stored.filter(|stored| !stored.upload.is_expired(now)))
    }

    async fn delete(&self, machine: &Machine, id: &UploadId) -> Result<bool, StorageError> {
        if self.draw(Rng::bool) {
            return Ok(false);
        }
        let Some(stored) = machine.store.load(id).await? else { return Ok(false) };
        // A finished upload stays, because the application uses it. So does one that is part of another.
        let is_open = match stored.upload.kind {
            Kind::Single => stored.upload.phase == Phase::Receiving,
            Kind::Final(_) => stored.upload.phase == Phase::Assembling,
            _ => false,
        };
        if !is_open {
            return Ok(false);
        }
        self.life(&stored, |life| life.is_removed = true);
        machine.store.remove(&stored).await?;
        self.create(machine, id).await
    }

    /// Creates an upload, possibly right after another one with this id.
    async fn create(&self, machine: &Machine, id: &UploadId) -> Result<bool, StorageError> {
        let (kind, length) = match (self.is_concatenated(), self.length(id)) {
            (false, length) => (Kind::Single, length),
            (true, 0) => {
                let ids: Vec<_> = self.sends.iter().map(|sent| sent.0.clone()).collect();
                let parts: Option<Vec<_>> = machine.store.load_all(&ids).await?.into_iter().collect();
                let Some(parts) = parts else { return Ok(false) };
                (Kind::Final(parts.iter().map(|part| Part::from(&part.upload)).collect()), 0)
            }
            (true, length) => (Kind::Partial, length),
        };
        let mut upload = upload(id.as_str(), kind, (length > 0 && !self.is_deferred).then_some(length));
        if matches!(upload.kind, Kind::Final(_)) {
            upload.phase = Phase::Assembling;
        }
        upload.incarnation = Incarnation::from_random(self.draw(|random| random.u128(..)));
        upload.expires = self.expires_of(&upload);
        let version = machine.store.create(&upload).await?;
        self.life(&Stored::new(upload, version), |_| ());
        Ok(false)
    }

    /// When an upload that is used now expires. A part stays as long as something may be made from it.
    fn expires_of(&self, upload: &Upload) -> Option<std::time::SystemTime> {
        self.expires.filter(|_| upload.kind != Kind::Partial).map(|expires| self.now() + expires)
    }

    /// Brings an upload closer to completion. Returns whether it is complete.
    pub(super) async fn advance(&self, machine: &Machine, id: &UploadId) -> Result<bool, StorageError> {
        let Some(stored) = self.settled(machine, id, Access::Write).await? else {
            // If one has expired and still exists, this fails.
            return self.create(machine, id).await;
        };
        let _using = machine.uses(id);
        match (&stored.upload.kind, stored.upload.phase) {
            (_, Phase::Receiving) => self.receive(machine, stored).await,
            (_, Phase::Complete | Phase::Notified) => Ok(true),
            (Kind::Final(_), _) => self.complete(&machine.store, stored).await.map(|()| false),
            _ => Ok(false),
        }
    }

    async fn receive(&self, machine: &Machine, stored: Stored) -> Result<bool, StorageError> {
        let attempt = {
            let mut known = self.known.lock().unwrap();
            known.attempts += 1;
            known.attempts
        };
        let (base, length) = (stored.upload.offset, self.length(&stored.upload.id));
        self.life(&stored, |life| life.began.insert(attempt, base));
        let wanted = self.draw(|random| if random.bool() { length } else { random.u64(base..=length) }) - base;
        let has_checksum = self.draw(|random| random.u8(0..5) == 0);
        let mut writer = machine.store.open(&stored).await?;
        self.log(|| format!("attempt {attempt} for {} begins at {base}", stored.upload.id));
        // The last byte is not allowed before the end is known.
        let allowed = |sent| if has_checksum || base + sent == length { 0 } else { sent };
        let received = self.body(&mut *writer, &stored, (attempt, base, wanted), allowed).await;
        let (mut sent, mut failed) = match received {
            Ok(sent) => (sent, None),
            Err(error) => (writer.stored(), Some(error)),
        };
        if failed.is_none() && self.draw(|random| random.u8(0..4) == 0) {
            // The client is silent before the end.
            sleep(self.draw(|random| Duration::from_millis(random.u64(0..3000)))).await;
            if let Err(error) = writer.checkpoint(&hinted(&stored, allowed(sent)), Hint::Stalled).await {
                (sent, failed) = (writer.stored(), Some(error));
            }
        }
        if has_checksum && (sent < wanted || self.draw(Rng::bool)) {
            sent = 0;
        }
        let mut change: Change = hinted(&stored, sent);
        change.expires = self.expires_of(&stored.upload);
        let is_all = base + sent == length;
        let is_verified = is_all && self.draw(|random| random.u8(0..4) == 0);
        if is_all {
            change.length = Some(length);
        }
        if is_all && !is_verified {
            (change.phase, change.expires) = (Phase::Complete, None);
        }
        let version = writer.commit(&change).await.map_err(|error| failed.unwrap_or(error))?;
        drop(writer);
        let mut stored = stored.changed(&change, version);
        self.log(|| format!("acknowledged {base}..{} to attempt {attempt}: {change:?}", base + sent));
        self.life(&stored, |life| {
            life.acknowledged.push((base, base + sent, attempt));
            life.known_to_clients = life.known_to_clients.max(base + sent);
        });
        if is_verified {
            stored = self.verified(machine, stored).await?;
        }
        match (stored.upload.phase, &stored.upload.kind) {
            (Phase::Complete, Kind::Partial) => self.wake(&machine.store, &stored).await?,
            (Phase::Complete, _) => self.complete(&machine.store, stored).await?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Reads the bytes of an upload that has all of them, before it is complete.
    async fn verified(&self, machine: &Machine, mut stored: Stored) -> Result<Stored, StorageError> {
        stored.version = machine.store.make_readable(&stored).await?;
        let bytes: Vec<Bytes> = machine.store.read(&stored, 0..u64::MAX).await?.try_collect().await?;
        self.is_what_was_sent(&stored, &bytes.concat());
        let mut change = Change::of(&stored.upload);
        (change.phase, change.expires) = (Phase::Complete, None);
        let version = machine.store.update(&stored, &change).await?;
        Ok(stored.changed(&change, version))
    }

    /// Writes until enough has arrived, or until another machine wants the upload. Returns how much was written.
    async fn body(
        &self,
        writer: &mut dyn tus_service::Writer,
        stored: &Stored,
        (attempt, base, wanted): (u64, u64, u64),
        allowed: impl Fn(u64) -> u64,
    ) -> Result<u64, StorageError> {
        let pace = self.draw(|random| [0, 0, 30, 800][random.usize(0..4)]);
        let mut asked = writer.asked_to_leave();
        let mut sent = 0;
        let mut next_hint = Instant::now() + Duration::from_millis(500);
        while sent < wanted {
            let some = self.draw(|random| random.u64(1..24)).min(wanted - sent);
            let chunk: Bytes = (base + sent..base + sent + some).map(|at| byte(attempt, at)).collect();
            writer.write(chunk.into()).await?;
            sent += some;
            let pause = self.draw(|random| Duration::from_millis(random.u64(0..=pace)));
            if !pause.is_zero() && timeout(pause, &mut asked).await.is_ok() {
                break;
            }
            if Instant::now() >= next_hint {
                let _ = writer.checkpoint(&hinted(stored, allowed(sent)), Hint::Streaming).await?;
                next_hint = Instant::now() + Duration::from_millis(500);
            }
        }
        Ok(sent)
    }
}
