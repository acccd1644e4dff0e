//! A sort of many items in parts, so that no caller has to wait for the whole sort.

use std::cmp::Ordering;
use std::iter;
use std::ops::Range;

/// The most items that a part looks at.
pub const AT_ONCE: usize = 2048;

/// A sort in progress: a quicksort in place, without memory for a copy. No two items may be equal.
pub struct Sorting {
    /// The ranges that are still to be sorted.
    ranges: Vec<Range<usize>>,
    split: Option<Split>,
    /// The state of a sequence of pseudo-random numbers, which no order of the items can anticipate.
    random: u64,
}

/// The partition of a range by its first item, in progress.
struct Split {
    range: Range<usize>,
    /// The last of the items that were found to be smaller.
    last_less: usize,
    /// The next item to look at.
    next: usize,
}

impl Sorting {
    /// Begin to sort `count` items.
    pub fn of(count: usize) -> Self {
        Self { ranges: iter::once(0..count).collect(), split: None, random: 1 }
    }

    /// Do the next part, always on the same items. Returns false once they are sorted.
    pub fn step<T>(&mut self, items: &mut [T], order: impl Fn(&T, &T) -> Ordering) -> bool {
        if let Some(split) = self.split.take() {
            self.divide(split, items, order);
            return true;
        }
        let Some(range) = self.ranges.pop() else { return false };
        if range.len() <= AT_ONCE {
            items[range].sort_unstable_by(order);
        } else {
            let start = range.start;
            let places = [(); 3].map(|()| self.place_in(&range));
            items.swap(start, median(items, places, order));
            self.split = Some(Split { last_less: start, next: start + 1, range });
        }
        true
    }

    /// A random index in a range: with fixed ones, some orders of the items would take long.
    fn place_in(&mut self, range: &Range<usize>) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        range.start + usize::try_from(self.random >> 33).unwrap_or_default() % range.len()
    }

    fn divide<T>(&mut self, mut split: Split, items: &mut [T], order: impl Fn(&T, &T) -> Ordering) {
        let start = split.range.start;
        for _ in 0..AT_ONCE {
            if split.next == split.range.end {
                items.swap(start, split.last_less);
                let (less, greater) = (start..split.last_less, split.last_less + 1..split.range.end);
                // The shorter range is sorted next, so that there are few ranges at any time.
                self.ranges.extend(if less.len() < greater.len() { [greater, less] } else { [less, greater] });
                return;
            }
            if order(&items[split.next], &items[start]) == Ordering::Less {
                split.last_less += 1;
                items.swap(split.last_less, split.next);
            }
            split.next += 1;
        }
        self.split = Some(split);
    }
}

/// The index of the median of three items.
fn median<T>(items: &[T], mut places: [usize; 3], order: impl Fn(&T, &T) -> Ordering) -> usize {
    places.sort_unstable_by(|one, other| order(&items[*one], &items[*other]));
    places[1]
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Sort in parts, and return how many there were and the most comparisons in one of them.
    fn sort(items: &mut [u64]) -> (usize, usize) {
        let (mut parts, mut most) = (0, 0);
        let mut sorting = Sorting::of(items.len());
        let count = Cell::new(0);
        let order = |one: &u64, other: &u64| {
            count.set(count.get() + 1);
            one.cmp(other)
        };
        while sorting.step(items, order) {
            parts += 1;
            most = most.max(count.take());
        }
        (parts, most)
    }

    #[test]
    fn a_sort_in_parts_sorts_and_no_part_does_much() {
        let count = 100_000_u64;
        let forwards: Vec<u64> = (0..count).collect();
        let backwards: Vec<u64> = (0..count).rev().collect();
        // An odd factor gives each number another product.
        let spread: Vec<u64> = (0..count).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        for items in [forwards, backwards, spread, Vec::new(), vec![1], vec![2, 1]] {
            let (mut sorted, mut expected) = (items.clone(), items);
            expected.sort_unstable();

            let (parts, most) = sort(&mut sorted);

            assert_eq!(expected, sorted);
            assert!(most <= 20 * AT_ONCE, "{most} comparisons in one part");
            assert!(parts >= sorted.len() / AT_ONCE);
            assert!(parts <= 20 * (sorted.len() / AT_ONCE + 1), "{parts} parts");
        }
    }
}
