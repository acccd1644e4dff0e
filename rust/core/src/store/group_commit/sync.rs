//! The locks of the schedule; `model.rs` compiles the schedule with those of a model checker.

pub(super) use std::sync::{Condvar, Mutex, MutexGuard};
