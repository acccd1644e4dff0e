//! Reading many bytes at once: in bulk, verified, as a stream that reads ahead; and files that are stored already.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use steelyard_core::digest::{Algorithm, Digest};
use steelyard_core::error::{Error, Result};
use steelyard_core::hash::Hasher;
use steelyard_core::pipe::Job;
use steelyard_core::pipe::MultiHasher;
use steelyard_core::store::Store;
use steelyard_core::sys::{Fault, Faulty, Linux};
use steelyard_core::volume::blob::{Blob, Cache, Stream};

use crate::common::{SHA256, Scratch, sha256};

const MIB: usize = 1 << 20;

fn bytes(size: usize) -> Vec<u8> {
    (0..size as u64).map(|index| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

fn stored(store: &Store, data: &[u8], algorithm: Algorithm) -> Arc<Blob> {
    let digest = store.put(data, algorithm, None, None).unwrap().digest;
    Arc::new(store.volume().blob(&digest).unwrap())
}

/// Make the file of a blob something else.
fn damage(scratch: &Scratch, blob: &Blob, data: &[u8]) {
    let path = scratch.blob(blob.digest());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, data).unwrap();
}

/// All that a stream gives, by takes and waits of at most `most` bytes.
fn drain(stream: &Stream, most: usize) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let next = match stream.take(most, <[u8]>::to_vec) {
            Some(ready) => ready,
            None => stream.next(most, <[u8]>::to_vec)?,
        };
        assert!(next.len() <= most);
        if next.is_empty() {
            return Ok(all);
        }
        all.extend(next);
    }
}

/// How long to wait for what happens on other threads, which other tests keep busy as well.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_stream_gives_all_bytes_in_order_and_their_digest() {
    let scratch = Scratch::in_memory();
    let store = scratch.open();
    let data = bytes(7 * MIB + 123);
    for algorithm in [Algorithm::Sha256, Algorithm::Blake3] {
        for (length, most) in [(0, 10), (1, 10), (100, 7), (MIB, MIB), (2 * MIB, 300_001), (data.len(), usize::MAX)] {
            let blob = stored(&store, &data[..length], algorithm);
            let stream = Stream::new(Arc::clone(&blob));

            assert_eq!(Ok(&data[..length]), drain(&stream, most).as_deref());

            assert_eq!(*blob.digest(), stream.finish());
            stream.close();
            stream.close();
            assert!(matches!(stream.next(1, <[u8]>::len), Err(Error::Closed { .. })));
        }
    }
}

#[test]
fn a_stream_reads_ahead_while_its_caller_does_something_else() {
    let scratch = Scratch::in_memory();
    let blob = stored(&scratch.open(), &bytes(3 * MIB), SHA256);
    let stream = Stream::new(Arc::clone(&blob));
    assert_eq!(None, stream.take(1, <[u8]>::len), "nothing is read before it is asked for");

    let deadline = Instant::now() + PATIENCE;
    let mut given = 0;
    while given < 3 * MIB && Instant::now() < deadline {
        // Other tests may have all the threads that read ahead when this one begins.
        let stream = Stream::new(Arc::clone(&blob));
        given = stream.next(1, <[u8]>::len).unwrap();
        let soon = Instant::now() + Duration::from_millis(500);
        while given < 3 * MIB && Instant::now() < soon {
            given += stream.take(MIB, <[u8]>::len).unwrap_or(0);
        }
    }

    assert_eq!(3 * MIB, given, "all of it came without a wait");
}

#[test]
fn a_stream_of_a_file_that_was_cut_or_cannot_be_read_fails_again_and_again() {
    let scratch = Scratch::in_memory();
    let faulty = Faulty::over(Arc::new(Linux));
    let store = scratch.open_with(faulty.clone()).unwrap();
    let data = bytes(5 * MIB);
    let blob = stored(&store, &data, SHA256);
    faulty.set(Some(Fault::From(3, libc::EIO)));
    let stream = Stream::new(Arc::clone(&blob));
    for _ in 0..2 {
        assert!(matches!(drain(&stream, MIB), Err(Error::Io { errno: libc::EIO, .. })));
    }
    faulty.set(None);
    damage(&scratch, &blob, &data[..2 * MIB + 5]);
    let stream = Stream::new(blob);
    for _ in 0..2 {
        assert!(matches!(drain(&stream, MIB), Err(Error::DataCorrupt { .. })));
    }
}

#[test]
fn a_stream_that_was_forgotten_is_read_no_further() {
    let scratch = Scratch::in_memory();
    let blob = stored(&scratch.open(), &bytes(20 * MIB), SHA256);
    for count in [1, MIB] {
        let stream = Stream::new(Arc::clone(&blob));
        stream.next(count, <[u8]>::len).unwrap();
    }

    let deadline = Instant::now() + PATIENCE;
    while Arc::strong_count(&blob) > 1 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }

    assert_eq!(1, Arc::strong_count(&blob), "it is not open any more");
}

