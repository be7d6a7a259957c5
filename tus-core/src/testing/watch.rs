//! Invariants of an exchange, whatever a client sends and whatever fails.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{Response, request::Parts};

use super::Uploads;
use crate::{
    Incarnation, Kind, Part, Phase, Stored, Upload, UploadId,
    server::{Access, Hold, Operation},
};

/// What happened in an exchange, as far as it determines what may happen next.
pub(super) struct Watch {
    before: Uploads,
    /// What the application allowed.
    allowed: Vec<(Operation, Option<Name>)>,
    /// The upload that was created in this exchange or is being recovered.
    own: Vec<Name>,
    /// What the application gave up.
    given_up: Vec<Name>,
    /// Ids that may refer to another upload at the end.
    changed: BTreeSet<UploadId>,
    rejected: bool,
    /// The upload's URL in the interim response.
    informed: Option<String>,
}

type Name = (UploadId, Incarnation);

fn name(upload: &Upload) -> Name {
    (upload.id.clone(), upload.incarnation)
}

impl Watch {
    pub(super) fn new(uploads: &Uploads) -> Self {
        Self {
            before: uploads.clone(),
            allowed: Vec::new(),
            own: Vec::new(),
            given_up: Vec::new(),
            changed: BTreeSet::new(),
            rejected: false,
            informed: None,
        }
    }

    /// Another request has changed the uploads.
    pub(super) fn begins_again(&mut self, uploads: &Uploads) {
        self.before = uploads.clone();
    }

    pub(super) fn asks(&mut self, operation: Operation, upload: Option<&Upload>, answer: bool) {
        let asked = (operation, upload.map(name));
        let again = asked.1.is_some() && self.allowed.contains(&asked);
        assert!(!again, "{asked:?} is asked again");
        self.rejects(!answer);
        if answer {
            self.allowed.push(asked);
        }
    }

    pub(super) fn rejects(&mut self, rejected: bool) {
        self.rejected |= rejected;
    }

    fn allows(&self, operation: Operation, upload: Option<&Upload>) -> bool {
        self.allowed.contains(&(operation, upload.map(name)))
    }

    pub(super) fn loads(&self, ids: &[UploadId]) {
        let different: BTreeSet<_> = ids.iter().collect();
        assert_eq!(different.len(), ids.len(), "a part is loaded twice");
    }

    pub(super) fn holds(&self, hold: &Hold) {
        let upload = Some(&hold.stored().upload);
        let asked = match hold.access() {
            Access::Read => self.allows(Operation::Inspect, upload),
            Access::Write => self.allows(Operation::Append, upload) || self.allows(Operation::Terminate, upload),
        };
        assert!(asked, "{upload:?} is held without a question");
    }

    pub(super) fn creates(&self) {
        assert!(self.allows(Operation::Create, None), "an upload is created without a question");
    }

    /// The upload that the application allowed was not created.
    pub(super) fn abandons(&self, upload: &Upload, uploads: &Uploads) {
        self.creates();
        let there = uploads.get(&upload.id).is_some_and(|stored| stored.upload.incarnation == upload.incarnation);
        assert!(!there, "{upload:?} is abandoned and stays");
    }

    pub(super) fn stores(&self, upload: &Upload) {
        self.creates();
        if let Kind::Final(parts) = &upload.kind {
            let asked = |part: &Part| {
                self.allowed.contains(&(Operation::Concatenate, Some((part.id.clone(), part.incarnation))))
            };
            assert!(parts.iter().all(asked), "a part is used without a question");
        }
        assert_eq!(upload.offset, 0, "{upload:?} has bytes already");
    }

    /// This upload was created in this exchange or is being recovered.
    pub(super) fn owns(&mut self, upload: &Upload) {
        self.own.push(name(upload));
        self.changed.insert(upload.id.clone());
    }

    pub(super) fn receives(&mut self, stored: &Stored, uploads: &Uploads) {
        let upload = &stored.upload;
        let may = self.allows(Operation::Append, Some(upload)) || self.own.contains(&name(upload));
        assert!(may, "{upload:?} receives without a question");
        self.changes(stored, uploads);
    }

    /// What the client learns before the end: the URL of its new upload.
    pub(super) fn informs(&mut self, response: &Response<()>) {
        assert_eq!(response.status().as_u16(), 104, "{response:?}");
        let location = response.headers().get("location").and_then(|location| location.to_str().ok());
        let location = location.expect("where the new upload is");
        let is_own = self.own.iter().any(|(id, _)| location.ends_with(id.as_str()));
        assert!(is_own, "the client learns of {location}, which is not the upload that it created");
        self.informed = Some(location.to_owned());
    }

    /// The record is about to be changed. If its version is current, it must equal the stored record.
    pub(super) fn changes(&mut self, stored: &Stored, uploads: &Uploads) {
        let upload = &stored.upload;
        let may = self.allows(Operation::Append, Some(upload)) || self.own.contains(&name(upload));
        assert!(may, "{upload:?} is changed without a question");
        if let Some(now) = uploads.get(&upload.id).filter(|now| now.version == stored.version) {
            assert_eq!(*upload, now.upload, "the machine's record is not the one that is stored");
        }
        self.changed.insert(upload.id.clone());
    }

