//! [`Memory`] passes the tests, and a storage that violates one fails.

mod faults;
mod faulty;
mod wrong;

use super::Fixture;
use crate::Memory;

mod memory {
    async fn open() -> super::Fixture {
        let memory = super::Memory::new();
        super::Fixture::two_processes(memory.another_process(), memory)
    }

    crate::storage_tests!(open);
}

mod memory_alone {
    async fn open() -> super::Fixture {
        super::Fixture::one_process(super::Memory::new())
    }

    crate::storage_tests!(one_process: open);
}

/// A storage need not be able to read incomplete uploads.
mod reads_only_what_is_complete {
    async fn open() -> super::Fixture {
        super::faulty::with(super::faulty::Fault::Nothing, super::faulty::Reads::WhatIsComplete)
    }

    crate::storage_tests!(open);
}

/// A storage that rejects everything passes no test.
mod always_busy {
    use super::wrong::AlwaysBusy;

    async fn open() -> super::Fixture {
        super::Fixture::two_processes(AlwaysBusy, AlwaysBusy)
    }

    crate::storage_tests!(
        #[should_panic]
        open
    );
}

/// Nor does one that accepts everything and does nothing.
mod does_nothing {
    use super::wrong::DoesNothing;

    async fn open() -> super::Fixture {
        super::Fixture::two_processes(DoesNothing, DoesNothing)
    }

    crate::storage_tests!(
        #[should_panic]
        open
    );
}

#[test]
fn every_conformance_test_is_generated() {
    let files = [
        include_str!("assembling.rs"),
        include_str!("bytes.rs"),
        include_str!("changes.rs"),
        include_str!("claims.rs"),
        include_str!("incarnations.rs"),
        include_str!("listing.rs"),
        include_str!("pending.rs"),
        include_str!("reading.rs"),
        include_str!("records.rs"),
        include_str!("takeover.rs"),
    ];
    let tested: Vec<_> = include_str!("mod.rs").lines().map(str::trim).collect();
    let truths = files.iter().flat_map(|file| file.lines()).filter_map(|line| line.strip_prefix("pub async fn "));
    let truths: Vec<_> = truths.map(|line| line.split_once('(').unwrap().0).collect();
    assert!(truths.len() > 50, "{truths:?}");
    let untested: Vec<_> = truths.into_iter().filter(|truth| !tested.contains(truth)).collect();
    assert_eq!(untested, [""; 0]);
}
