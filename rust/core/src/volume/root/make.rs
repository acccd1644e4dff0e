//! The creation of directories that survive a power loss.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use crate::error::{At, Result};
use crate::format::names::PRIVATE_DIR_MODE;
use crate::sys::{Fd, Sys, missing};

/// Open a directory, and make it if necessary. Also returns whether it was made. Its name is durable when the caller has synced `parent`.
pub(super) fn dir(sys: &dyn Sys, parent: BorrowedFd<'_>, name: &str, mode: u32) -> io::Result<(Fd, bool)> {
    match sys.open_dir(parent, name) {
        Err(error) if missing(&error) => {}
        other => return other.map(|dir| (dir, false)),
    }
    match sys.mkdir(parent, name, mode) {
        // Another process has made it meanwhile. It may not be durable, so it counts as made here.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    Ok((sys.open_dir(parent, name)?, true))
}

/// Make a missing root, and the missing directories above it.
pub(super) fn root(sys: &dyn Sys, path: &Path) -> Result<Fd> {
    // The missing directories, from the root upwards.
    let missing_above = path.ancestors().skip(1).take_while(|above| {
        let found = sys.open_root(above);
        found.is_err_and(|error| missing(&error))
    });
    let mut above: Vec<&Path> = missing_above.collect();
    while let Some(directory) = above.pop() {
        // Other users may traverse the directories above, as with `mkdir -p`; only the owner may use the root.
        one(sys, directory, 0o755)?;
        sync_parent(sys, directory)?;
    }
    one(sys, path, PRIVATE_DIR_MODE)?;
    sys.open_root(path).at("open", || path)
}

fn one(sys: &dyn Sys, path: &Path, mode: u32) -> Result<()> {
    match sys.mkdir_root(path, mode) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.at("mkdir", || path),
    }
}

/// Make a directory's own name survive a power loss.
pub(in crate::volume) fn sync_parent(sys: &dyn Sys, path: &Path) -> Result<()> {
    // The root of the file system has no parent.
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    let dir = match sys.open_root(parent) {
        // A directory that may be traversed but not read cannot be synced; it is unlikely to contain a new root.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
        other => other.at("open", || parent)?,
    };
    // DURABILITY: an earlier power cut removes the new directory with its content, of which nothing was acknowledged.
    sys.sync_dir(dir.as_fd()).at("fsync", || parent)
}
