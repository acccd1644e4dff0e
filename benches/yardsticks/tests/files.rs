//! Every yardstick leaves whole files under the right names.
#![allow(clippy::disallowed_methods, reason = "tests look at the disk")]

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use steelyard_yardsticks::{Algorithm, Flush, Small, ingest, ingest_each, read_into, verify, verify_each};

/// More than the buffers of a ring, no multiple of anything.
const LARGE: usize = (11 << 20) + 4321;

fn bytes(count: usize, seed: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ seed;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(count).collect()
}

fn sha256(bytes: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    digest.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn bytes_each(size: usize) -> NonZero<usize> {
    NonZero::new(size).unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(name).collect();
    names.sort();
    names
}

fn file(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_large_file_arrives_whole_under_its_first_digest() {
    for durable in [false, true] {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let data = bytes(LARGE, 1);
        let source = file(from.path(), "source", &data);

        let digests = ingest(&source, to.path(), &[Algorithm::Sha256, Algorithm::Blake3], durable).unwrap();

        assert_eq!([sha256(&data), blake3::hash(&data).to_string()].to_vec(), digests);
        assert_eq!(digests[..1], names(to.path()));
        assert!(data == fs::read(to.path().join(&digests[0])).unwrap());
    }
}

#[test]
fn many_files_arrive_whole_whatever_their_size() {
    for durable in [false, true] {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let data = [0, 1, 4096, LARGE].map(|size| bytes(size, 2));
        let sources: Vec<_> =
            data.iter().enumerate().map(|(number, data)| file(from.path(), &number.to_string(), data)).collect();

        let digests = ingest_each(&sources, to.path(), Algorithm::Sha256, 3, durable).unwrap();

        assert_eq!(data.iter().map(|data| sha256(data)).collect::<Vec<_>>(), digests);
        assert_eq!(data.len(), names(to.path()).len());
        assert!(data.iter().all(|data| *data == fs::read(to.path().join(sha256(data))).unwrap()));
    }
}

#[test]
fn small_files_arrive_whole_however_they_are_flushed() {
    for flush in [Flush::Batch, Flush::Each, Flush::None] {
        let to = tempfile::tempdir().unwrap();
        let data = bytes(999 * 8, 3);

        let seconds = Small::new(to.path(), true).unwrap().store(&data, bytes_each(8), 4, flush).unwrap();

        assert!(seconds > 0.0);
        assert_eq!(0, names(&to.path().join("temporary")).len());
        for blob in data.chunks(8) {
            let name = sha256(blob);
            assert_eq!(blob, fs::read(to.path().join(&name[..2]).join(name)).unwrap());
        }
    }
}

#[test]
fn small_files_that_are_not_hashed_get_names_of_their_own() {
    let to = tempfile::tempdir().unwrap();

    Small::new(to.path(), false).unwrap().store(&[7; 3000], bytes_each(4), 1, Flush::None).unwrap();

    let shards = names(to.path());
    let found: Vec<_> = shards.iter().flat_map(|shard| names(&to.path().join(shard))).collect();
    assert_eq!(257, shards.len());
    assert_eq!(750, found.len());
    assert!(found.iter().all(|name| name.len() == 64));
}

#[test]
fn reading_tells_the_digest_and_fills_the_memory() {
    let from = tempfile::tempdir().unwrap();
    let data = bytes(LARGE, 4);
    let path = file(from.path(), "blob", &data);
    let mut buffer = vec![0; LARGE + 1];

    assert_eq!(sha256(&data), verify(&path, Algorithm::Sha256).unwrap());
    assert_eq!(vec![sha256(&data); 3], verify_each(&vec![path.clone(); 3], Algorithm::Sha256, 2).unwrap());
    assert_eq!(LARGE, read_into(&path, &mut buffer, 1 << 20).unwrap());
    assert!(data == buffer[..LARGE]);
}

#[test]
fn a_missing_file_is_an_error_on_every_way() {
    let to = tempfile::tempdir().unwrap();
    let missing = to.path().join("missing");

    assert!(ingest(&missing, to.path(), &[Algorithm::Sha256], true).is_err());
    assert!(ingest_each(std::slice::from_ref(&missing), to.path(), Algorithm::Sha256, 2, true).is_err());
    assert!(verify(&missing, Algorithm::Sha256).is_err());
    assert!(read_into(&missing, &mut [0; 1], 1).is_err());
}
