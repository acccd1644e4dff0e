//! The tar reader and writer, and compression: what is accepted, what is refused, and that neither depends on how the input is cut.
#![allow(missing_docs, reason = "names of tests are claims")]

mod accepts;
mod compress;
mod cuts;
mod index;
mod refuses;
mod support;
mod writes;
