//! Read buffers that are reused once their bytes have been sent.

use std::{fmt, sync::Arc};

use bytes::Bytes;

/// The size of a buffer in bytes.
const SIZE: usize = 64 * 1024;

/// The buffers of one reader. A new one is allocated if all are in use.
#[derive(Default)]
pub(crate) struct Buffers(Vec<Arc<Vec<u8>>>);

/// A buffer in use, and the length of its content.
struct Filled {
    buffer: Arc<Vec<u8>>,
    length: usize,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Buffers {
    /// The next `left` bytes, or as many as one buffer holds.
    pub(crate) fn fill<E>(&mut self, left: u64, read: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Bytes, E> {
        let length = usize::try_from(left).map_or(SIZE, |left| left.min(SIZE));
        let free = self.0.iter_mut().position(|buffer| Arc::get_mut(buffer).is_some_and(|bytes| bytes.len() >= length));
        let at = free.unwrap_or_else(|| {
            self.0.push(Arc::new(vec![0; length]));
            self.0.len() - 1
        });
        if let Some(bytes) = Arc::get_mut(&mut self.0[at]) {
            read(&mut bytes[..length])?;
        }
        Ok(Bytes::from_owner(Filled { buffer: self.0[at].clone(), length }))
    }
}

impl fmt::Debug for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffers({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn a_released_buffer_is_reused() {
        let mut buffers = Buffers::default();
        let fill = |buffers: &mut Buffers, byte| {
            let read = |bytes: &mut [u8]| {
                bytes.fill(byte);
                Ok::<_, Infallible>(())
            };
            buffers.fill(SIZE as u64 + 1, read).unwrap()
        };
        let (first, second) = (fill(&mut buffers, 1), fill(&mut buffers, 2));
        assert_eq!((first[0], second[SIZE - 1], second.len()), (1, 2, SIZE));
        drop(first);
        let third = fill(&mut buffers, 3);
        assert_eq!((third[0], second[0]), (3, 2));
        assert_eq!(buffers.0.len(), 2);
    }
}
