//! Every interleaving: the steps of the actors, and the events that may happen between them.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::collector::start_collector;
use super::scenario::Scenario;
use super::world::{self, BOTH, COLLECTOR, Mask, State, bit, places};

/// More steps than any actor makes alone.
const STEPS: usize = 1_000;

/// The last step, and the state before it.
#[derive(Clone, Copy)]
struct Move {
    before: usize,
    actor: Option<usize>,
    what: &'static str,
}

/// A broken promise.
pub struct Failure {
    pub rule: &'static str,
    /// The steps that lead to it.
    pub schedule: Vec<String>,
}

impl Scenario {
    /// Visit every state; return how many there are, or the shortest schedule that breaks a promise.
    pub fn explore(&self) -> Result<usize, Failure> {
        let mut search = Search { seen: HashSet::default(), moves: Vec::new(), queue: VecDeque::new() };
        search.add(self.begin(), Move { before: 0, actor: None, what: "" });
        while let Some((state, number)) = search.queue.pop_front() {
            let failed = |rule, search: &Search| Err(self.failure(rule, search, number));
            if let Some(rule) = state.wrong() {
                return failed(rule, &search);
            }
            let mut is_stuck = !state.have_all_ended();
            if !is_stuck && let Err(rule) = self.settle_down(state.clone()) {
                return failed(rule, &search);
            }
            for actor in 0..3 {
                let mut after = state.clone();
                if let Some(what) = self.step(&mut after, actor) {
                    is_stuck = false;
                    search.add(after, Move { before: number, actor: Some(actor), what });
                }
            }
            if is_stuck {
                return failed("every actor waits for another", &search);
            }
            self.add_events(&mut search, &state, number);
        }
        Ok(search.moves.len())
    }

    /// Let an actor make its next step; None if it has ended, or has to wait.
    fn step(&self, state: &mut State, actor: usize) -> Option<&'static str> {
        if state.actors[actor].has_ended() {
            return None;
        }
        let what =
            if self.is_collector(actor) { self.step_collector(state, actor) } else { self.step_writer(state, actor) };
        if state.actors[actor].has_ended() {
            state.actors[actor] = world::Actor::ended();
        }
        if state.have_all_ended() {
            state.budget = world::Budget::default();
        }
        if self.budget.cuts == 0 {
            // What a cut would leave makes no difference here.
            state.sync_blobs();
            state.sync_condemned();
        }
        what
    }

    fn add_events(&self, search: &mut Search, state: &State, before: usize) {
        let event = |what| Move { before, actor: None, what };
        if state.have_all_ended() {
            return;
        }
        if state.budget.ticks > 0 {
            let mut after = state.clone();
            after.budget.ticks -= 1;
            after.boot += 1;
            search.add(after, event("time passes"));
        }
        if state.budget.jumps > 0 {
            let mut after = state.clone();
            after.budget.jumps -= 1;
            after.shift += self.jump;
            search.add(after, event("the wall clock jumps"));
        }
        for actor in 0..3 {
            if state.budget.crashes > 0 && !state.actors[actor].has_ended() {
                let mut after = state.clone();
                after.budget.crashes -= 1;
                after.end_process(actor);
                let left = after.actors[actor].cycle.left;
                let restarts = self.is_collector(actor) && left > 1;
                after.actors[actor] = if restarts { world::Actor::new(left - 1) } else { world::Actor::ended() };
                if after.have_all_ended() {
                    after.budget = world::Budget::default();
                }
                search.add(after, Move { before, actor: Some(actor), what: "is killed" });
            }
        }
        if state.budget.cuts > 0 {
            for after in cut(state) {
                search.add(after, event("the power fails, and the machine starts again"));
            }
        }
    }

    /// All actors have ended. A collection now takes nothing that is owed; one after the grace time takes all that is not,
    /// if an earlier one has noted it.
    fn settle_down(&self, mut state: State) -> Result<(), &'static str> {
        const LONG: i8 = 10;
        self.collect_alone(&mut state)?;
        if self.grace > 0 {
            state.boot += LONG;
            self.collect_alone(&mut state)?;
        }
        // A name keeps what its document names, where that is known, even while the document is missing.
        let named = if state.db.names == 0 { 0 } else { BOTH };
        let kept: Mask = named | state.db.roots;
        for digest in places(BOTH).filter(|digest| kept & bit(*digest) == 0) {
            if state.file(digest) != 0 || state.condemned[digest].now != 0 {
                return Err("garbage is left");
            }
        }
        Ok(())
    }

    fn collect_alone(&self, state: &mut State) -> Result<(), &'static str> {
        start_collector(state);
        for _ in 0..STEPS {
            if state.actors[COLLECTOR].has_ended() {
                return Ok(());
            }
            self.step_collector(state, COLLECTOR).ok_or("a collector that is alone waits")?;
            if let Some(rule) = state.wrong() {
                return Err(rule);
            }
        }
        Err("a collector that is alone does not end")
    }

    fn failure(&self, rule: &'static str, search: &Search, number: usize) -> Failure {
        let mut schedule = Vec::new();
        let mut number = number;
        while number != 0 {
            let Move { before, actor, what } = search.moves[number];
            schedule.push(match actor {
                Some(actor) if self.is_collector(actor) => format!("collector {actor} {what}"),
                Some(actor) => format!("writer {actor} ({:?}) {what}", self.writers[actor]),
                None => what.to_owned(),
            });
            number = before;
        }
        schedule.reverse();
        Failure { rule, schedule }
    }
}

