//! The protocol of `docs/lifecycle-protocol.md` as a model: two writers and a collector, or a writer and two collectors,
//! a step at a time. Every order of their steps is tried, with kills, power cuts and clocks that jump between any two.
//!
//! A client is promised blobs by an answer, a lease, a name or a label. In no state may a promised blob be gone, and after
//! the last step all garbage goes with the next collections. Each fault that a protocol could have is found.

mod collector;
mod condemn;
mod explore;
mod scenario;
mod world;
mod writers;

use std::time::Instant;

use scenario::{Fault, Kind, Scenario};
use world::{B, BOTH, Budget, M, bit};

/// Longer programs, which run alone with collectors.
const IMPORTS: [Kind; 2] = [Kind::Import { is_leased: true }, Kind::Import { is_leased: false }];
const KINDS: [Kind; 10] = [
    Kind::Put(M),
    Kind::Put(B),
    Kind::Leased(M),
    Kind::Leased(B),
    Kind::Name,
    Kind::Move,
    Kind::Root,
    Kind::Edge,
    Kind::Read,
    Kind::Replace,
];

/// Whether to try everything; the short form has about a quarter of the states.
fn is_long() -> bool {
    std::env::var_os("STEELYARD_LIFECYCLE").is_some_and(|form| form == "long")
}

/// Each pair of writers: from each beginning in turn, or in the long form from all of them.
fn pairs() -> Vec<Scenario> {
    let (mut all, mut turn) = (Vec::new(), 0);
    for (place, first) in KINDS.iter().enumerate() {
        for second in &KINDS[place..] {
            let mut runs = with(beginnings(&[*first, *second]), |run| run.own_writer = turn % 2);
            if !is_long() {
                runs = vec![runs.swap_remove(turn % 3)];
            }
            all.extend(runs);
            turn += 1;
        }
    }
    all
}

/// Each writer alone, and each import, from each beginning; and where no earlier collection noted anything.
fn singles() -> Vec<Scenario> {
    let noted = KINDS.into_iter().chain(IMPORTS).flat_map(|kind| beginnings(&[kind]));
    let new = |run: Scenario| [Scenario { noted: 0, ..run.clone() }, run];
    noted.flat_map(new).collect()
}

/// Both blobs are there, or the document is new, or both are.
fn beginnings(writers: &[Kind]) -> Vec<Scenario> {
    let names = if writers.contains(&Kind::Move) { bit(0) } else { 0 };
    let run = |stored| Scenario { stored, noted: stored, names, ..Scenario::new(writers) };
    [BOTH, bit(B), 0].map(run).to_vec()
}

/// Explore all, and report how many states there are.
fn explore(what: &str, scenarios: &[Scenario]) {
    let (begun, mut states) = (Instant::now(), 0);
    for scenario in scenarios {
        match scenario.explore() {
            Ok(found) => states += found,
            Err(failure) => panic!("{scenario:?}\n  {}\n{}", failure.schedule.join("\n  "), failure.rule),
        }
    }
    println!("{what}: {} runs, {states} states, {:.1} s", scenarios.len(), begun.elapsed().as_secs_f32());
}

fn with(scenarios: Vec<Scenario>, change: impl Fn(&mut Scenario)) -> Vec<Scenario> {
    let mut scenarios = scenarios;
    scenarios.iter_mut().for_each(change);
    scenarios
}

#[test]
fn two_writers_and_a_collector_keep_what_was_promised_for_the_grace_time() {
    let budget = Budget { ticks: 1, crashes: 1, ..Budget::default() };

    explore("two writers, grace", &with(pairs(), |run| run.budget = budget));
}

#[test]
fn two_writers_and_a_collector_without_a_grace_time_keep_what_leases_names_and_labels_protect() {
    let budget = Budget { crashes: 1, jumps: 1, ..Budget::default() };

    explore("two writers, no grace", &with(pairs(), |run| (run.grace, run.jump, run.budget) = (0, -6, budget)));
}

#[test]
fn a_writer_and_two_collections_keep_what_was_promised_whatever_the_clocks_do() {
    let time = Budget { ticks: 2, jumps: 1, ..Budget::default() };
    let kill = Budget { crashes: 1, ..Budget::default() };
    for jump in [3, -6] {
        let runs = with(singles(), |run| (run.cycles, run.jump, run.budget) = (2, jump, time));
        explore(&format!("one writer, two collections, the clock jumps by {jump}"), &runs);
    }
    for grace in [2, 0] {
        let runs = with(singles(), |run| (run.cycles, run.grace, run.budget) = (2, grace, kill));
        explore(&format!("one writer, two collections, a kill, grace {grace}"), &runs);
    }
}

