//! Every system call of every way to use an ingest fails once, and from then on. Each time:
//! acknowledged bytes are whole, no name holds others, what was not acknowledged is absent, resumable or committed as a
//! whole, and the ref is free again.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use steelyard_core::digest::Algorithm;
use steelyard_core::error::{Error, Result};
use steelyard_core::model::Labels;
use steelyard_core::pipe::Job;
use steelyard_core::store::Store;
use steelyard_core::store::ingest::{Ingest, Source};
use steelyard_core::sys::{Fault, Faulty, Linux};

use crate::copy::source;
use crate::support::*;

/// A way to use an ingest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// Begin, write, sync, write, close.
    Begin,
    /// Resume, cut, write, commit.
    Resume,
    /// Commit what is stored already.
    CommitAgain,
    /// Commit over a damaged blob.
    CommitHeals,
    /// Commit with a wrong size.
    CommitWrong,
    /// Begin with an `expected` that is stored, over an ingest.
    BeginStored,
    /// Begin over what a crash left.
    BeginOverGarbage,
    /// Discard an ingest that is not open.
    Abort,
    /// Discard one that this store has open.
    AbortLive,
    /// Without a ref.
    Anonymous,
    /// By copies of a file.
    Copy,
}

/// Everything that the store has acknowledged.
#[derive(Default)]
struct Acknowledged {
    committed: bool,
    gone: bool,
    /// The least offset of a resume.
    durable: usize,
}

struct Run<'a> {
    store: &'a Arc<Store>,
    data: &'a [u8],
    source: &'a File,
    seen: Acknowledged,
}

impl Work {
    fn prepare(self, root: &Root, data: &[u8]) -> Acknowledged {
        let store = root.open();
        let stored = matches!(self, Self::CommitAgain | Self::CommitHeals | Self::BeginStored);
        if stored {
            store.put(data, Algorithm::Sha256, None, None).unwrap();
        }
        if self == Self::CommitHeals {
            let path = root.blob_path(&sha256(data));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            fs::write(&path, b"damaged").unwrap();
        }
        if self == Self::BeginOverGarbage {
            fs::create_dir(root.ingest(REF)).unwrap();
            fs::write(root.ingest(REF).join("data"), b"torn").unwrap();
            fs::write(root.ingest(REF).join("state"), b"torn").unwrap();
        }
        let mut seen = Acknowledged::default();
        if matches!(self, Self::Resume | Self::BeginStored | Self::Abort) {
            leave(&store, &data[..2000]);
            seen.durable = 2000;
        }
        seen
    }

    fn run(self, run: &mut Run<'_>, close: bool) -> Result<()> {
        let (store, data) = (run.store, run.data);
        if self == Self::Abort {
            store.ingests().abort(REF)?;
            run.seen.gone = true;
            return Ok(());
        }
        let expected = (self == Self::BeginStored).then(|| sha256(data));
        let ingest = match self {
            Self::Anonymous => store.ingests().anonymous(Algorithm::Sha256),
            _ => store.ingests().open(REF, None, expected.as_ref(), None),
        };
        let ingest = match ingest {
            Err(Error::AlreadyExists { .. }) if expected.is_some() => {
                run.seen.committed = true;
                return Ok(());
            }
            other => other?,
        };
        let result = self.use_ingest(run, &ingest);
        if close {
            // As Python does, whatever happened; the other half of the runs drops it, as a killed process would.
            ingest.close().ok();
        }
        result
    }

    fn use_ingest(self, run: &mut Run<'_>, ingest: &Ingest) -> Result<()> {
        let data = run.data;
        if self == Self::Resume {
            assert_eq!(2000, ingest.offset());
            // Once it is tried it may have happened, whatever it says.
            run.seen.durable = 1500;
            ingest.truncate(1500)?;
            ingest.write(&data[1500..])?;
            let labels = Labels::from([("a".to_owned(), "b".to_owned())]);
            ingest.commit(Some(data.len() as u64), None, Some(&labels))?;
            run.seen.committed = true;
            return Ok(());
        }
        if self == Self::Copy {
            return Self::copy(run, ingest);
        }
        ingest.write(&data[..1000])?;
        ingest.sync()?;
        if self != Self::Anonymous {
            run.seen.durable = 1000;
        }
        ingest.push(&data[1000..])?;
        match self {
            Self::AbortLive => {
                run.store.ingests().abort(REF)?;
                run.seen.gone = true;
                assert!(matches!(ingest.push(b""), Err(Error::Aborted { .. })));
            }
            Self::CommitWrong => match ingest.commit(Some(1), None, None) {
                Err(Error::UnexpectedSize { .. }) => run.seen.durable = data.len(),
                other => drop(other?),
            },
            Self::CommitAgain | Self::CommitHeals => match ingest.commit(None, None, None) {
                Err(Error::AlreadyExists { .. }) => run.seen.committed = true,
                other => drop(other?),
            },
            Self::Anonymous => {
                ingest.commit(None, None, None)?;
                run.seen.committed = true;
            }
            _ => {
                ingest.close()?;
                run.seen.durable = data.len();
            }
        }
        Ok(())
    }
}

impl Work {
    fn copy(run: &mut Run<'_>, ingest: &Ingest) -> Result<()> {
        let file = run.source.as_fd();
        ingest.copy_from(Source { file, from: 0, most: 1000 }, &Job::default(), None)?;
        ingest.sync()?;
        run.seen.durable = 1000;
        ingest.copy_from(Source { file, from: 1000, most: u64::MAX }, &Job::default(), None)?;
        ingest.commit(None, None, None)?;
        run.seen.committed = true;
        Ok(())
    }
}

