//! How a store makes its calls: it repeats what a signal interrupted, and skips the syncs that nobody asked for.

use std::io;

use super::{Around, Call, Op};

/// The manner of one open store; around all its calls.
///
/// Opens, reads, writes and locks are repeated when a signal interrupted them before they did anything. Syncs, links and
/// renames never are: their interruption does not say whether they happened, so it is a failure like any other.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Whether what is acknowledged has to survive a power loss. Without it, syncs are skipped and nothing else changes.
    pub durable: bool,
}

impl Around for Policy {
    fn around<T>(&self, call: Call<'_>, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match run() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted && repeatable(call.op) => {}
                other => return other,
            }
        }
    }

    fn skips(&self, op: Op) -> bool {
        !self.durable && matches!(op, Op::SyncData | Op::SyncFile | Op::SyncFs | Op::SyncDir | Op::StartWriteback)
    }
}

fn repeatable(op: Op) -> bool {
    matches!(
        op,
        Op::OpenRoot
            | Op::OpenSource
            | Op::Open
            | Op::OpenDir
            | Op::CreateUnnamed
            | Op::ReadAt
            | Op::WriteAt
            | Op::Lock
    )
}
