//! The order in which garbage is removed, computed in parts.

use std::cmp::Ordering;
use std::mem;

use super::garbage::{Garbage, Piece};
use super::marks::Marks;
use crate::sorting::{AT_ONCE, Sorting};

/// Orders the removable pieces: a document comes before the blobs that it names. With `oldest_first`, the least recently used pieces
/// come first; the use of a document counts as a use of the blobs that it names.
///
/// Labels can make documents refer to each other in a circle; such documents are in any order.
#[derive(Default)]
pub(super) struct Order {
    oldest_first: bool,
    stage: Stage,
    /// For each piece, the number of documents without a level that name it.
    named_by: Vec<u32>,
    /// The pieces whose level is known, but whose blobs have not been put below them yet.
    free: Vec<usize>,
}

#[derive(Default)]
enum Stage {
    #[default]
    Begin,
    /// Replace the numbers of named blobs by indexes of pieces; the next document, and the next blob of it.
    Places(usize, usize),
    /// Find the pieces that no document names; the next piece.
    Free(usize),
    /// Find the levels. No piece before this one is held back by a circle.
    Levels(usize),
    Sort(Sorting),
}

impl Order {
    pub fn new(oldest_first: bool) -> Self {
        Self { oldest_first, ..Self::default() }
    }

    /// Do the next part. Returns false once all pieces are in order.
    pub fn step(&mut self, garbage: &mut Garbage, marks: &Marks) -> bool {
        let Garbage { pieces, documents } = &mut *garbage;
        self.stage = match mem::take(&mut self.stage) {
            Stage::Begin => {
                debug_assert!(pieces.is_sorted_by_key(|piece| piece.number) && documents.is_sorted());
                self.named_by = vec![0; pieces.len()];
                Stage::Places(0, 0)
            }
            Stage::Places(document, blob) if document < documents.len() => {
                let (document, blob) = self.place(garbage, document, blob);
                Stage::Places(document, blob)
            }
            Stage::Places(..) => Stage::Free(0),
            Stage::Free(next) if next < pieces.len() => {
                let end = pieces.len().min(next + AT_ONCE);
                self.free.extend((next..end).filter(|place| self.named_by[*place] == 0));
                Stage::Free(end)
            }
            Stage::Free(_) => Stage::Levels(0),
            Stage::Levels(first) => match self.find_levels(garbage, first) {
                Some(first) => Stage::Levels(first),
                None => Stage::Sort(Sorting::of(garbage.pieces.len())),
            },
            Stage::Sort(mut sorting) => {
                let oldest_first = self.oldest_first;
                let key = |piece: &Piece| {
                    let time = if oldest_first { piece.used_ns } else { 0 };
                    (!marks.may_go(piece.number), time, piece.level, piece.number)
                };
                if !sorting.step(pieces, |one: &Piece, other: &Piece| -> Ordering { key(one).cmp(&key(other)) }) {
                    return false;
                }
                Stage::Sort(sorting)
            }
        };
        true
    }

    /// Replace the numbers of the next blobs that documents name by their indexes, and return where to continue. A blob that is not
    /// garbage has no index.
    fn place(&mut self, garbage: &mut Garbage, mut document: usize, mut next: usize) -> (usize, usize) {
        let Garbage { pieces, documents } = garbage;
        for _ in 0..AT_ONCE {
            let Some((_, blobs)) = documents.get_mut(document) else { break };
            match blobs.get_mut(next) {
                None => (document, next) = (document + 1, 0),
                Some(blob) => match pieces.binary_search_by_key(blob, |piece| piece.number) {
                    Ok(place) => {
                        *blob = place;
                        self.named_by[place] += 1;
                        next += 1;
                    }
                    Err(_) => {
                        blobs.swap_remove(next);
                    }
                },
            }
        }
        (document, next)
    }

    /// Find the next levels, and return where to continue; None at the end.
    fn find_levels(&mut self, garbage: &mut Garbage, mut first: usize) -> Option<usize> {
        let mut done = 0;
        while done < AT_ONCE {
            done += 1;
            if let Some(place) = self.free.pop() {
                done += self.lower_blobs(garbage, place);
                continue;
            }
            // All pieces that are not held back by a circle have their level.
            if *self.named_by.get(first)? > 0 {
                self.named_by[first] = 0;
                self.free.push(first);
            }
            first += 1;
        }
        Some(first)
    }

    /// Put the blobs that a document names below its level. Returns their number.
    fn lower_blobs(&mut self, garbage: &mut Garbage, place: usize) -> usize {
        let Piece { level, used_ns, number, .. } = garbage.pieces[place];
        let Ok(document) = garbage.documents.binary_search_by_key(&number, |(document, _)| *document) else { return 0 };
        let blobs = mem::take(&mut garbage.documents[document].1);
        for blob in &blobs {
            let piece = &mut garbage.pieces[*blob];
            piece.level = piece.level.max(level + 1);
            piece.used_ns = piece.used_ns.max(used_ns);
            if self.named_by[*blob] > 0 {
                self.named_by[*blob] -= 1;
                if self.named_by[*blob] == 0 {
                    self.free.push(*blob);
                }
            }
        }
        blobs.len()
    }
}
