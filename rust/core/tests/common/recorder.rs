//! Records what a store asks of the system, and checks that it was asked in an order that survives a power loss.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use steelyard_core::sys::{Around, Call, Layer, Linux, Op};

/// A system that keeps a record.
pub type Recorder = Layer<Record>;

/// One call that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which call.
    pub op: Op,
    /// The directory or file it was about.
    pub path: PathBuf,
    /// The file's number, for calls on files.
    pub inode: u64,
    /// Where links and renames lead.
    pub to: Option<PathBuf>,
}

/// The record.
#[derive(Default)]
pub struct Record(Mutex<Vec<Event>>);

/// Make a recorder over the real system.
pub fn recorder() -> Arc<Recorder> {
    Arc::new(Layer::new(Arc::new(Linux), Record::default()))
}

impl Record {
    /// Return what happened since the last call.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Around for Record {
    fn around<T>(&self, call: Call<'_>, mut run: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let path = place(call.fd, call.name);
        // Before the call: afterwards the name may be gone.
        let before = inode(&path, call);
        let result = run()?;
        let inode = if before == 0 { inode(&path, call) } else { before };
        let to = call.to.map(|(fd, name)| place(fd, name));
        let op = call.op;
        self.0.lock().unwrap().push(Event { op, path, inode, to });
        Ok(result)
    }
}

fn place(fd: i32, name: &str) -> PathBuf {
    match fs::read_link(format!("/proc/self/fd/{fd}")) {
        Ok(directory) if !name.is_empty() => directory.join(name),
        Ok(path) => path,
        Err(_) => PathBuf::from(name),
    }
}

fn inode(path: &Path, call: Call<'_>) -> u64 {
    let found = if call.name.is_empty() {
        fs::metadata(format!("/proc/self/fd/{}", call.fd))
    } else {
        fs::symlink_metadata(path)
    };
    found.map_or(0, |found| found.ino())
}

/// Check that every name given or taken in the record is durable at its end, and every named file's bytes before that.
///
/// `tmp` and the names in it need not be: nothing is ever found there again.
pub fn assert_durable(events: &[Event]) {
    let mut unsynced_bytes: HashMap<u64, usize> = HashMap::new();
    let mut unsynced_names: HashMap<PathBuf, Op> = HashMap::new();
    for (index, event) in events.iter().enumerate() {
        match event.op {
            Op::WriteAt | Op::Truncate => {
                unsynced_bytes.insert(event.inode, index);
            }
            Op::SyncData | Op::SyncFile => {
                unsynced_bytes.remove(&event.inode);
            }
            Op::SyncFs => {
                unsynced_bytes.clear();
                unsynced_names.clear();
            }
            Op::LinkUnnamed | Op::Link | Op::Rename => {
                let unsynced = unsynced_bytes.get(&event.inode);
                assert_eq!(None, unsynced, "named before its bytes were synced: {events:#?}");
                note(&mut unsynced_names, event.to.as_ref().unwrap(), event.op);
                if event.op == Op::Rename {
                    note(&mut unsynced_names, &event.path, event.op);
                }
            }
            Op::Mkdir | Op::MkdirRoot | Op::Unlink | Op::Rmdir => {
                note(&mut unsynced_names, &event.path, event.op);
            }
            _ => {}
        }
        if event.op == Op::SyncDir {
            unsynced_names.remove(&event.path);
        }
    }
    assert!(unsynced_names.is_empty(), "not durable: {unsynced_names:?} in {events:#?}");
}

fn note(unsynced: &mut HashMap<PathBuf, Op>, path: &Path, op: Op) {
    let directory = path.parent().unwrap();
    if !path.ends_with("tmp") && !directory.ends_with("tmp") {
        unsynced.insert(directory.to_owned(), op);
    }
}

/// Whether the call changes a file system.
pub fn changes(op: Op) -> bool {
    !matches!(op, Op::OpenRoot | Op::OpenDir | Op::Open | Op::ReadAt | Op::Stat | Op::StatAt | Op::Visit)
}
