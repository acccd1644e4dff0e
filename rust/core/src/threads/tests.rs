//! The core while the system refuses threads, from the first one or from a later one on.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;

use super::{both, check_room, scarce};
use crate::digest::{Algorithm, Digest};
use crate::filter::Filter;
use crate::pipe::Job;
use crate::pipe::MultiHasher;
use crate::store::ingest::{Pushed, Source};
use crate::store::{self, BatchItem, Options, Outcome, Store};
use crate::sys::Linux;
use crate::volume::blob::{Cache, Stream};
use crate::volume::walk::Ahead;

const MIB: usize = 1 << 20;

/// A store in a directory of its own, which goes with it.
struct Root(PathBuf, Arc<Store>);

impl Root {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("steelyard-threads-{name}-{}", std::process::id()));
        let store = Store::open(&path, Options { durable: false, ..Options::default() }).unwrap();
        Self(path, store)
    }

    fn put(&self, data: &[u8]) -> Digest {
        self.1.put(data, Algorithm::Sha256, None, None).unwrap().digest
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn data(size: usize) -> Vec<u8> {
    (0..251).cycle().take(size).collect()
}

/// Run a test where from the first thread on, or from a later one, none can be started.
fn each(name: &str, test: impl Fn(&Root)) {
    for left in 0..4 {
        let root = Root::new(&format!("{name}-{left}"));
        scarce(left, || test(&root));
    }
}

#[test]
fn room_for_threads_is_there_or_refused() {
    for left in 0..4 {
        let found = scarce(left, || check_room(3));
        assert_eq!(left == 3, found.is_ok(), "{found:?}");
        assert_eq!((left < 3).then_some(libc::EAGAIN), found.err().and_then(|error| error.raw_os_error()));
    }
}

#[test]
fn what_cannot_go_beside_the_caller_goes_after_it() {
    for left in 0..2 {
        assert_eq!((1, 2), scarce(left, || both("test", || 1, || 2)));
    }
}

#[test]
fn blobs_are_put_and_read_without_threads() {
    each("put", |root| {
        let bytes = data(9 * MIB + 5);
        let digest = root.put(&bytes);

        let blob = root.1.volume().blob(&digest).unwrap();
        let mut read = vec![0; bytes.len()];
        blob.read_bulk(&mut read, 0, &Job::default()).unwrap();
        assert!(bytes == read);
        let mut hasher = MultiHasher::new(&[Algorithm::Sha256]).unwrap();
        read.fill(0);
        blob.read_and_hash(&mut hasher, &mut read, 0, &Job::default()).unwrap();
        assert!(bytes == read);
        assert_eq!(vec![digest], hasher.digests());
        let mut hasher = MultiHasher::new(&Algorithm::ALL).unwrap();
        blob.hash_at(&mut hasher, 0, u64::MAX, &Job::default(), Cache::Keep).unwrap();
        assert!(hasher.digests().contains(&digest));
        let many = root.1.volume().hash_many(&[digest], &Job::default());
        assert_eq!(digest, many[0].as_ref().unwrap().as_ref().unwrap().digest);

        let (stream, mut read) = (Stream::new(Arc::new(blob)), Vec::new());
        while stream.next(MIB, |piece| read.extend_from_slice(piece)).map(|()| read.len()).unwrap() < bytes.len() {}
        assert!(bytes == read);
        assert_eq!(digest, stream.finish());
    });
}

#[test]
fn a_call_that_must_not_wait_never_reads_a_stream_ahead() {
    let root = Root::new("take");
    let digest = root.put(&data(8 * MIB));
    scarce(0, || {
        let stream = Stream::new(Arc::new(root.1.volume().blob(&digest).unwrap()));
        let mut size = stream.next(MIB, <[u8]>::len).unwrap();
        // An idle thread that another test has left may read; else no thread does.
        while let Some(more) = stream.take(MIB, <[u8]>::len) {
            size += more;
        }
        while size < 8 * MIB {
            size += stream.next(MIB, <[u8]>::len).unwrap();
        }
        assert_eq!(digest, stream.finish());
    });
}

#[test]
fn many_digests_are_computed_without_threads() {
    let bytes = data(MIB);
    let mut expected = MultiHasher::new(&Algorithm::ALL).unwrap();
    bytes.chunks(1000).for_each(|piece| expected.update(piece));
    for left in 0..4 {
        let mut hasher = MultiHasher::new(&Algorithm::ALL).unwrap();
        scarce(left, || hasher.update(&bytes));
        assert_eq!(expected.digests(), hasher.digests());
    }
}

#[test]
fn a_batch_is_stored_without_threads() {
    each("batch", |root| {
        let sources: Vec<_> = (0..200_u8).map(|value| vec![value; 100]).collect();
        let item = |bytes| BatchItem {
            source: store::Source::Bytes(bytes),
            algorithm: Algorithm::Sha256,
            expected: None,
            size: None,
            labels: None,
        };
        let items: Vec<_> = sources.iter().map(|source| item(source)).collect();

        let stored = root.1.put_batch(&items);

        assert!(stored.iter().all(|one| matches!(one, Ok(Outcome::Stored(put)) if put.new)), "{stored:?}");
        let walk = root.1.volume().walk(&Filter::compile::<&str>(&[]).unwrap(), None).unwrap();
        let (ahead, mut count) = (Ahead::new(walk, 64, <[_]>::len), 0);
        while let Some(more) = ahead.next().unwrap() {
            count += more;
        }
        assert_eq!(200, count);
    });
}

#[test]
fn an_ingest_is_written_without_threads() {
    each("ingest", |root| {
        let bytes = data(40 * MIB);
        std::fs::write(root.0.join("source"), &bytes).unwrap();
        let file = std::fs::File::open(root.0.join("source")).unwrap();

        let ingest = root.1.ingests().open("copied", None, None, Some(Algorithm::Blake3)).unwrap();
        let source = Source { file: file.as_fd(), from: 0, most: bytes.len() as u64 };
        let mut also = MultiHasher::new(&[Algorithm::Sha256]).unwrap();
        assert_eq!(bytes.len() as u64, ingest.copy_from(source, &Job::default(), Some(&mut also)).unwrap());
        ingest.commit(None, None, None).unwrap();

        let mut hasher = MultiHasher::new(&[Algorithm::Sha256]).unwrap();
        hasher.update_from(&Linux, file.as_fd(), 0, u64::MAX, &Job::default()).unwrap();
        assert_eq!(hasher.digests(), also.digests());
        let ingest = root.1.ingests().open("written", None, Some(&hasher.digests()[0]), None).unwrap();
        bytes.chunks(3 * MIB).for_each(|piece| ingest.write(piece).unwrap());
        ingest.commit(None, Some(&hasher.digests()[0]), None).unwrap();
    });
}

#[test]
fn a_writer_that_waits_for_room_writes_where_no_flusher_can_start() {
    each("ring", |root| {
        let ingests: Vec<_> =
            (0..3).map(|number| root.1.ingests().open(&format!("ref {number}"), None, None, None).unwrap()).collect();
        let piece = data(200_000);
        for _ in 0..30 {
            for ingest in &ingests {
                while ingest.push(&piece).unwrap() != Pushed::Taken {
                    let (notify, notified) = channel();
                    if !ingest.when_room(piece.len(), Box::new(move || notify.send(()).unwrap())) {
                        ingest.flush_here();
                    }
                    notified.recv().unwrap();
                }
            }
        }
        for ingest in &ingests {
            let (notify, notified) = channel();
            if !ingest.when_written(Box::new(move || notify.send(()).unwrap())) {
                ingest.flush_here();
            }
            notified.recv().unwrap();
        }
        let digests: Vec<_> = ingests.iter().map(|ingest| ingest.digest().unwrap()).collect();
        ingests[0].commit(None, None, None).unwrap();
        assert_eq!(digests[0], digests[2]);
        assert_eq!(30 * piece.len() as u64, root.1.volume().info(&digests[0]).unwrap().size);
    });
}
