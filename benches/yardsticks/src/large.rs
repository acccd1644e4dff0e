//! Blobs that are read in pieces: stored, verified, read.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::hash::{Algorithm, Hash, PIECE};
use crate::ring::hashed;
use crate::share::share;
use crate::writeback::behind;

/// Store one file under its first digest: one thread reads and writes, and each hash has a thread of its own.
///
/// Durable means writing early to the disk, one `fdatasync`, a rename, and one `fsync` of the directory.
pub fn ingest(source: &Path, directory: &Path, algorithms: &[Algorithm], durable: bool) -> io::Result<Vec<String>> {
    let mut reading = File::open(source)?;
    let partial = directory.join("partial");
    let mut writing = File::create_new(&partial)?;
    let digests = hashed(algorithms, |ring| {
        let mut offset = 0;
        while let Some(piece) = ring.next(|buffer| reading.read(buffer))? {
            offset = append(&mut writing, piece.bytes(), offset, durable)?;
            ring.give_back(piece);
        }
        Ok(())
    })?;
    publish(&writing, &partial, &directory.join(&digests[0]), durable)?;
    if durable {
        File::open(directory)?.sync_all()?;
    }
    Ok(digests)
}

/// Store many files under their digests: a whole file per thread, which reads, hashes and writes it in turn.
///
/// Durable means writing early and one `fdatasync` for each, and one `fsync` of the directory at the end.
pub fn ingest_each(
    sources: &[PathBuf],
    directory: &Path,
    algorithm: Algorithm,
    threads: usize,
    durable: bool,
) -> io::Result<Vec<String>> {
    let one = |number: usize| {
        let partial = directory.join(format!("partial-{number}"));
        let mut writing = File::create_new(&partial)?;
        let mut offset = 0;
        let digest = read_and_hash(&sources[number], algorithm, |piece| {
            offset = append(&mut writing, piece, offset, durable)?;
            Ok(())
        })?;
        publish(&writing, &partial, &directory.join(&digest), durable)?;
        Ok(digest)
    };
    let digests = share(threads, sources.len(), one)?;
    if durable {
        File::open(directory)?.sync_all()?;
    }
    Ok(digests)
}

/// Read one file and hash it: one thread reads, another hashes.
pub fn verify(path: &Path, algorithm: Algorithm) -> io::Result<String> {
    let mut file = File::open(path)?;
    let digests = hashed(&[algorithm], |ring| {
        while let Some(piece) = ring.next(|buffer| file.read(buffer))? {
            ring.give_back(piece);
        }
        Ok(())
    })?;
    Ok(digests.into_iter().collect())
}

/// Read many files and hash them: a whole file per thread, which reads and hashes it in turn.
pub fn verify_each(paths: &[PathBuf], algorithm: Algorithm, threads: usize) -> io::Result<Vec<String>> {
    share(threads, paths.len(), |number| read_and_hash(&paths[number], algorithm, |_| Ok(())))
}

/// Read a file into memory that is there already, by calls of at most `most` bytes; return the bytes read.
pub fn read_into(path: &Path, buffer: &mut [u8], most: usize) -> io::Result<usize> {
    let mut file = File::open(path)?;
    let mut filled = 0;
    while filled < buffer.len() {
        let end = buffer.len().min(filled + most);
        match file.read(&mut buffer[filled..end])? {
            0 => break,
            size => filled += size,
        }
    }
    Ok(filled)
}

fn read_and_hash(
    path: &Path,
    algorithm: Algorithm,
    mut also: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<String> {
    let (mut file, mut buffer, mut hash) = (File::open(path)?, vec![0; PIECE], Hash::new(algorithm));
    loop {
        let size = file.read(&mut buffer)?;
        if size == 0 {
            return Ok(hash.encoded());
        }
        hash.update(&buffer[..size]);
        also(&buffer[..size])?;
    }
}

/// Write a piece that begins at `offset`; return where the next one does.
fn append(file: &mut File, piece: &[u8], offset: u64, durable: bool) -> io::Result<u64> {
    file.write_all(piece)?;
    let end = offset + piece.len() as u64;
    if durable {
        behind(file, offset, end)?;
    }
    Ok(end)
}

/// Give a written file its name.
fn publish(file: &File, partial: &Path, name: &Path, durable: bool) -> io::Result<()> {
    if durable {
        // DURABILITY: the bytes are on the disk before the name is; the caller syncs the directory.
        file.sync_data()?;
    }
    fs::rename(partial, name)
}
