//! Reading committed bytes in pieces.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use crate::MAX_PIECE as PIECE;

/// The bytes of a range, as they were when this was created. Nothing is copied.
pub(super) struct Reading {
    bytes: Arc<Vec<Bytes>>,
    /// The position of the next byte: the index in `bytes`, and the offset there.
    at: usize,
    within: usize,
    left: u64,
}

impl Reading {
    pub(super) fn new(bytes: Arc<Vec<Bytes>>, range: Range<u64>) -> Self {
        let (mut at, mut within) = (0, range.start);
        while let Some(length) = bytes.get(at).map(|bytes| bytes.len() as u64).filter(|length| *length <= within) {
            at += 1;
            within -= length;
        }
        Self { bytes, at, within: within as usize, left: range.end.saturating_sub(range.start) }
    }
}

impl Iterator for Reading {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let bytes = self.bytes.get(self.at).filter(|_| self.left > 0)?;
        let most = usize::try_from(self.left).map_or(PIECE, |left| left.min(PIECE));
        let piece = bytes.slice(self.within..bytes.len().min(self.within + most));
        self.within += piece.len();
        self.left -= piece.len() as u64;
        if self.within == bytes.len() {
            (self.at, self.within) = (self.at + 1, 0);
        }
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read_across_pieces() {
        let bytes = Arc::new(["abc", "d", "ef"].map(Bytes::from).to_vec());
        for (range, expected) in
            [(0..6, "abcdef"), (2..5, "cde"), (3..4, "d"), (4..u64::MAX, "ef"), (6..9, ""), (7..9, "")]
        {
            assert_eq!(
                Reading::new(bytes.clone(), range.clone()).collect::<Vec<_>>().concat(),
                expected.as_bytes(),
                "{range:?}"
            );
        }
        assert_eq!(Reading::new(bytes, 3..3).next(), None);
        let large = Arc::new(vec![Bytes::from(vec![7; 2 * PIECE + 1])]);
        assert_eq!(Reading::new(large, 0..u64::MAX).map(|piece| piece.len()).collect::<Vec<_>>(), [PIECE, PIECE, 1]);
    }
}