/// Check what is there after a fault, and that it can be finished.
fn assert_sound(work: Work, root: &Root, store: &Arc<Store>, data: &[u8], seen: &Acknowledged) {
    let digest = sha256(data);
    let blob = root.blob(&digest);
    let is_damaged = work == Work::CommitHeals && blob.as_deref() == Some(b"damaged");
    assert!(is_damaged || blob.is_none() || blob.as_deref() == Some(data));
    let offset = store.ingests().status(REF).map(|status| usize::try_from(status.offset).unwrap());
    match &offset {
        Ok(offset) => {
            assert!((seen.durable..=data.len()).contains(offset) && !seen.gone && !seen.committed);
        }
        Err(error) => {
            assert_eq!(&Error::no_ingest(REF), error);
            let may_be_gone = seen.gone || matches!(work, Work::Abort | Work::AbortLive);
            assert!(may_be_gone || seen.durable == 0 || blob.as_deref() == Some(data));
        }
    }
    assert!(!seen.committed || blob.as_deref() == Some(data));

    let ingest = begin(store);
    let resumed = usize::try_from(ingest.offset()).unwrap();
    assert_eq!(offset.unwrap_or(0), resumed);
    assert_eq!(sha256(&data[..resumed]), ingest.digest().unwrap());
    ingest.write(&data[resumed..]).unwrap();
    match ingest.commit(None, Some(&digest), None) {
        Err(Error::AlreadyExists { .. }) => assert!(blob.is_some()),
        other => assert_eq!(digest, other.unwrap().digest),
    }
    assert_eq!(Some(data), root.blob(&digest).as_deref());
    assert_eq!(0, root.ingests_left());
    assert_eq!(Ok(Vec::new()), store.ingests().statuses());
}

/// Let call `n` fail; return whether there was such a call.
fn fail_at(work: Work, n: u64, errno: i32, fault: fn(u64, i32) -> Fault) -> bool {
    let root = Root::in_memory();
    let data = bytes(3000);
    let seen = work.prepare(&root, &data);
    let faulty = Faulty::over(Arc::new(Linux));
    let store = root.open_with(faulty.clone());
    let source = source(&root, &data);
    let mut run = Run { store: &store, data: &data, source: &source, seen };
    faulty.set(Some(fault(n, errno)));

    let result = work.run(&mut run, n.is_multiple_of(2));

    let hit = faulty.hits() > 0;
    faulty.set(None);
    // What a signal has interrupted is made again; a link or rename is not, and has failed.
    let errno = if errno == libc::EINTR { libc::EIO } else { errno };
    match &result {
        Err(Error::Io { errno: found, path: Some(_), .. }) => assert_eq!(errno, *found),
        Err(Error::Source { errno: found }) => assert_eq!((errno, Work::Copy), (*found, work)),
        other => assert_eq!(&Ok(()), other, "{work:?}, call {n}"),
    }
    assert!(hit || result.is_ok());
    let seen = run.seen;
    if n.is_multiple_of(3) {
        drop(store);
        assert_sound(work, &root, &root.open(), &data, &seen);
    } else {
        assert_sound(work, &root, &store, &data, &seen);
    }
    hit
}

fn sweep(work: Work) {
    let once = Fault::Once as fn(u64, i32) -> Fault;
    let mut plans = vec![(once, libc::EINTR)];
    for errno in [libc::EIO, libc::ENOSPC, libc::EMFILE] {
        plans.extend([(once, errno), (Fault::From, errno)]);
    }
    for (fault, errno) in plans {
        let mut calls = 1;
        while fail_at(work, calls, errno, fault) {
            calls += 1;
        }
        assert!(calls > 3, "{work:?} makes only {calls} calls");
    }
}

macro_rules! sweeps {
    ($($name:ident: $work:expr;)*) => {
        $(#[test] fn $name() { sweep($work); })*
    };
}

sweeps! {
    beginning_survives_every_fault: Work::Begin;
    resuming_and_committing_survives_every_fault: Work::Resume;
    committing_what_is_stored_survives_every_fault: Work::CommitAgain;
    committing_over_a_damaged_blob_survives_every_fault: Work::CommitHeals;
    committing_with_a_wrong_size_survives_every_fault: Work::CommitWrong;
    beginning_what_is_stored_survives_every_fault: Work::BeginStored;
    beginning_over_garbage_survives_every_fault: Work::BeginOverGarbage;
    aborting_survives_every_fault: Work::Abort;
    aborting_a_live_ingest_survives_every_fault: Work::AbortLive;
    an_anonymous_ingest_survives_every_fault: Work::Anonymous;
    a_copy_survives_every_fault: Work::Copy;
}

#[test]
fn short_writes_are_continued() {
    let root = Root::new();
    let faulty = Faulty::over(Arc::new(Linux));
    let store = root.open_with(faulty.clone());
    faulty.set_short_writes(7);
    let data = bytes(1000);
    leave(&store, &data[..500]);
    let ingest = begin(&store);
    ingest.write(&data[500..]).unwrap();

    assert_eq!(sha256(&data), ingest.commit(None, None, None).unwrap().digest);
    assert_eq!(Some(data.clone()), root.blob(&sha256(&data)));
}
