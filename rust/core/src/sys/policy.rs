//! The policy of a store's calls: it repeats calls that a signal has interrupted, and skips syncs if the store is not durable.

use std::io;

use super::{Around, Call, Op};

/// The policy of one open store, around all its calls.
///
/// A call that a signal has interrupted is repeated, so callers never see EINTR: these calls can be repeated without harm, and a
/// sync is complete only when it returns success. Changes of names are the exception: after an interruption it is unknown whether a
/// link, rename or removal has happened, and a repetition would fail for another reason. Linux does not interrupt these calls on a
/// local file system; on other file systems an interrupted one fails with EIO.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Whether acknowledged changes must survive a power loss. If not, syncs are skipped; nothing else changes.
    pub durable: bool,
}

impl Around for Policy {
    fn around<T>(&self, call: Call<'_>, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match run() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    if !repeatable(call.op) {
                        return Err(io::Error::from_raw_os_error(libc::EIO));
                    }
                }
                other => return other,
            }
        }
    }

    fn skips(&self, op: Op) -> bool {
        !self.durable && matches!(op, Op::SyncData | Op::SyncFile | Op::SyncFs | Op::SyncDir | Op::StartWriteback)
    }
}

fn repeatable(op: Op) -> bool {
    match op {
        Op::OpenRoot
        | Op::OpenSource
        | Op::OpenDir
        | Op::CreateUnnamed
        | Op::Open
        | Op::WriteAt
        | Op::ReadAt
        | Op::Truncate
        | Op::Preallocate
        | Op::StartWriteback
        | Op::SyncData
        | Op::SyncFile
        | Op::SyncFs
        | Op::SyncDir
        | Op::Naming
        | Op::SetMode
        | Op::SetMtime
        | Op::SetAtime
        | Op::Stat
        | Op::Mount
        | Op::StatAt
        | Op::Lock
        | Op::FindLock
        | Op::Lease => true,
        // A visit may have reported names already, and calls that take a name may have done their work.
        Op::MkdirRoot
        | Op::Mkdir
        | Op::Create
        | Op::LinkUnnamed
        | Op::Link
        | Op::Rename
        | Op::Unlink
        | Op::Rmdir
        | Op::Visit => false,
    }
}
