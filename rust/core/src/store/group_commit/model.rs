//! The groups under a model checker: each test runs once for every interleaving of its threads, up to a bound of
//! preemptions (more with `LOOM_MAX_PREEMPTIONS`).
//!
//! A record of the order of writes and flushes takes the place of the disk. A lost wake-up ends in a deadlock, which the checker
//! reports.

/// The locks of the schedule under test.
mod sync {
    pub(super) use loom::sync::{Condvar, Mutex, MutexGuard};
}

#[path = "schedule.rs"]
#[allow(clippy::duplicate_mod, reason = "the same code over other locks")]
mod schedule;

use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use loom::thread;
use schedule::Schedule;

/// The message of the panic that ends a leader.
const DIES: &str = "the test wants it";

/// The result of a flush.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Good,
    Fails,
    Dies,
}

/// The entry of one caller: the caller's number, and the position of its file in the order of opening.
#[derive(Clone, Copy)]
struct Entry {
    caller: usize,
    order: usize,
}

/// A caller's answer: the number of its group, and whether the group was flushed.
type Answer = (usize, bool);

/// The record. Its lock is from the standard library, because nothing under it needs to be interleaved by the checker.
#[derive(Default)]
struct Record {
    opened: Vec<usize>,
    /// For each caller, the files that were open when it wrote its own.
    written: Vec<(usize, BTreeSet<usize>)>,
    /// The callers of each group.
    groups: Vec<Vec<usize>>,
    under_way: usize,
    most_under_way: usize,
}

struct World {
    schedule: Schedule<Entry, Answer>,
    /// The result of each flush, in the order in which they begin; after the last entry, all succeed.
    fates: Vec<Fate>,
    record: Mutex<Record>,
    orders: AtomicUsize,
    /// A point where the checker may switch threads: during a flush, and between opening and writing.
    disk: loom::sync::Mutex<()>,
}

