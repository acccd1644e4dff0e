//! The locks of the schedule. `model.rs` compiles the schedule with the locks of a model checker.

pub(super) use std::sync::{Condvar, Mutex, MutexGuard};