#[test]
fn bulk_reads_fill_any_range_and_see_a_file_that_was_cut() {
    let scratch = Scratch::in_memory();
    let data = bytes(9 * MIB + 77);
    let blob = stored(&scratch.open(), &data, SHA256);
    let job = Job::default();
    for (start, end) in [(0, data.len()), (5, 6), (1000, 8 * MIB + 3), (MIB, MIB), (data.len(), data.len())] {
        let mut buffer = vec![0; end - start];
        blob.read_bulk(&mut buffer, start as u64, &job).unwrap();
        assert_eq!(data[start..end], buffer);
        let mut hasher = MultiHasher::new(&[SHA256]).unwrap();
        buffer.fill(0);
        blob.read_and_hash(&mut hasher, &mut buffer, start as u64, &job).unwrap();
        assert_eq!((&data[start..end], vec![sha256(&data[start..end])]), (&buffer[..], hasher.digests()));
    }
    let mut buffer = vec![0; data.len()];
    assert!(matches!(blob.read_bulk(&mut buffer, 1, &job), Err(Error::OutOfRange { .. })));

    damage(&scratch, &blob, &data[..6 * MIB]);

    assert!(matches!(blob.read_bulk(&mut buffer, 0, &job), Err(Error::DataCorrupt { .. })));
    let mut hasher = MultiHasher::new(&[SHA256]).unwrap();
    assert!(matches!(blob.read_and_hash(&mut hasher, &mut buffer, 0, &job), Err(Error::DataCorrupt { .. })));
    assert!(matches!(blob.hash_at(&mut hasher, 0, u64::MAX, &job, Cache::Spare), Err(Error::DataCorrupt { .. })));
}

#[test]
fn a_blob_is_hashed_by_several_algorithms_from_anywhere_until_it_is_cancelled() {
    let scratch = Scratch::in_memory();
    let data = bytes(5 * MIB + 1);
    let blob = stored(&scratch.open(), &data, SHA256);
    for cache in [Cache::Keep, Cache::Spare] {
        for (start, most) in [(0, u64::MAX), (3, 100), (MIB as u64, 3 * MIB as u64), (data.len() as u64, 9)] {
            let (job, mut hasher) = (Job::default(), MultiHasher::new(&Algorithm::ALL).unwrap());
            let done = blob.hash_at(&mut hasher, start, most, &job, cache).unwrap();
            let first = usize::try_from(start).unwrap();
            let seen = &data[first..first + usize::try_from(done).unwrap()];
            assert_eq!((most.min(data.len() as u64 - start), done), (done, job.done()));
            let expected = Algorithm::ALL.map(|algorithm| {
                let mut hasher = Hasher::new(algorithm);
                hasher.update(seen);
                hasher.digest()
            });
            assert_eq!(expected.to_vec(), hasher.digests());
        }
    }
    let (job, mut hasher) = (Job::default(), MultiHasher::new(&[SHA256]).unwrap());
    job.cancel();

    assert_eq!(Ok(0), blob.hash_at(&mut hasher, 0, u64::MAX, &job, Cache::Keep));
}

fn find(store: &Store, file: &File) -> Option<Digest> {
    let size = file.metadata().unwrap().len();
    store.find(file.as_fd(), size, SHA256, &Job::default()).unwrap()
}

#[test]
fn a_file_is_found_only_if_the_very_same_bytes_are_stored() {
    let scratch = Scratch::in_memory();
    let store = scratch.open();
    let path = scratch.path.join("source");
    let mut data = bytes(9 * MIB);
    fs::write(&path, &data).unwrap();
    let file = File::open(&path).unwrap();
    assert_eq!(None, find(&store, &file));
    let blob = stored(&store, &data, SHA256);
    assert_eq!(Some(*blob.digest()), find(&store, &file));

    // Alike in all places that are looked at first, but not the same.
    data[MIB] ^= 1;
    fs::write(&path, &data).unwrap();
    assert_eq!(None, find(&store, &file));

    data[MIB] ^= 1;
    fs::write(&path, &data).unwrap();
    data[2 * MIB] ^= 1;
    damage(&scratch, &blob, &data);
    assert_eq!(None, find(&store, &file), "a damaged copy does not pass for the blob");
    store.volume().delete(blob.digest()).unwrap();
    assert_eq!(None, find(&store, &file));
}

#[test]
fn a_small_file_is_found_without_looking_for_its_like() {
    let scratch = Scratch::in_memory();
    let store = scratch.open();
    let path = scratch.path.join("source");
    for data in [&b""[..], b"abc"] {
        fs::write(&path, data).unwrap();
        let file = File::open(&path).unwrap();
        assert_eq!(None, find(&store, &file));
        stored(&store, data, SHA256);
        assert_eq!(Some(sha256(data)), find(&store, &file));
    }
}
