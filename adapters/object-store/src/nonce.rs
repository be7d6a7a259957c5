//! Unique names, and other random values.

use tus_service::{Failure, StorageError};

/// 128 random bits.
pub(crate) fn nonce() -> Result<String, StorageError> {
    Ok(format!("{:032x}", bits()?))
}

/// A number from 0 to `most`.
pub(crate) fn up_to(most: u64) -> Result<u64, StorageError> {
    Ok((bits()? % (u128::from(most) + 1)) as u64)
}

fn bits() -> Result<u128, StorageError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| StorageError::new(Failure::Internal, error))?;
    Ok(u128::from_be_bytes(bits))
}
