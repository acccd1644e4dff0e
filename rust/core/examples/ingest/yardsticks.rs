//! What the core is measured against: less than it does, by the shortest way.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::thread;

use sha2::{Digest, Sha256};
use steelyard_core::digest::Algorithm;
use steelyard_core::hash::Hasher;
use steelyard_core::sys::{Linux, Sys};

const PIECE: usize = 1 << 20;
const SLOTS: usize = 8;

/// Hash bytes in memory, with the core's own hash.
pub fn hash(algorithm: Algorithm, data: &[u8], size: u64) {
    let mut hasher = Hasher::new(algorithm);
    for (piece, _) in data.chunks(PIECE).cycle().zip(0..size / PIECE as u64) {
        hasher.update(piece);
    }
    std::hint::black_box(hasher.digest());
}

/// Read and write, nothing else; not durable.
pub fn copy(source: &Path, target: &Path) {
    let (source, target) = (File::open(source).unwrap(), File::create_new(target).unwrap());
    let mut buffer = vec![0; PIECE];
    let mut offset = 0;
    loop {
        let read = source.read_at(&mut buffer, offset).unwrap();
        if read == 0 {
            return;
        }
        target.write_all_at(&buffer[..read], offset).unwrap();
        offset += read as u64;
    }
}

/// Read, hash and write on one thread; durable.
pub fn serial(source: &Path, target: &Path) {
    let (source, target) = (File::open(source).unwrap(), File::create_new(target).unwrap());
    let mut buffer = vec![0; PIECE];
    let mut hasher = Sha256::new();
    let mut offset = 0;
    loop {
        let read = source.read_at(&mut buffer, offset).unwrap();
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        target.write_all_at(&buffer[..read], offset).unwrap();
        offset += read as u64;
        behind(&target, offset);
    }
    std::hint::black_box(hasher.finalize());
    target.sync_data().unwrap();
}

/// Read and write on one thread, hash on another, by a ring of buffers; durable. As `pipeline` of the C program does.
pub fn pipeline(source: &Path, target: &Path) {
    let (source, target) = (File::open(source).unwrap(), File::create_new(target).unwrap());
    let (full, filled) = sync_channel::<(Vec<u8>, usize)>(SLOTS);
    let (empty, emptied) = sync_channel(SLOTS + 1);
    for _ in 0..SLOTS {
        empty.send(vec![0; PIECE]).unwrap();
    }
    let hashing = thread::spawn(move || {
        let mut hasher = Sha256::new();
        for (buffer, size) in filled {
            hasher.update(&buffer[..size]);
            empty.send(buffer).ok();
        }
        std::hint::black_box(hasher.finalize());
    });
    let mut offset = 0;
    loop {
        let mut buffer = emptied.recv().unwrap();
        let read = source.read_at(&mut buffer, offset).unwrap();
        if read == 0 {
            break;
        }
        target.write_all_at(&buffer[..read], offset).unwrap();
        full.send((buffer, read)).unwrap();
        offset += read as u64;
        behind(&target, offset);
    }
    drop(full);
    hashing.join().unwrap();
    target.sync_data().unwrap();
}

/// Read a file into memory, piece by piece.
pub fn read(source: &Path, buffer: &mut [u8]) {
    let source = File::open(source).unwrap();
    for (index, piece) in buffer.chunks_mut(PIECE).enumerate() {
        source.read_exact_at(piece, (index * PIECE) as u64).unwrap();
    }
}

/// Read files and hash them, one at a time on each of two threads.
pub fn verify(sources: &[PathBuf]) {
    thread::scope(|scope| {
        for half in sources.chunks(sources.len() / 2) {
            scope.spawn(move || {
                let mut buffer = vec![0; PIECE];
                for path in half {
                    let source = File::open(path).unwrap();
                    let mut hasher = Sha256::new();
                    let mut offset = 0;
                    loop {
                        let read = source.read_at(&mut buffer, offset).unwrap();
                        if read == 0 {
                            break;
                        }
                        hasher.update(&buffer[..read]);
                        offset += read as u64;
                    }
                    std::hint::black_box(hasher.finalize());
                }
            });
        }
    });
}

/// Have the disk begin early.
fn behind(target: &File, offset: u64) {
    const EVERY: u64 = 8 << 20;
    if offset.is_multiple_of(EVERY) {
        Linux.start_writeback(target.as_fd(), offset - EVERY, EVERY).unwrap();
    }
}
