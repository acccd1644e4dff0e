//! The kernels for x86-64. Each checks that the CPU has the instructions that it needs, so it is safe to call.
#![allow(clippy::many_single_char_names, reason = "the standard names the words a to h")]
#![allow(clippy::large_types_passed_by_value, reason = "what is passed lives in registers: all of it is inlined")]

mod rounds;
pub(super) mod sha256_ni;
pub(super) mod sha256_ymm;
pub(super) mod sha256_zmm;
