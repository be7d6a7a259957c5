//! The versions of the draft. While it is a draft, clients identify the version that they follow by an interop
//! version (draft 12, "Draft Version Identification").

/// The differences between versions: one row for each, with what changed since the previous one.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) struct Rules {
    /// The interop version.
    pub(in crate::server) version: u8,
    /// Completeness is expressed in reverse, by `Upload-Incomplete`.
    pub(super) says_incomplete: bool,
    /// An append has the media type `application/partial-upload`.
    pub(super) has_media_type: bool,
    /// An append that does not declare whether it completes the upload completes it.
    pub(super) completes_silently: bool,
    /// Requests for the offset and deletions are rejected if they contain an offset or a completeness.
    pub(super) refuses_state: bool,
    /// An append that does not complete its upload is answered with `201 Created`, not `204 No Content`.
    pub(super) creates_by_append: bool,
    /// An upload that reaches its declared length is complete even if the client declares otherwise: tus-js-client
    /// does so for empty files and for the last piece of a file that it sends in pieces.
    pub(super) completes_at_length: bool,
    /// The limit that announces how long the upload will exist.
    pub(super) lifetime: &'static str,
    /// Interim responses report the offset.
    pub(super) reports_progress: bool,
    /// Bytes beyond the length make the upload invalid.
    pub(super) invalidates: bool,
    /// A success in response to a creation with all of the content means that all of it was processed: "The client
    /// SHOULD consider the upload failed if the response has a status code that indicates a success but the offset
    /// [...] does not equal the total".
    pub(super) succeeds_completely: bool,
    /// A problem has the type "completed-upload".
    pub(super) knows_completed: bool,
    /// An upload that cannot be used any more is `410 Gone`, not `404 Not Found`, and so is a response that is not kept,
    /// which was `400 Bad Request`.
    pub(super) knows_gone: bool,
}

const DRAFT_01: Rules = Rules {
    version: 3,
    says_incomplete: true,
    has_media_type: false,
    completes_silently: true,
    refuses_state: true,
    creates_by_append: true,
    completes_at_length: true,
    lifetime: "expires",
    reports_progress: false,
    invalidates: false,
    succeeds_completely: true,
    knows_completed: false,
    knows_gone: false,
};
const DRAFT_02: Rules = Rules { version: 4, says_incomplete: false, ..DRAFT_01 };
const DRAFT_03: Rules = Rules { version: 5, reports_progress: true, ..DRAFT_02 };
const DRAFT_04: Rules = Rules { version: 6, has_media_type: true, knows_completed: true, ..DRAFT_03 };
const DRAFT_06: Rules = Rules {
    version: 7,
    completes_silently: false,
    refuses_state: false,
    creates_by_append: false,
    completes_at_length: false,
    lifetime: "max-age",
    invalidates: true,
    succeeds_completely: false,
    knows_gone: true,
    ..DRAFT_04
};
const DRAFT_09: Rules = Rules { version: 8, ..DRAFT_06 };
const DRAFT_12: Rules = Rules { version: 9, knows_completed: false, ..DRAFT_09 };
const DRAFT_13: Rules = Rules { version: 10, ..DRAFT_12 };

/// The supported versions, the newest last.
static VERSIONS: [Rules; 8] = [DRAFT_01, DRAFT_02, DRAFT_03, DRAFT_04, DRAFT_06, DRAFT_09, DRAFT_12, NEWEST];
const NEWEST: Rules = DRAFT_13;

impl Rules {
    /// The rules of a version, if it is supported.
    pub(super) fn of(version: u64) -> Option<&'static Self> {
        VERSIONS.iter().find(|rules| u64::from(rules.version) == version)
    }

    /// The rules of the newest version, for clients that name none (as clients of the RFC will) or an unknown one.
    pub(super) fn newest() -> &'static Self {
        &NEWEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_from_3_to_10_has_its_rules() {
        let found: Vec<_> = (0..=11).filter_map(Rules::of).map(|rules| rules.version).collect();
        assert_eq!(found, [3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(Rules::newest().version, 10);
        assert!(Rules::of(u64::MAX).is_none());
    }
}
