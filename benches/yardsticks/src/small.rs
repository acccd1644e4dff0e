//! Many small blobs, each a file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Instant;

use rustix::fs::{CWD, Mode, OFlags, openat, renameat, syncfs};

use crate::hash::{Algorithm, digest};
use crate::share::share;

const SHARDS: usize = 256;

/// How many small files reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Write all, `syncfs`, rename all, `syncfs`: durable.
    Batch,
    /// Write, `fdatasync`, rename, `fsync` of the directory, for each: durable.
    Each,
    /// Write and rename.
    None,
}

impl Flush {
    /// Find one by its name.
    pub fn parse(name: &str) -> io::Result<Self> {
        match name {
            "batch" => Ok(Self::Batch),
            "each" => Ok(Self::Each),
            "none" => Ok(Self::None),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no such flush: {name}"))),
        }
    }
}

/// An empty directory for temporary names, and 256 for final ones.
pub struct Small {
    temporary: OwnedFd,
    shards: Vec<OwnedFd>,
    hashed: bool,
}

impl Small {
    /// Make the directories and flush them.
    ///
    /// With `hashed`, each blob's name is its SHA-256; otherwise it is made of its number, which costs nothing.
    pub fn new(directory: &Path, hashed: bool) -> io::Result<Self> {
        let make = |name: String| {
            let path = directory.join(name);
            fs::create_dir(&path)?;
            Ok(openat(CWD, &path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
        };
        let shards = (0..SHARDS).map(|shard| make(format!("{shard:02x}"))).collect::<io::Result<_>>()?;
        let this = Self { temporary: make("temporary".to_owned())?, shards, hashed };
        // DURABILITY: what is timed later does not pay for these directories.
        syncfs(&this.temporary)?;
        Ok(this)
    }

    /// Store `data`, cut into blobs of `size` bytes, by so many threads; return the seconds it took.
    pub fn store(&self, data: &[u8], size: NonZero<usize>, threads: usize, flush: Flush) -> io::Result<f64> {
        let blobs: Vec<_> = data.chunks(size.get()).collect();
        let start = Instant::now();
        let names = share(threads, blobs.len(), |number| {
            let name = self.name(number, blobs[number]);
            let file = self.write(number, blobs[number])?;
            if flush == Flush::Each {
                // DURABILITY: the bytes are on the disk before the name is.
                file.sync_data()?;
            }
            drop(file);
            if flush != Flush::Batch {
                let shard = self.rename(number, &name)?;
                if flush == Flush::Each {
                    // DURABILITY: the name survives a power cut from here on.
                    rustix::fs::fsync(shard)?;
                }
            }
            Ok(name)
        })?;
        if flush == Flush::Batch {
            // DURABILITY: all bytes are on the disk before the first name is, and all names before the end.
            syncfs(&self.temporary)?;
            for (number, name) in names.iter().enumerate() {
                self.rename(number, name)?;
            }
            syncfs(&self.temporary)?;
        }
        Ok(start.elapsed().as_secs_f64())
    }

    fn name(&self, number: usize, blob: &[u8]) -> String {
        if self.hashed {
            return digest(Algorithm::Sha256, blob);
        }
        // As even as a digest.
        let mixed = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("{mixed:016x}{number:048x}")
    }

    fn write(&self, number: usize, blob: &[u8]) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.temporary, format!("t{number}"), flags, Mode::from_raw_mode(0o444))?);
        file.write_all(blob)?;
        Ok(file)
    }

    /// Give a file its name, and return the directory of that.
    fn rename(&self, number: usize, name: &str) -> io::Result<&OwnedFd> {
        let shard = usize::from_str_radix(&name[..2], 16).map_err(io::Error::other)?;
        let shard = &self.shards[shard];
        renameat(&self.temporary, format!("t{number}"), shard, name)?;
        Ok(shard)
    }
}
