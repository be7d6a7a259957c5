//! Numbers of bytes in the database.

use rusqlite::{
    Error, Result,
    types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef},
};

/// A number of bytes. SQLite's integers are signed: one that does not fit is an error.
///
/// What rusqlite itself does with a `u64` depends on its version, or on a feature that the older versions lack.
pub(crate) struct Size(pub(crate) u64);

impl ToSql for Size {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        i64::try_from(self.0).map(ToSqlOutput::from).map_err(|error| Error::ToSqlConversionFailure(error.into()))
    }
}

impl FromSql for Size {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        u64::try_from(number).map(Self).map_err(|_| FromSqlError::OutOfRange(number))
    }
}

#[cfg(test)]
#[test]
fn a_size_that_does_not_fit_is_an_error() {
    let connection = rusqlite::Connection::open_in_memory().unwrap();
    let back = |size: u64| connection.query_row("SELECT ?1", [Size(size)], |row| row.get::<_, Size>(0));
    assert_eq!(back(0).unwrap().0, 0);
    assert_eq!(back(i64::MAX as u64).unwrap().0, i64::MAX as u64);
    assert!(back(1 << 63).is_err());
    assert!(connection.query_row("SELECT -1", [], |row| row.get::<_, Size>(0)).is_err());
}
