//! Writing the marker: the last step of making or adopting a root, and of its first collection.

use std::io;
use std::os::fd::AsFd;

use super::root::Root;
use super::root::make::sync_parent;
use super::temp::{Temp, unique_name};
use crate::error::{At, Result};
use crate::format::marker::{TEXT, collected};
use crate::format::names::{MARKER, PRIVATE_MODE};
use crate::sys::write_all_at;

/// Write the marker of a root that has none: a root with a marker is complete and durable.
pub(super) fn adopt(root: &Root) -> Result<()> {
    if !root.is_new() {
        return Ok(());
    }
    // DURABILITY: the root's own name is synced first. Until the marker is durable, a power cut leaves a root without one, which
    // the next open completes.
    sync_parent(root.sys().as_ref(), root.path())?;
    write(root)?;
    // DURABILITY: the marker's name, and the names of all files and directories that were made before it.
    root.sys().sync_dir(root.dir()).at("fsync", || root.path())
}

/// Write the complete marker or nothing. It is durable when the caller has synced the root.
fn write(root: &Root) -> Result<()> {
    let sys = root.sys().as_ref();
    let path = root.path().join(MARKER);
    let temp = Temp::create(root, root.dir(), PRIVATE_MODE)?;
    // The umask may have removed permission bits.
    sys.set_mode(temp.fd(), PRIVATE_MODE).at("chmod", || &path)?;
    write_all_at(sys, temp.fd(), TEXT.as_bytes(), 0).at("write", || &path)?;
    // DURABILITY: synced before it has its name; a power cut leaves no marker, or a complete one.
    sys.sync_data(temp.fd()).at("fdatasync", || &path)?;
    match temp.staged().place(sys, root.dir(), MARKER) {
        // Another process adopted the root at the same time, with the same marker.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other.at("link", || &path)?,
    }
    // DURABILITY: the link count of the file, which not every file system writes with the directory.
    sys.sync_file(temp.fd()).at("fsync", || &path)
}

/// Raise a root to the format of collections; on return the change survives a power loss. The caller has exclusive access to the
/// store, and `meta.db` has the ID.
pub(crate) fn raise(root: &Root, id: &str) -> Result<()> {
    if root.marker()?.is_some_and(|marker| marker.id.as_deref() == Some(id)) {
        root.set_collected();
        return Ok(());
    }
    let sys = root.sys().as_ref();
    let path = || root.path().join(MARKER);
    let (tmp, _) = root.make_tmp()?;
    let name = unique_name(sys);
    let file = sys.create(tmp.as_fd(), &name, PRIVATE_MODE).at("create", path)?;
    write_all_at(sys, file.as_fd(), collected(id).as_bytes(), 0).at("write", path)?;
    // DURABILITY: synced before it has its name; a power cut leaves the old marker or this one, both complete.
    sys.sync_file(file.as_fd()).at("fsync", path)?;
    // DURABILITY: synced below. No note exists before the sync, so an older release could not lose a blob.
    sys.rename(tmp.as_fd(), &name, root.dir(), MARKER, true).at("rename", path)?;
    sys.sync_dir(root.dir()).at("fsync", || root.path())?;
    root.set_collected();
    Ok(())
}