#[test]
fn a_power_cut_takes_nothing_that_was_promised() {
    let budget = Budget { cuts: 1, ..Budget::default() };

    // These runs have the most states by far.
    let some: Vec<_> = pairs().into_iter().step_by(if is_long() { 1 } else { 4 }).collect();
    explore("two writers, power cut", &with(some, |run| run.budget = budget));
    explore("one writer, power cut", &with(singles(), |run| (run.cycles, run.budget) = (2, budget)));
}

#[test]
fn of_two_collectors_one_collects_and_nothing_promised_is_lost() {
    let budget = Budget { ticks: 1, crashes: 1, ..Budget::default() };

    explore("two collectors", &with(singles(), |run| (run.collectors, run.budget) = (2, budget)));
}

/// Each fault, in a run in which it shows.
fn faulty_runs() -> Vec<(Fault, Scenario)> {
    let run = |kind: Kind| Scenario::new(&[kind]);
    let put = || run(Kind::Put(B));
    let new_document = || Scenario { stored: bit(B), noted: bit(B), ..run(Kind::Put(M)) };
    let new_blob = || Scenario { stored: 0, ..put() };
    let leased = || Scenario { grace: 0, ..run(Kind::Leased(B)) };
    let twice = |run| Scenario { cycles: 2, ..run };
    let ticks = |run, ticks| Scenario { budget: Budget { ticks, ..Budget::default() }, ..run };
    let jumps = |run, jump| Scenario { jump, budget: Budget { jumps: 1, ..Budget::default() }, ..run };
    let kill = |run| Scenario { budget: Budget { crashes: 1, ..Budget::default() }, ..run };
    let cut = |run| Scenario { budget: Budget { cuts: 1, ..Budget::default() }, ..run };
    vec![
        (Fault::LooksBeforeItAsks, put()),
        (Fault::EntersAfterTheLook, leased()),
        (Fault::NeverStamps, put()),
        (Fault::StampsAfterTheAnswer, put()),
        (Fault::StampIsNotDurable, cut(put())),
        (Fault::AnswersLate, ticks(twice(new_blob()), 2)),
        (Fault::LeaseHasNoEntries, leased()),
        (Fault::LeaseRowBeforeItsLock, twice(leased())),
        (Fault::NameIsNotLogged, run(Kind::Name)),
        (Fault::NameIsNotDurable, cut(run(Kind::Name))),
        (Fault::DocumentIsNotLogged, new_document()),
        (Fault::LabelIsNotLogged, run(Kind::Root)),
        (Fault::NoHandshake, new_document()),
        (Fault::LooksBeforeItBegins, new_document()),
        (Fault::LooksAtOthersOnly, new_document()),
        (Fault::LooksAtItselfOnly, Scenario { own_writer: 1, ..new_document() }),
        (Fault::LooksAtOneDigestOnly, Scenario { own_writer: 1, ..new_document() }),
        (Fault::NoTransaction, run(Kind::Name)),
        (Fault::CondemnsBeforeTheLogIsRead, run(Kind::Name)),
        (Fault::LogIsTruncated, run(Kind::Name)),
        (Fault::KeptNoteIsNotDurable, cut(Scenario::new(&[Kind::Put(M), Kind::Leased(M)]))),
        (Fault::ComparesTheWallClockOnly, jumps(twice(new_blob()), 3)),
        (Fault::MissingDocumentHasNoEdges, twice(Scenario { names: bit(0), ..new_document() })),
        (Fault::RemovesByName, put()),
        (Fault::BlobBeforeItsDocument, run(Kind::Put(M))),
        (Fault::NoSyncBeforeTheBlob, cut(run(Kind::Read))),
        (Fault::RemovesBeforeTheSync, cut(Scenario { stored: bit(B), ..run(Kind::Read) })),
        (Fault::RenamesBack, twice(kill(run(Kind::Read)))),
        (Fault::TwoCollectors, Scenario { collectors: 2, ..run(Kind::Name) }),
        (Fault::KeepsTheLock, put()),
        (Fault::LeavesWhatIsCondemned, run(Kind::Read)),
    ]
}

#[test]
fn every_fault_of_the_protocol_is_found() {
    let mut missed = Vec::new();
    for (fault, right) in faulty_runs() {
        let wrong = Scenario { fault: Some(fault), ..right.clone() };
        let Err(failure) = wrong.explore() else {
            missed.push(fault);
            continue;
        };
        println!("{fault:?}: {}\n  {}", failure.rule, failure.schedule.join("\n  "));

        let failure = right.explore().err();
        assert!(failure.is_none(), "{fault:?}: the run fails without it, too");
    }
    assert_eq!(Vec::<Fault>::new(), missed, "not found");
}