    /// A part expires after a final upload has its bytes.
    pub(super) fn releases(&mut self, part: &Stored) {
        let upload = &part.upload;
        assert!(upload.is_complete() && upload.kind == Kind::Partial, "{upload:?} is released");
        self.changed.insert(upload.id.clone());
    }

    pub(super) fn finishes(&self, upload: &Upload) {
        let due = upload.phase == Phase::Complete && upload.kind != Kind::Partial;
        assert!(due, "the application is notified of {upload:?}");
    }

    pub(super) fn calls(&self, upload: &Upload) {
        let may = self.allows(Operation::Append, Some(upload)) || self.own.contains(&name(upload));
        assert!(may, "the handler gets {upload:?} without a question");
        assert!(upload.is_at_resource() && upload.phase == Phase::Complete, "the handler gets {upload:?}");
    }

    pub(super) fn vetoes(&mut self, upload: &Upload, answer: bool) {
        self.rejects(!answer);
        if answer {
            self.given_up.push(name(upload));
        }
    }

    pub(super) fn terminates(&mut self, upload: &Upload, undo: bool) {
        let may = match undo {
            true => self.own.contains(&name(upload)),
            false => self.allows(Operation::Terminate, Some(upload)) && self.given_up.contains(&name(upload)),
        };
        assert!(may, "{upload:?} is deleted without a question");
        self.changed.insert(upload.id.clone());
    }

    /// The application may still reject a complete upload.
    pub(super) fn opens(&self, stored: &Stored) {
        let upload = &stored.upload;
        assert!(self.allows(Operation::Download, Some(upload)), "{upload:?} is opened without a question");
        assert!(upload.phase == Phase::Notified && upload.kind != Kind::Partial, "{upload:?} is opened");
    }

    /// The exchange is over.
    pub(super) fn end(&self, uploads: &Uploads) {
        for id in self.before.ids().chain(uploads.ids()) {
            match (self.before.get(id), uploads.get(id)) {
                (old, new) if !self.changed.contains(id) => {
                    assert!(old == new, "{id} is not what was asked for, and is {new:?} instead of {old:?}");
                }
                (Some(old), Some(new)) if new.is_same_upload(&old.upload) => self.grew(id, uploads),
                (None, Some(new)) => {
                    assert_eq!(new.upload.offset, bytes_of(uploads, id).len() as u64, "{new:?}");
                    within_limits(&new.upload);
                }
                (_, None) => {}
                (Some(old), Some(new)) => panic!("{old:?} was replaced by {new:?}"),
            }
        }
    }

    /// An upload is an append-only register.
    fn grew(&self, id: &UploadId, uploads: &Uploads) {
        let (Some(old), Some(new)) = (self.before.get(id), uploads.get(id)) else {
            return;
        };
        let (old, new) = (&old.upload, &new.upload);
        let (old_bytes, bytes) = (bytes_of(&self.before, id), bytes_of(uploads, id));
        assert!(bytes.starts_with(old_bytes), "{id}: bytes that were acknowledged are others now");
        let more = (bytes.len() - old_bytes.len()) as u64;
        assert_eq!(new.offset, old.offset + more, "{id}: the offset does not go with the bytes");
        assert!(old.length.is_none() || new.length == old.length, "{id}: the length changed");
        assert!(!old.is_complete() || new.is_complete(), "{id}: a complete upload became incomplete");
        within_limits(new);
    }

    pub(super) fn response(&self, head: &Parts, response: &Response<Bytes>, uploads: &Uploads) {
        let status = response.status();
        // An offset in a rejection must also be the stored offset.
        let target = head.uri.path().rsplit('/').next().and_then(|id| uploads.get(&id.parse().ok()?));
        if let (Some(reported), Some(target)) = (response.headers().get("upload-offset"), target) {
            let stored = target.upload.offset.to_string();
            assert_eq!(reported.to_str().ok(), Some(&*stored), "the offset is not the one that is stored");
        }
        if status.is_client_error() || status.is_server_error() {
            assert!(self.rejected || !response.body().is_empty(), "{status} without a word");
            return;
        }
        let location = response.headers().get("location").map(|location| {
            let location = location.to_str().ok().filter(|text| text.parse::<http::Uri>().is_ok());
            location.expect("a location is a URL").to_owned()
        });
        // The application's own response may contain another one.
        let says = |name, value| response.headers().get(name).is_some_and(|said| said == value);
        let is_final = says("upload-complete", "?1") || says("upload-incomplete", "?0");
        if let (Some(informed), Some(location), false) = (&self.informed, &location, is_final) {
            assert_eq!(informed, location, "the location is another one in the end");
        }
        let url = location.as_deref().unwrap_or(head.uri.path());
        let named = url.rsplit('/').next().and_then(|id| uploads.get(&id.parse().ok()?));
        if let (Some(reported), Some(named)) = (response.headers().get("upload-offset"), named) {
            let stored = named.upload.offset.to_string();
            assert_eq!(reported.to_str().ok(), Some(&*stored), "the offset is not the one that is stored");
        }
    }
}

fn bytes_of<'a>(uploads: &'a Uploads, id: &UploadId) -> &'a [u8] {
    uploads.bytes(id).unwrap_or_default()
}

fn within_limits(upload: &Upload) {
    assert!(upload.length.is_none_or(|length| upload.offset <= length), "{upload:?}");
    assert!(upload.max_size.is_none_or(|most| upload.offset <= most), "{upload:?}");
}