/// The states that a power cut may leave: each entry and the database as they were synced last, or as they were set later.
fn cut(state: &State) -> Vec<State> {
    let mut ended = state.clone();
    ended.budget = world::Budget::default();
    for actor in 0..3 {
        ended.end_process(actor);
        ended.actors[actor] = world::Actor::ended();
    }
    ended.boot_id += 1;
    let databases = ended.undone.iter().chain([&ended.db]);
    let mut all: Vec<State> = databases.map(|db| State { db: *db, undone: Vec::new(), ..ended.clone() }).collect();
    for digest in places(BOTH) {
        all = all.iter().flat_map(|state| choices(state, |state| &mut state.blobs[digest])).collect();
        all = all.iter().flat_map(|state| choices(state, |state| &mut state.condemned[digest])).collect();
    }
    for state in &mut all {
        if (0..2).any(|slot| state.owed.names[slot] != 0 && state.db.names & bit(slot) == 0) {
            state.broken = Some("an image name that was set is gone");
        }
    }
    all
}

/// Each state in which an entry names one of the files that it may name after a power cut.
fn choices(state: &State, entry: impl Fn(&mut State) -> &mut world::Entry) -> Vec<State> {
    let after_cut = entry(&mut state.clone()).after_cut;
    let chosen = (0..8).filter(|file| after_cut & (1 << file) != 0);
    let choose = |file| {
        let mut state = state.clone();
        *entry(&mut state) = world::Entry::new(file);
        state
    };
    chosen.map(choose).collect()
}

/// The states that were seen, how each was reached, and those that were not left yet.
struct Search {
    seen: HashSet<Hashed, BuildHasherDefault<Multiply>>,
    moves: Vec<Move>,
    queue: VecDeque<(State, usize)>,
}

impl Search {
    fn add(&mut self, state: State, last: Move) {
        let hashed = Hashed::new(state);
        if !self.seen.contains(&hashed) {
            self.queue.push_back((hashed.state.clone(), self.moves.len()));
            self.seen.insert(hashed);
            self.moves.push(last);
        }
    }
}

/// A state and its hash, which is computed once.
#[derive(PartialEq, Eq)]
struct Hashed {
    hash: u64,
    state: State,
}

impl Hashed {
    fn new(state: State) -> Self {
        let mut hasher = Multiply::default();
        state.hash(&mut hasher);
        Self { hash: hasher.finish(), state }
    }
}

impl Hash for Hashed {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.hash);
    }
}

/// A hash of small fields: quick, and good enough here.
#[derive(Default)]
struct Multiply(u64);

impl Hasher for Multiply {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
}
