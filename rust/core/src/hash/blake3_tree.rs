//! BLAKE3 as a stack of chaining values of whole 1 MiB subtrees and a hasher for the rest.
//!
//! The `blake3` crate's own hasher cannot be saved. Chaining values of whole subtrees can, and a few dozen represent input of
//! any length. Merging is *lazy*, as in the reference implementation: a merge that could be the root waits until further
//! input shows that it is not.
//!
//! Spec: the BLAKE3 paper, sections 2.1 and 5.1.2.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

/// The bytes under one chaining value of the stack.
pub(super) const SUBTREE: u64 = 1 << 20;

const CV_SIZE: usize = 32;

/// A running BLAKE3 hash.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    /// Whole subtrees that are in the stack.
    done: u64,
    /// Chaining values from left to right. Siblings are merged, except for the pairs that the newest value has formed, so there
    /// are `stack_len(done)` values.
    stack: Vec<ChainingValue>,
    /// The hash of the bytes after the whole subtrees, at most one subtree. It is empty only at the start and after a restore.
    partial: blake3::Hasher,
}

/// The number of chaining values for `done` subtrees: those before the last are merged like a binary counter, and the last is one more.
fn stack_len(done: u64) -> usize {
    match done {
        0 => 0,
        // At most 65, as a count of bits.
        _ => (done - 1).count_ones() as usize + 1,
    }
}

/// Merge the pairs that are known not to be the root because more input follows the first `done` subtrees.
fn merge_full(stack: &mut Vec<ChainingValue>, done: u64) {
    while stack.len() > done.count_ones() as usize {
        let (Some(right), Some(left)) = (stack.pop(), stack.pop()) else {
            unreachable!("there are never fewer values than subtrees have bits");
        };
        stack.push(merge_subtrees_non_root(&left, &right, Mode::Hash));
    }
}

/// The chaining value of a whole subtree that begins at `offset`.
pub(super) fn subtree(offset: u64, data: &[u8]) -> ChainingValue {
    debug_assert!(data.len() as u64 == SUBTREE && offset.is_multiple_of(SUBTREE));
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset);
    hasher.update(data);
    hasher.finalize_non_root()
}

impl Tree {
    pub(super) fn offset(&self) -> u64 {
        self.done * SUBTREE + self.partial.count()
    }

    pub(super) fn update(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.partial.count() == SUBTREE {
                self.push_partial();
            }
            let room = usize::try_from(SUBTREE - self.partial.count()).unwrap_or(usize::MAX);
            let (now, rest) = data.split_at(data.len().min(room));
            self.partial.update(now);
            data = rest;
        }
    }

    /// Move the full `partial` to the stack, because more input is there.
    fn push_partial(&mut self) {
        merge_full(&mut self.stack, self.done);
        self.stack.push(self.partial.finalize_non_root());
        self.done += 1;
        self.partial = blake3::Hasher::new();
        self.partial.set_input_offset(self.done * SUBTREE);
    }

    /// Add a whole subtree that was hashed separately. All subtrees before it must be whole, and there must be at least one.
    pub(super) fn push_subtree(&mut self, value: &ChainingValue) {
        if self.partial.count() == SUBTREE {
            self.push_partial();
        }
        debug_assert!(self.done > 0 && self.partial.count() == 0, "it goes on at a whole subtree");
        merge_full(&mut self.stack, self.done);
        self.stack.push(*value);
        self.done += 1;
        self.partial.set_input_offset(self.done * SUBTREE);
    }

    pub(super) fn finish(&self) -> [u8; CV_SIZE] {
        if self.done == 0 {
            return *self.partial.finalize().as_bytes();
        }
        let mut stack = self.stack.clone();
        if self.partial.count() > 0 {
            merge_full(&mut stack, self.done);
            stack.push(self.partial.finalize_non_root());
        }
        let mut right = stack.pop().unwrap_or_default();
        while stack.len() > 1 {
            let left = stack.pop().unwrap_or_default();
            right = merge_subtrees_non_root(&left, &right, Mode::Hash);
        }
        *merge_subtrees_root(&stack[0], &right, Mode::Hash).as_bytes()
    }

    /// The last offset that can be saved, and the chaining values for the bytes before it.
    pub(super) fn save(&self) -> (u64, Vec<u8>) {
        let mut stack = self.stack.clone();
        let mut done = self.done;
        if done > 0 && self.partial.count() == SUBTREE {
            merge_full(&mut stack, done);
            stack.push(self.partial.finalize_non_root());
            done += 1;
        }
        if done < 2 {
            // A single subtree cannot be saved: its chaining value is not the root hash, which is needed if the input ends there.
            return (0, Vec::new());
        }
        (done * SUBTREE, stack.concat())
    }

    /// The tree that `save` saved at `offset`; `None` if the offset and the payload do not match.
    pub(super) fn restore(offset: u64, payload: &[u8]) -> Option<Self> {
        let done = offset / SUBTREE;
        let (stack, rest) = payload.as_chunks::<CV_SIZE>();
        if !offset.is_multiple_of(SUBTREE) || done == 1 || !rest.is_empty() || stack.len() != stack_len(done) {
            return None;
        }
        let mut partial = blake3::Hasher::new();
        partial.set_input_offset(offset);
        Some(Self { done, stack: stack.to_vec(), partial })
    }
}
