//! Unique names.

use tus_service::{Failure, StorageError};

/// 128 random bits.
pub(crate) fn nonce() -> Result<String, StorageError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| StorageError::new(Failure::Internal, error))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bits)))
}
