//! File systems in files, mounted for a test where that is allowed, and what a power cut leaves of them.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use super::common::Scratch;

const MIB: u64 = 1 << 20;

/// A kind of file system: its size in MiB, and the command that makes it.
pub type Kind = (u64, &'static [&'static str]);

/// ext4 with a journal.
pub const EXT4: Kind = (64, &["mkfs.ext4", "-q"]);
/// ext4 without a journal.
pub const EXT4_NO_JOURNAL: Kind = (64, &["mkfs.ext4", "-q", "-O", "^has_journal"]);
/// XFS.
pub const XFS: Kind = (310, &["mkfs.xfs", "-q"]);
/// btrfs.
pub const BTRFS: Kind = (130, &["mkfs.btrfs", "-q"]);

/// A file system in a file.
pub struct Disk {
    kind: Kind,
    image: PathBuf,
    /// Where it is mounted.
    pub mounted: PathBuf,
}

impl Disk {
    /// Make one; None where that is not possible.
    pub fn make(scratch: &Scratch, kind: Kind) -> Option<Self> {
        let image = scratch.path.join("image");
        fs::File::create(&image).unwrap().set_len(kind.0 * MIB).unwrap();
        let made = Command::new(kind.1[0]).args(&kind.1[1..]).arg(&image).output().ok()?;
        assert!(made.status.success(), "{made:?}");
        let disk = Self::mount(scratch, kind, image);
        if disk.is_none() {
            println!("skipped {kind:?}: no right to mount a file system");
        }
        disk
    }

    fn mount(scratch: &Scratch, kind: Kind, image: PathBuf) -> Option<Self> {
        let mounted = scratch.path.join(format!("mounted-{}", image.file_name().unwrap().display()));
        fs::create_dir_all(&mounted).unwrap();
        // XFS refuses two with one identity unless it is told not to look.
        let options = if kind.1[0] == "mkfs.xfs" { "loop,nouuid" } else { "loop" };
        let done = Command::new("mount").args(["-o", options]).args([&image, &mounted]).output().ok()?;
        done.status.success().then(|| Self { kind, image, mounted })
    }

    /// Copy the disk as it is now.
    pub fn copy(&self, scratch: &Scratch) -> PathBuf {
        let copy = scratch.path.join("copy");
        run("cp", &["--sparse=always".as_ref(), &self.image, &copy]);
        copy
    }

    /// Mount a copy in place of this disk, after the check that follows a power cut.
    pub fn after_cut(self, scratch: &Scratch, copy: PathBuf) -> Self {
        let kind = self.kind;
        // Two with one identity cannot be mounted at the same time.
        drop(self);
        Self::checked(scratch, kind, copy)
    }

    /// Mount a copy beside this disk, after the same check; btrfs refuses that.
    pub fn beside(&self, scratch: &Scratch, copy: PathBuf) -> Self {
        Self::checked(scratch, self.kind, copy)
    }

    fn checked(scratch: &Scratch, kind: Kind, copy: PathBuf) -> Self {
        if kind.1[0] == "mkfs.ext4" {
            let check = Command::new("e2fsck").args(["-f", "-y"]).arg(&copy).output().unwrap();
            // 1: it had something to repair.
            assert!(matches!(check.status.code(), Some(0 | 1)), "{check:?}");
        }
        Self::mount(scratch, kind, copy).unwrap()
    }

    /// Where the store is.
    pub fn root(&self) -> PathBuf {
        self.mounted.join("store")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A process that another test is starting has our descriptors for a moment.
        for _ in 0..600 {
            let done = Command::new("umount").arg(&self.mounted).output().unwrap();
            if done.status.success() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        run("umount", &["--lazy".as_ref(), &self.mounted]);
    }
}

fn run(program: &str, arguments: &[&Path]) -> Output {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}