impl World {
    fn new(most: usize, fates: &[Fate]) -> Arc<Self> {
        let (record, disk) = (Mutex::default(), loom::sync::Mutex::new(()));
        let orders = AtomicUsize::new(0);
        Arc::new(Self { schedule: Schedule::new(most), fates: fates.to_vec(), record, orders, disk })
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn let_others_in(&self) {
        drop(self.disk.lock().unwrap());
    }

    /// Open a file, write it, and submit it for a flush. `None` if the leader has died, even if it was this caller.
    fn put(&self, caller: usize) -> Option<Answer> {
        self.record().opened.push(caller);
        self.let_others_in();
        let order = self.orders.fetch_add(1, Ordering::Relaxed);
        self.let_others_in();
        {
            let mut record = self.record();
            let open = record.opened.iter().copied().collect();
            record.written.push((caller, open));
        }
        let submit = || self.schedule.submit(Entry { caller, order }, |entries| self.flush(entries));
        let answer = panic::catch_unwind(AssertUnwindSafe(submit)).unwrap_or_else(|panic| {
            if panic.downcast_ref::<&str>() != Some(&DIES) {
                panic::resume_unwind(panic); // the checker's own, or an assertion's
            }
            None
        });
        if let Some((group, _)) = answer {
            assert!(
                self.record().groups[group].contains(&caller),
                "{caller} has an answer of a group that it was not in"
            );
        }
        answer
    }

    fn flush(&self, entries: &[Entry]) -> Vec<Answer> {
        let callers: Vec<usize> = entries.iter().map(|entry| entry.caller).collect();
        let oldest = entries.iter().min_by_key(|entry| entry.order).unwrap().caller;
        let group = {
            let mut record = self.record();
            for (caller, open) in record.written.iter().filter(|(caller, _)| callers.contains(caller)) {
                assert!(open.contains(&oldest), "{caller} wrote before {oldest}'s file was open to report it");
            }
            let written: Vec<_> = record.written.iter().map(|(caller, _)| *caller).collect();
            assert!(callers.iter().all(|caller| written.contains(caller)), "flushed before it was written");
            assert!(record.groups.iter().flatten().all(|before| !callers.contains(before)), "flushed twice");
            record.groups.push(callers);
            record.under_way += 1;
            record.most_under_way = record.most_under_way.max(record.under_way);
            record.groups.len() - 1
        };
        self.let_others_in();
        self.record().under_way -= 1;
        let fate = self.fates.get(group).copied().unwrap_or(Fate::Good);
        if fate == Fate::Dies {
            panic::panic_any(DIES);
        }
        vec![(group, fate == Fate::Good); entries.len()]
    }
}

/// Run `callers` puts at the same time, one of them on the first thread. Returns the world and the answer of each.
fn puts(most: usize, callers: usize, fates: &[Fate]) -> (Arc<World>, Vec<Option<Answer>>) {
    let world = World::new(most, fates);
    let threads: Vec<_> = (1..callers)
        .map(|caller| {
            let world = Arc::clone(&world);
            thread::spawn(move || world.put(caller))
        })
        .collect();
    let mut answers = vec![world.put(0)];
    answers.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
    assert_eq!((0, 0), world.schedule.counts());
    (world, answers)
}

fn check(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    builder.check(test);
}

#[test]
fn an_acknowledged_caller_was_in_a_flush_that_began_after_its_writes() {
    check(3, || {
        let (world, answers) = puts(1, 3, &[]);

        assert!(answers.iter().all(|answer| matches!(answer, Some((_, true)))), "{answers:?}");
        let record = world.record();
        assert_eq!(3, record.groups.iter().flatten().count());
        assert_eq!(1, record.most_under_way);
    });
}

#[test]
fn two_rounds_at_a_time_are_as_good_and_never_more() {
    check(2, || {
        let (world, answers) = puts(2, 4, &[]);

        assert!(answers.iter().all(|answer| matches!(answer, Some((_, true)))), "{answers:?}");
        assert!(world.record().most_under_way <= 2);
    });
}

#[test]
fn a_flush_that_fails_is_reported_to_its_group_only() {
    for (most, failing) in [(1, 0), (1, 1), (2, 0)] {
        check(2, move || {
            let mut fates = vec![Fate::Good; failing];
            fates.push(Fate::Fails);
            let (world, answers) = puts(most, 3, &fates);

            let record = world.record();
            for (caller, answer) in answers.into_iter().enumerate() {
                let (group, good) = answer.unwrap();
                assert!(record.groups[group].contains(&caller));
                assert_eq!(group != failing, good, "{caller} in {:?}", record.groups);
            }
        });
    }
}

#[test]
fn a_leader_that_dies_fails_its_group_and_no_other() {
    for most in [1, 2] {
        check(2, move || {
            let (world, answers) = puts(most, 3, &[Fate::Dies]);

            let record = world.record();
            for (caller, answer) in answers.into_iter().enumerate() {
                assert_eq!(record.groups[0].contains(&caller), answer.is_none(), "{caller} in {:?}", record.groups);
            }
        });
    }
}

#[test]
fn groups_go_on_after_leaders_have_died_one_after_the_other() {
    check(2, || {
        let (world, answers) = puts(1, 3, &[Fate::Dies, Fate::Dies]);
        let lost = answers.iter().filter(|answer| answer.is_none()).count();
        assert_eq!(world.record().groups.iter().take(2).flatten().count(), lost);

        assert!(matches!(world.put(9), Some((_, true))) || world.record().groups.len() <= 2);
        assert_eq!((0, 0), world.schedule.counts());
    });
}

#[test]
fn a_single_caller_leads_at_once() {
    check(2, || {
        let (world, answers) = puts(1, 1, &[]);

        assert_eq!(vec![Some((0, true))], answers);
        assert_eq!(vec![vec![0]], world.record().groups);
    });
}

/// Two groups of the same caller beside the group of another: state of the first group must not affect the second.
#[test]
fn a_second_commit_of_a_caller_meets_nothing_of_its_first() {
    check(2, || {
        let world = World::new(1, &[Fate::Good, Fate::Fails]);
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || [world.put(1), world.put(2)])
        };
        let own = [world.put(3), world.put(4)];
        let all = own.into_iter().chain(other.join().unwrap());

        let record = world.record();
        for (caller, answer) in [3, 4, 1, 2].into_iter().zip(all) {
            let (group, good) = answer.unwrap();
            assert!(record.groups[group].contains(&caller));
            assert_eq!(group != 1, good);
        }
    });
}
