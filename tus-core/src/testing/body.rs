//! What a client sends after the head of its request.

use crate::server::End;

/// What a client sends after the head of its request; nothing at first.
#[derive(Debug)]
pub struct Body {
    /// Its bytes, in the pieces in which they arrive.
    pub pieces: Vec<Vec<u8>>,
    /// How it ends.
    pub end: End,
}

impl Body {
    /// A body of these bytes in pieces of this size.
    ///
    /// # Panics
    ///
    /// If `size` is 0.
    pub fn in_pieces(bytes: &[u8], size: usize) -> Self {
        Self { pieces: bytes.chunks(size).map(<[u8]>::to_vec).collect(), ..Self::default() }
    }

    /// The same bytes with another end.
    pub fn ending(mut self, end: End) -> Self {
        self.end = end;
        self
    }
}

impl Default for Body {
    fn default() -> Self {
        Self { pieces: Vec::new(), end: End::Complete(None) }
    }
}

impl<T: Into<Vec<u8>>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self { pieces: vec![bytes.into()], ..Self::default() }
    }
}
