//! The blobs that no root keeps: how large they are, and in which order they may go.

use std::collections::HashMap;

use super::marks::Marks;
use crate::sys::Stat;

/// A blob that no root keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub number: usize,
    pub size: u64,
    /// When it was committed.
    pub mtime_ns: i64,
    /// When it was last used, as far as that is known: when it was committed, or the newest blob that names it.
    pub used_ns: i64,
    pub inode: u64,
    /// When a collection first found that no root keeps it.
    pub since_ns: Option<i64>,
    /// It goes after the blobs of lower levels: those that name it.
    pub level: usize,
}

/// A document that no root keeps, and the listed blobs that it names, by their numbers.
pub(super) type Edges = (usize, Vec<usize>);

/// All of them.
#[derive(Default)]
pub(super) struct Garbage {
    pub pieces: Vec<Piece>,
    pub documents: Vec<Edges>,
}

impl Garbage {
    pub fn add(&mut self, number: usize, stat: &Stat, since_ns: Option<i64>) {
        let (size, mtime_ns, inode) = (stat.size, stat.mtime_ns, stat.id.inode);
        self.pieces.push(Piece { number, size, mtime_ns, inode, since_ns, used_ns: mtime_ns, level: 0 });
    }

    /// Order the pieces that may go: a document before the blobs that it names. With `oldest_first`, a blob is as new as the
    /// newest document that names it, and the oldest go first.
    ///
    /// The documents of a circle, which labels can make, are in any order.
    pub fn order(&mut self, marks: &Marks, oldest_first: bool) {
        let place: HashMap<usize, usize> =
            self.pieces.iter().enumerate().map(|(place, piece)| (piece.number, place)).collect();
        let mut edges: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut named_by = vec![0_usize; self.pieces.len()];
        for (document, blobs) in std::mem::take(&mut self.documents) {
            let blobs: Vec<usize> = blobs.iter().filter_map(|blob| place.get(blob).copied()).collect();
            for blob in &blobs {
                named_by[*blob] += 1;
            }
            if let Some(document) = place.get(&document) {
                edges.entry(*document).or_default().extend(blobs);
            }
        }
        let mut free: Vec<usize> = (0..self.pieces.len()).filter(|place| named_by[*place] == 0).collect();
        for first in 0..self.pieces.len() {
            // All that no circle holds back is ordered by then.
            while let Some(document) = free.pop() {
                let Piece { level, used_ns, .. } = self.pieces[document];
                for blob in edges.remove(&document).unwrap_or_default() {
                    let piece = &mut self.pieces[blob];
                    piece.level = piece.level.max(level + 1);
                    piece.used_ns = piece.used_ns.max(used_ns);
                    named_by[blob] = named_by[blob].saturating_sub(1);
                    if named_by[blob] == 0 {
                        free.push(blob);
                    }
                }
            }
            if named_by[first] > 0 {
                named_by[first] = 0;
                free.push(first);
            }
        }
        let key = |piece: &Piece| {
            let time = if oldest_first { piece.used_ns } else { 0 };
            (!marks.may_go(piece.number), time, piece.level, piece.number)
        };
        self.pieces.sort_unstable_by_key(key);
    }
}
