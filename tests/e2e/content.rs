//! Test content: bytes that differ by seed and by position, so that misplaced bytes are noticed.

use std::{ops::Range, sync::OnceLock};

/// A piece of content; its start within the noise is random.
const PIECE: u64 = 4096;
const NOISE: u64 = 1 << 20;

/// The bytes of a content within a range.
pub(crate) fn bytes(seed: u64, range: Range<u64>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
    let mut at = range.start;
    while at < range.end {
        let (piece, within) = (at / PIECE, at % PIECE);
        let start = scrambled(seed << 40 ^ piece) % (NOISE - PIECE) + within;
        let length = (PIECE - within).min(range.end - at);
        bytes.extend_from_slice(&noise()[start as usize..][..length as usize]);
        at += length;
    }
    bytes
}

/// Fails if they differ, and reports where.
#[track_caller]
pub(crate) fn assert_same(actual: &[u8], expected: &[u8]) {
    if actual != expected {
        let differ = actual.iter().zip(expected).position(|(a, e)| a != e);
        panic!("{} bytes, not {}; the first difference is at {differ:?}", actual.len(), expected.len());
    }
}

fn noise() -> &'static [u8] {
    static NOISE_BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    NOISE_BYTES.get_or_init(|| (0..NOISE / 8).flat_map(|word| scrambled(word).to_le_bytes()).collect())
}

/// A step of SplitMix64.
fn scrambled(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
