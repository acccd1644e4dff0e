//! The tar reader and writer, and compression: which input is accepted and which is refused, in pieces of any size.
#![allow(missing_docs, reason = "names of tests are claims")]

mod accepts;
mod compress;
mod cuts;
mod index;
mod refuses;
mod support;
mod writes;
