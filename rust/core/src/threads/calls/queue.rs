//! A queue of calls that are made in batches: calls that arrive while a batch runs are the next batch.
//!
//! A single call is made at once. No call waits for a batch to fill: a batch has the calls that are waiting when a thread is free.

use std::collections::VecDeque;
use std::sync::PoisonError;

use super::sync::{Mutex, MutexGuard};

/// The limits of a batch, and of the number of batches at a time.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The most items of a batch; at least 1.
    pub most: usize,
    /// The most bytes of a batch, not counting its last item.
    pub most_bytes: usize,
    /// The most batches at a time; at least 1.
    pub at_once: usize,
}

/// Items that wait for a batch.
pub struct Queue<T> {
    bounds: Bounds,
    state: Mutex<State<T>>,
}

struct State<T> {
    waiting: VecDeque<(T, usize)>,
    /// Batches in progress, including those that are not taken yet.
    running: usize,
}

impl<T> Queue<T> {
    /// Make an empty queue.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, state: Mutex::new(State { waiting: VecDeque::new(), running: 0 }) }
    }

    /// Add an item. Returns true if a batch must be begun for it: the caller must then call `take` or `give_up`.
    pub fn add(&self, item: T, bytes: usize) -> bool {
        let mut state = self.state();
        state.waiting.push_back((item, bytes));
        let begin = state.running < self.bounds.at_once.max(1);
        if begin {
            state.running += 1;
        }
        begin
    }

    /// Take the next batch, in the order in which its items arrived. It may be empty if other batches have taken all items.
    pub fn take(&self) -> Vec<T> {
        let mut state = self.state();
        let (mut batch, mut sum) = (Vec::new(), 0);
        while batch.len() < self.bounds.most.max(1)
            && (batch.is_empty() || sum < self.bounds.most_bytes)
            && let Some((item, bytes)) = state.waiting.pop_front()
        {
            sum += bytes;
            batch.push(item);
        }
        batch
    }

    /// Put items back into the queue, before all others.
    pub fn put_back(&self, items: impl DoubleEndedIterator<Item = (T, usize)>) {
        let mut state = self.state();
        for item in items.rev() {
            state.waiting.push_front(item);
        }
    }

    /// Remove a waiting item from the queue.
    pub fn withdraw(&self, which: impl Fn(&T) -> bool) -> Option<T> {
        let mut state = self.state();
        let index = state.waiting.iter().position(|(item, _)| which(item))?;
        state.waiting.remove(index).map(|(item, _)| item)
    }

    /// End a batch that was taken. Returns true if another one must be taken in its place.
    pub fn end(&self) -> bool {
        let mut state = self.state();
        let more = !state.waiting.is_empty();
        if !more {
            state.running -= 1;
        }
        more
    }

    /// End a batch that was begun and cannot be taken. Returns all waiting items if no other batch would take them.
    pub fn give_up(&self) -> Vec<T> {
        let mut state = self.state();
        state.running -= 1;
        if state.running > 0 {
            return Vec::new();
        }
        state.waiting.drain(..).map(|(item, _)| item).collect()
    }

    /// Lock the state, which is only ever held for a few instructions.
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use loom::thread;

    use super::*;

    fn queue(most: usize, at_once: usize) -> Arc<Queue<usize>> {
        Arc::new(Queue::new(Bounds { most, most_bytes: 100, at_once }))
    }

    /// Do all batches that are left, as a thread of the pool does; `taken` gets them.
    fn serve(queue: &Queue<usize>, taken: &Mutex<Vec<Vec<usize>>>) {
        loop {
            let batch = queue.take();
            taken.lock().unwrap().push(batch);
            if !queue.end() {
                return;
            }
        }
    }

    #[test]
    fn every_item_goes_with_one_batch_and_none_is_left_behind() {
        for (most, at_once) in [(1, 1), (9, 1), (2, 2)] {
            loom::model(move || {
                let (queue, taken) = (queue(most, at_once), Arc::new(Mutex::new(Vec::new())));
                let callers: Vec<_> = [0, 10]
                    .map(|first| {
                        let (queue, taken) = (Arc::clone(&queue), Arc::clone(&taken));
                        thread::spawn(move || {
                            for item in first..first + 2 {
                                if queue.add(item, 1) {
                                    serve(&queue, &taken);
                                }
                            }
                        })
                    })
                    .into();
                for caller in callers {
                    caller.join().unwrap();
                }

                let taken = taken.lock().unwrap();
                let mut all: Vec<_> = taken.iter().flatten().copied().collect();
                all.sort_unstable();
                assert_eq!(vec![0, 1, 10, 11], all, "{taken:?}");
                assert!(taken.iter().all(|batch| batch.len() <= most));
                let state = queue.state();
                assert_eq!((0, 0), (state.waiting.len(), state.running));
            });
        }
    }

    #[test]
    fn a_batch_ends_where_it_is_full_and_one_large_item_is_a_batch() {
        loom::model(|| {
            let queue = queue(3, 1);
            assert!(queue.add(0, 1000));
            assert!(
                [(1, 1), (2, 1), (3, 1), (4, 60), (5, 60), (6, 60)].iter().all(|(item, size)| !queue.add(*item, *size))
            );

            let batches = [vec![0], vec![1, 2, 3], vec![4, 5], vec![6]];
            for (number, batch) in batches.iter().enumerate() {
                assert_eq!(*batch, queue.take());
                assert_eq!(number < 3, queue.end());
            }
            assert!(queue.add(7, 1));
        });
    }

    #[test]
    fn a_batch_that_cannot_be_taken_leaves_no_waiting_item() {
        loom::model(|| {
            let queue = queue(1, 2);
            assert!(queue.add(0, 1) && queue.add(1, 1) && !queue.add(2, 1));

            assert!(queue.give_up().is_empty());
            assert_eq!(vec![0], queue.take());
            assert!(queue.end());
            assert_eq!(vec![1, 2], queue.give_up());
            assert!(queue.add(3, 1));
        });
    }
}
