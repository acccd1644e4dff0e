//! What there is nothing of.

use std::io;

/// Whether the error says that there is nothing of that name.
pub(crate) fn missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Turn "there is none" into nothing.
pub(crate) fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}
