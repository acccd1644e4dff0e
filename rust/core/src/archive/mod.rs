//! Archives and their documents from outside: read strictly, and without I/O.

pub mod compress;
pub mod json;
pub mod tar;
