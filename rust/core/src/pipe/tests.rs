//! The pool's limits and ends, and hashes that run beside their caller or not, with the same results.

use std::collections::HashSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::buffers::Buffer;
use super::pool::{HASHING, Lent, Pool, processors};
use super::stream::{PANIC, Piece, Stream};
use super::{Job, PIECE, Pipeline};
use crate::digest::{Algorithm, Digest};
use crate::hash::Hasher;
use crate::pipe::MultiHasher;
use crate::threads::low_priority::low_priority;

/// Pools that no other test uses.
static LIMITED: Pool = Pool::new("limited", || 3);
static ENDING: Pool = Pool::new("ending", || 3);
static PANICKING: Pool = Pool::new("panicking", || 3);

const HANG: Duration = Duration::from_secs(30);

/// How many threads of a pool there are.
fn threads(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|found| found.trim() == name).count()
}

fn niceness() -> i32 {
    rustix::process::getpriority_process(None).unwrap()
}

/// Whether the second is a lower priority, where there is one.
fn is_lower(caller: i32, thread: i32) -> bool {
    caller < thread || (caller, thread) == (19, 19)
}

#[test]
fn a_low_priority_thread_is_one_step_below_its_caller_also_when_nested() {
    let before = niceness();
    let (outer, inner) = low_priority(|| (niceness(), low_priority(niceness)));

    assert!(is_lower(before, outer), "{before} and {outer}");
    assert_eq!(outer, inner);
    assert_eq!(before, niceness());
}

#[test]
fn threads_of_a_pool_have_a_lower_priority_than_their_callers() {
    static NICE: Pool = Pool::new("nice", || 1);
    let (tell, told) = mpsc::channel();
    NICE.hire().run(move || tell.send(niceness()).unwrap());

    assert!(is_lower(niceness(), told.recv().unwrap()));
}

#[test]
#[should_panic(expected = "as it was")]
fn a_panic_in_a_low_priority_thread_reaches_the_caller() {
    low_priority(|| std::panic::resume_unwind(Box::new("as it was")));
}

/// Everything that a pool lends.
fn borrow(pool: &'static Pool) -> Vec<Lent> {
    std::iter::from_fn(|| pool.lend()).collect()
}

/// Wait until something is over.
fn until(mut is_over: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_over() {
        assert!(begun.elapsed() < HANG);
        thread::sleep(Duration::from_millis(5));
    }
}

