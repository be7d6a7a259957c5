//! Conformance tests for lists.

use futures_util::StreamExt;
use tus_core::{Kind, Phase, Upload};

use super::{Fixture, uploads::*};
use crate::UploadFilter;

/// [`Storage::list`](crate::Storage::list) returns the uploads that match the filter, as stored, and no others.
pub async fn uploads_are_listed_by_owner_and_phase(fixture: Fixture) {
    let mut all_of_them = Vec::new();
    for (owner, letter) in [(Some("anna"), "a"), (Some("ann"), "b"), (None, "c"), (Some(""), "d")] {
        for (n, phase) in Phase::ALL.into_iter().enumerate() {
            let mut upload = upload(&format!("{letter}{n}"), Kind::Single, Some(11));
            upload.owner = owner.map(str::to_owned);
            let stored = created(fixture.one(), upload).await;
            let stored = appended(fixture.one(), &stored, "hello").await;
            all_of_them.push(match phase {
                Phase::Receiving => stored,
                _ => updated(fixture.other(), &stored, &to_phase(&stored, phase)).await,
            });
        }
    }
    let mut filters = vec![UploadFilter::default(), UploadFilter::default().owner("nobody")];
    for phase in Phase::ALL {
        filters.push(UploadFilter::default().phase(phase));
        filters.push(UploadFilter::default().phase(phase).phase(Phase::Complete));
        filters.push(UploadFilter::default().owner("anna").phase(phase));
    }
    filters.extend(["anna", "ann", ""].map(|owner| UploadFilter::default().owner(owner)));
    for filter in filters {
        let expected: Vec<_> = all_of_them.iter().filter(|stored| filter.passes(&stored.upload)).cloned().collect();
        for storage in [fixture.one(), fixture.other()] {
            assert_eq!(all(storage.list(filter.clone(), None)).await, expected, "{filter:?}");
        }
    }
}

/// Lists are ordered by id, bytewise.
pub async fn a_list_is_ordered_by_id(fixture: Fixture) {
    let sorted = ["-", "0", "A", "AA", "Aa", "Z", "_", "a", "a-", "a0", "aA", "a_", "aa", "z"];
    all_created(fixture.one(), sorted.into_iter().rev().map(single)).await;
    for storage in [fixture.one(), fixture.other()] {
        assert_eq!(ids(storage.list(UploadFilter::default(), None)).await, sorted);
    }
}

/// A list starts after an id, whether there is an upload with that id or not.
pub async fn a_list_continues_after_an_id(fixture: Fixture) {
    let owned = ["b", "d", "e"].map(|name| {
        let mut upload = single(name);
        upload.owner = Some("anna".into());
        upload
    });
    all_created(fixture.one(), owned.into_iter().chain(["a", "c"].map(single))).await;
    let of_anna = UploadFilter::default().owner("anna");
    let cases = [("-", 0), ("a", 1), ("b", 2), ("c", 3), ("c0", 3), ("d", 4), ("e", 5), ("f", 5)];
    for (after, skipped) in cases {
        let after = id(after);
        for storage in [fixture.one(), fixture.other()] {
            assert_eq!(
                ids(storage.list(UploadFilter::default(), Some(&after))).await,
                ["a", "b", "c", "d", "e"][skipped..]
            );
            let expected: Vec<_> = ["b", "d", "e"].into_iter().filter(|name| id(name) > after).collect();
            assert_eq!(ids(storage.list(of_anna.clone(), Some(&after))).await, expected);
        }
    }
}

/// A list contains every upload once, however many there are, and may be dropped early.
pub async fn a_long_list_is_complete(fixture: Fixture) {
    let upload = |n: usize| -> Upload {
        let mut upload = single(&format!("long-{n:03}"));
        upload.owner = n.is_multiple_of(3).then(|| "anna".to_owned());
        upload
    };
    let mut expected = all_created(fixture.one(), (0..MANY).map(upload)).await;
    for storage in [fixture.one(), fixture.other()] {
        let early: Vec<_> = storage.list(UploadFilter::default(), None).take(3).map(Result::unwrap).collect().await;
        assert_eq!(early, expected[..3]);
        assert_eq!(all(storage.list(UploadFilter::default(), None)).await, expected);
        let after = &expected[9].upload.id;
        assert_eq!(all(storage.list(UploadFilter::default(), Some(after))).await, expected[10..]);
    }
    expected.retain(|stored| stored.upload.owner.is_some());
    assert_eq!(all(fixture.other().list(UploadFilter::default().owner("anna"), None)).await, expected);
}

/// A list that is read during changes contains all uploads that exist throughout.
pub async fn a_list_continues_while_uploads_come_and_go(fixture: Fixture) {
    let uploads = all_created(fixture.one(), (0..MANY).map(|n| single(&format!("list-{n:03}")))).await;
    let mut listed = Vec::new();
    let mut stream = fixture.one().list(UploadFilter::default(), None);
    for stored in &uploads {
        let next = stream.next().await.expect("the list is too short").unwrap();
        assert_eq!(next.upload.id, stored.upload.id);
        // Removes the listed upload. The new one has an id that the list has already passed.
        fixture.other().remove(&next).await.unwrap();
        let mut again = single(&format!("again-{}", next.upload.id));
        again.owner = Some("anna".into());
        created(fixture.other(), again).await;
        listed.push(next);
    }
    assert!(stream.next().await.is_none());
    assert_eq!(listed, uploads);
    assert_eq!(all(fixture.one().list(UploadFilter::default().owner("anna"), None)).await.len(), MANY);
}
