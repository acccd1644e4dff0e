//! Archives and their documents, which are untrusted input: parsed strictly, without I/O.

pub mod compress;
pub mod json;
pub mod tar;
