//! Whatever the wire does, the upload ends, and its bytes equal the source's.

use std::cell::Cell;

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    test_runner::{Config, TestRunner},
};

use super::{
    super::{NewUpload, Options, Protocol, Verification, create, resume},
    wire::{Fault, Wire, endpoint, stubborn},
};
use crate::{Algorithm, Dialect};

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

const PROTOCOLS: [Protocol; 2] = [Protocol::Tus, Protocol::Draft];

fn unverified(protocol: Protocol, chunk_size: Option<u64>) -> Options {
    stubborn().protocol(protocol).verification(Verification::Off).chunk_size(chunk_size)
}

#[test]
fn an_upload_cut_at_any_byte_resumes_from_there() {
    const LENGTH: u64 = 40;
    let sizes = [None, Some(7), Some(40), Some(100)];
    for (protocol, chunk_size) in PROTOCOLS.into_iter().flat_map(|protocol| sizes.map(|size| (protocol, size))) {
        for cut in 0..=LENGTH {
            for second in [Fault::Passes, Fault::Unanswered, Fault::Late, Fault::Cut(cut / 2)] {
                let faults = [Fault::Passes, Fault::Cut(cut), Fault::Passes, second];
                let mut wire = Wire::new(bytes(LENGTH as usize)).with(faults);
                let step = create(endpoint(), NewUpload::new(Some(LENGTH)), unverified(protocol, chunk_size), None);
                let uploaded = wire.upload(step).unwrap();
                assert_eq!(wire.stored(&uploaded), wire.source);
                assert_eq!((uploaded.offset, uploaded.complete), (Some(LENGTH), true));
            }
        }
    }
}

#[test]
fn an_upload_in_one_request_progresses_over_a_wire_that_always_breaks() {
    for protocol in PROTOCOLS {
        let cuts = std::iter::repeat_n([Fault::Cut(1), Fault::Passes], 500).flatten();
        let mut wire = Wire::new(bytes(500)).with([Fault::Passes].into_iter().chain(cuts));
        // Eight retries, and each of five hundred requests transfers a byte.
        let options = Options::default().protocol(protocol).verification(Verification::Off).chunk_size(None);
        let uploaded = wire.upload(create(endpoint(), NewUpload::new(Some(500)), options, None)).unwrap();
        assert_eq!(wire.stored(&uploaded), wire.source);
        // In the draft one more fetches the response to the last.
        let fetched = usize::from(protocol == Protocol::Draft);
        assert_eq!(wire.log.iter().filter(|line| line.starts_with("PATCH")).count(), 500 + fetched);
    }
}

#[derive(Debug, Clone)]
struct Case {
    protocol: Protocol,
    length: usize,
    chunk_size: Option<u64>,
    deferred: bool,
    verified: bool,
    data_in_creation: bool,
    override_method: bool,
    /// Restart from the URL after this many steps, as another process would.
    faults: Vec<Fault>,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => Just(Fault::Passes),
        1 => Just(Fault::Lost),
        2 => Just(Fault::Unanswered),
        4 => (0u64..64).prop_map(Fault::Cut),
        1 => prop_oneof![Just(408), Just(423), Just(429), Just(460), Just(500), Just(502), Just(503), Just(409)]
            .prop_map(Fault::Answered),
        1 => Just(Fault::Answered(200)),
        2 => Just(Fault::Late),
        2 => Just(Fault::Twice),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let chunk_size = prop_oneof![Just(None), (1u64..80).prop_map(Some)];
    let protocol = prop_oneof![Just(Protocol::Tus), Just(Protocol::Draft)];
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (protocol, 0usize..300, chunk_size, flags, vec(fault(), 0..60)).prop_map(
        |(protocol, length, chunk_size, flags, faults)| {
            let (deferred, verified, data_in_creation, override_method) = flags;
            let override_method = override_method && protocol == Protocol::Tus;
            Case { protocol, length, chunk_size, deferred, verified, data_in_creation, override_method, faults }
        },
    )
}

#[test]
fn the_final_bytes_equal_the_source_for_any_faults() {
    let interruptions = Cell::new(0);
    let config = Config { cases: cases(), source_file: Some(file!()), ..Config::default() };
    TestRunner::new(config)
        .run(&case(), |case| {
            let mut wire = Wire::new(bytes(case.length));
            let capabilities = wire.capabilities();
            wire.faults.extend(&case.faults);
            let verification = match (case.verified, case.protocol) {
                (true, Protocol::Tus) => Verification::Required(Algorithm::Sha1),
                (true, Protocol::Draft) => Verification::Required(Algorithm::Sha256),
                (false, _) => Verification::Off,
            };
            let options = stubborn()
                .protocol(case.protocol)
                .chunk_size(case.chunk_size)
                .verification(verification)
                .data_in_creation(case.data_in_creation)
                .override_method(case.override_method);
            let length = Some(case.length as u64).filter(|_| !case.deferred);
            let created = create(endpoint(), NewUpload::new(length), options.clone(), Some(&capabilities));
            let uploaded = wire.upload(created).unwrap();
            assert_eq!(wire.stored(&uploaded), wire.source);
            assert_eq!(uploaded.length, Some(case.length as u64));
            // Every upload left behind by a lost response contains a prefix of the source.
            for id in wire.server.uploads.ids() {
                assert!(wire.source.starts_with(wire.server.uploads.bytes(id).unwrap()));
            }
            assert!(uploaded.complete);
            let dialect = wire.upload_of(&uploaded).dialect;
            assert_eq!(dialect, if case.protocol == Protocol::Tus { Dialect::Tus } else { Dialect::Draft(9) });
            // Its URL leads to the complete upload.
            wire.faults.clear();
            let again = resume(uploaded.url.clone(), NewUpload::new(length), options, Some(&capabilities));
            let again = wire.upload(again).unwrap();
            assert_eq!((again.url, again.offset, again.length), (uploaded.url, uploaded.offset, uploaded.length));
            interruptions.set(interruptions.get() + wire.interruptions);
            Ok(())
        })
        .unwrap();
    eprintln!("{} cases, {} interruptions", cases(), interruptions.get());
}

/// `PROPTEST_CASES` for a longer run.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2000)
}
