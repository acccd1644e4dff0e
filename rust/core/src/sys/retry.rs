//! Repeats what a signal interrupted.

use std::io;

use super::{Around, Call, Op};

/// Repeats calls that a signal interrupted before they did anything: opens, reads, writes and locks.
///
/// Never a sync, link or rename: their interruption does not say whether they happened, so it is a failure like any other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retry;

impl Around for Retry {
    fn around<T>(&self, call: Call<'_>, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match run() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted && repeatable(call.op) => {
                }
                other => return other,
            }
        }
    }
}

fn repeatable(op: Op) -> bool {
    matches!(
        op,
        Op::OpenRoot
            | Op::Open
            | Op::OpenDir
            | Op::CreateUnnamed
            | Op::ReadAt
            | Op::WriteAt
            | Op::Lock
    )
}