fn bytes(size: usize) -> Vec<u8> {
    (0..size as u64).map(|index| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

fn digest(algorithm: Algorithm, data: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(data);
    hasher.digest()
}

/// Feed `data` in pieces of `size`, except that the first is `first` long.
fn feed(pipeline: &Pipeline, data: &[u8], first: usize, size: usize) {
    let (head, rest) = data.split_at(first.min(data.len()));
    for chunk in [head].into_iter().chain(rest.chunks(size)) {
        let mut piece = pipeline.buffer();
        piece.fill(chunk);
        let piece = Arc::new(piece);
        pipeline.feed(&piece);
        pipeline.release(piece);
    }
}

fn run(algorithms: &[Algorithm], data: &[u8], first: usize, size: usize) -> Vec<Digest> {
    let pipeline = Pipeline::many(algorithms.iter().copied().map(Hasher::new).collect());
    feed(&pipeline, data, first, size);
    pipeline.finish().iter().map(Hasher::digest).collect()
}

#[test]
fn threads_are_lent_only_while_processors_are_free() {
    let users: Vec<_> = (0..3).map(|_| LIMITED.enter()).collect();
    assert!(LIMITED.lend().is_none());
    assert_eq!(3, LIMITED.users());
    drop(users);

    assert_eq!(3, borrow(&LIMITED).len());
    let hired: Vec<_> = (0..2).map(|_| LIMITED.hire()).collect();
    assert_eq!(1, borrow(&LIMITED).len());
    drop(hired);
    let _user = LIMITED.enter();
    assert_eq!(2, borrow(&LIMITED).len());
}

#[test]
fn threads_end_after_their_last_task_and_are_used_again_before() {
    let (tell, told) = mpsc::channel();
    let mut ids = HashSet::new();
    for _ in 0..20 {
        let tell = tell.clone();
        ENDING.lend().unwrap().run(move || tell.send(thread::current().id()).unwrap());
        ids.insert(told.recv().unwrap());
        until(|| borrow(&ENDING).len() == 3);
    }

    // On a busy machine a thread may have waited for too long, and another one has started.
    assert!(ids.len() < 20, "no thread was used again");
    until(|| threads("ending") == 0);
}

#[test]
fn a_panic_ends_its_task_and_nothing_else() {
    let (tell, told) = mpsc::channel::<()>();

    PANICKING.lend().unwrap().run(move || {
        let _tell = tell;
        panic!("on purpose");
    });

    assert!(told.recv().is_err());
    until(|| borrow(&PANICKING).len() == 3);
}

#[test]
fn a_pipeline_gives_the_plain_digests_of_any_pieces_with_threads_and_without() {
    let data = bytes(9 * PIECE + 12_345);
    for crowd in [0, processors()] {
        let _users: Vec<_> = (0..crowd).map(|_| HASHING.enter()).collect();
        for (length, first, size) in [
            (0, 0, PIECE),
            (1, 1, PIECE),
            (PIECE, PIECE, PIECE),
            (PIECE + 1, PIECE, PIECE),
            (2 * PIECE, PIECE, PIECE),
            (5 * PIECE, PIECE / 2, PIECE),
            (data.len(), PIECE, PIECE),
            (data.len(), 777, PIECE),
            (3 * PIECE + 5, 1000, 64 << 10),
        ] {
            let data = &data[..length];
            let expected: Vec<_> = Algorithm::ALL.map(|algorithm| digest(algorithm, data)).to_vec();
            assert_eq!(expected, run(&Algorithm::ALL, data, first, size), "{length} {first} {size} {crowd}");
            for algorithm in Algorithm::ALL {
                assert_eq!(vec![digest(algorithm, data)], run(&[algorithm], data, first, size));
            }
        }
    }
}

#[test]
fn a_state_is_saved_where_it_was_asked_for() {
    let data = bytes(8 * PIECE);
    for algorithm in Algorithm::ALL {
        let pipeline = Pipeline::new(Hasher::new(algorithm));
        feed(&pipeline, &data[..3 * PIECE], PIECE, PIECE);
        let saved = pipeline.save();
        feed(&pipeline, &data[3 * PIECE..], PIECE, PIECE);

        let saved = saved.wait().unwrap();

        assert_eq!(3 * PIECE as u64, saved.offset);
        let mut hasher = Hasher::restore(algorithm, &saved.bytes).unwrap();
        hasher.update(&data[3 * PIECE..]);
        assert_eq!(hasher.digest(), pipeline.with(|hasher| hasher.digest()));
    }
}

#[test]
fn a_saved_state_does_not_depend_on_the_hashing_or_waiting_thread() {
    const ROUNDS: u64 = 100;
    let data = bytes(PIECE);
    let is_over = AtomicBool::new(false);
    let mut told = Vec::new();
    thread::scope(|scope| {
        // The processors are wanted by others, and then they are not: threads come and go.
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                drop((0..processors()).map(|_| HASHING.enter()).collect::<Vec<_>>());
            }
        });
        for algorithm in [Algorithm::Sha256, Algorithm::Blake3] {
            let pipeline = Pipeline::new(Hasher::new(algorithm));
            for round in 1..=ROUNDS {
                feed(&pipeline, &data, PIECE / 16, PIECE / 4);
                let saving = pipeline.save();
                let waiting = scope.spawn(move || saving.wait());
                if round % 3 == 0 {
                    pipeline.with(|_| ());
                }
                told.push(waiting.join().unwrap().map(|saved| saved.offset));
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });

    let sha256 = (1..=ROUNDS).map(|round| Some(round * PIECE as u64));
    // One subtree of BLAKE3 alone cannot be saved.
    let blake3 = [Some(0)].into_iter().chain(sha256.clone().skip(1));
    assert_eq!(sha256.chain(blake3).collect::<Vec<_>>(), told);
}

#[test]
fn a_hash_that_panics_is_lost_and_starts_over() {
    for algorithm in [Algorithm::Sha256, Algorithm::Blake3] {
        let mut data = bytes(6 * PIECE);
        data[3 * PIECE..3 * PIECE + PANIC.len()].copy_from_slice(PANIC);
        let pipeline = Pipeline::new(Hasher::new(algorithm));
        feed(&pipeline, &data, PIECE, PIECE);

        assert!(pipeline.save().wait().is_none());
        assert_eq!(0, pipeline.with(|hasher| hasher.offset()));

        feed(&pipeline, b"abc", 3, PIECE);
        assert_eq!(digest(algorithm, b"abc"), pipeline.with(|hasher| hasher.digest()));
    }
}

#[test]
fn a_stream_whose_next_bytes_wait_for_a_step_under_way_wants_no_task() {
    let mut stream = Stream::new(Hasher::new(Algorithm::Blake3));
    let data = bytes(3 * PIECE + 1);
    for chunk in data.chunks(PIECE) {
        let mut memory = Buffer::take();
        memory[..chunk.len()].copy_from_slice(chunk);
        stream.feed(Arc::new(Piece { memory, size: chunk.len() }));
    }
    let first = stream.take().unwrap().run();
    stream.put(first);
    assert!(stream.wants_task());
    let (second, third) = (stream.take().unwrap(), stream.take().unwrap());

    // The last byte belongs after both.
    assert!(!stream.wants_task() && stream.take().is_none());
    stream.put(third.run());
    assert!(!stream.wants_task() && stream.take().is_none());
    stream.put(second.run());
    assert!(stream.wants_task());
    let last = stream.take().unwrap().run();
    stream.put(last);
    assert_eq!(digest(Algorithm::Blake3, &data), stream.into_hasher().digest());
}

#[test]
fn many_pipelines_at_once_give_the_plain_digests_whatever_lies_beside_them() {
    let data = bytes(3 * PIECE + 4321);
    thread::scope(|scope| {
        for number in 0..40 {
            let data = &data;
            scope.spawn(move || {
                let _user = HASHING.enter();
                let algorithm = Algorithm::ALL[[0, 0, 0, 1, 2, 3][number % 6]];
                let data = &data[number * 1000..data.len() - number * number * 777];
                let size = [PIECE, PIECE / 4, 100_000][number % 3];
                assert_eq!(vec![digest(algorithm, data)], run(&[algorithm], data, size, size), "{number}");
            });
        }
    });
}

#[test]
fn a_panic_harms_none_of_the_hashes_beside_it() {
    let mut data = bytes(2 * PIECE);
    let expected = digest(Algorithm::Sha256, &data);
    let plain = data.clone();
    data[PIECE..PIECE + PANIC.len()].copy_from_slice(PANIC);
    thread::scope(|scope| {
        for number in 0..24 {
            let (data, plain) = (&data, &plain);
            scope.spawn(move || {
                let pipeline = Pipeline::new(Hasher::new(Algorithm::Sha256));
                feed(&pipeline, if number % 2 == 0 { data } else { plain }, PIECE, PIECE);
                let (offset, found) = pipeline.with(|hasher| (hasher.offset(), hasher.digest()));
                let is_plain = number % 2 == 1;

                assert_eq!(if is_plain { 2 * PIECE as u64 } else { 0 }, offset);
                assert_eq!(is_plain, found == expected);
            });
        }
    });
}

#[test]
fn several_algorithms_share_a_large_update() {
    let data = bytes(PIECE + 77);
    let mut hasher = MultiHasher::new(&Algorithm::ALL).unwrap();
    hasher.update(&data);
    hasher.update(&data);

    let expected = Algorithm::ALL.map(|algorithm| digest(algorithm, &[&data[..], &data].concat()));
    assert_eq!(expected.to_vec(), hasher.digests());
}

#[test]
fn several_algorithms_in_one_pass_give_each_its_digest() {
    let data = bytes(300_000);
    let mut hasher = MultiHasher::new(&[Algorithm::Sha512, Algorithm::Blake3, Algorithm::Sha256]).unwrap();
    hasher.update(&data[..100_000]);
    hasher.update(&data[100_000..]);
    let expected: Vec<Digest> = hasher.algorithms().map(|algorithm| digest(algorithm, &data)).collect();

    assert_eq!(expected, hasher.digests());
    assert_eq!(300_000, hasher.offset());
    assert!(MultiHasher::new(&[]).is_err());
    assert!(MultiHasher::new(&[Algorithm::Sha256, Algorithm::Sha256]).is_err());
}

#[test]
fn a_multi_state_is_exact_or_refused() {
    let data = bytes(2 * PIECE + 1);
    let mut hasher = MultiHasher::new(&[Algorithm::Sha256, Algorithm::Blake3]).unwrap();
    hasher.update(&data[..2 * PIECE]);
    let bytes = hasher.save().unwrap();
    let mut restored = MultiHasher::restore(&bytes).unwrap();
    for each in [&mut hasher, &mut restored] {
        each.update(&data[2 * PIECE..]);
    }

    assert_eq!(hasher.digests(), restored.digests());
    assert!(matches!(hasher.save(), Err(crate::error::Error::FailedPrecondition { .. })));
    assert!(MultiHasher::restore(&[]).is_err());
    assert!(MultiHasher::restore(&[bytes.as_slice(), &bytes].concat()).is_err());
    let mut other = Hasher::new(Algorithm::Sha512);
    other.update(b"x");

    assert!(MultiHasher::restore(&[bytes.as_slice(), &other.save().bytes].concat()).is_err());
}

#[test]
fn a_job_is_cancelled_once_and_counts() {
    let job = Job::default();
    job.add(3);
    job.add(4);
    job.cancel();

    assert_eq!((7, true), (job.done(), job.is_cancelled()));
}
