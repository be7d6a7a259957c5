//! Test content: bytes that differ by seed and by position.

/// The bytes of a content within a range.
pub fn bytes(seed: u64, start: u64, end: u64) -> Vec<u8> {
    const BLOCK: u64 = 64;
    let mut bytes = Vec::with_capacity((end - start) as usize + 2 * BLOCK as usize);
    let first = start / BLOCK;
    for block in first..end.div_ceil(BLOCK) {
        let mut random = fastrand::Rng::with_seed(seed << 32 ^ block);
        let mut noise = [0; BLOCK as usize];
        random.fill(&mut noise);
        bytes.extend_from_slice(&noise);
    }
    let skipped = (start - first * BLOCK) as usize;
    bytes.drain(..skipped);
    bytes.truncate((end - start) as usize);
    bytes
}
