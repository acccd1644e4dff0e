//! The blobs that no root keeps, with their sizes and the blobs that they name.

use crate::sys::Stat;
use crate::volume::used_ns;

/// A blob that no root keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub number: usize,
    pub size: u64,
    /// The time at which it was committed.
    pub mtime_ns: i64,
    /// The last recorded use of it, or of a document that names it.
    pub used_ns: i64,
    pub inode: u64,
    /// The time at which a collection first found that no root keeps it.
    pub since_ns: Option<i64>,
    /// Its level: it is removed after the blobs of lower levels, which may name it.
    pub level: usize,
}

/// A document that no root keeps, and the listed blobs that it names, by their numbers.
pub(super) type Edges = (usize, Vec<usize>);

/// All garbage. Pieces are known by their numbers until [`Order`](super::order::Order) has put them in order.
#[derive(Default)]
pub(super) struct Garbage {
    pub pieces: Vec<Piece>,
    pub documents: Vec<Edges>,
}

impl Garbage {
    pub fn add(&mut self, number: usize, stat: &Stat, since_ns: Option<i64>, now_ns: i64) {
        let (size, mtime_ns, inode, used_ns) = (stat.size, stat.mtime_ns, stat.id.inode, used_ns(stat, now_ns));
        self.pieces.push(Piece { number, size, mtime_ns, inode, since_ns, used_ns, level: 0 });
    }
}

/// Whether a piece must be removed too to free `excess` bytes in all. If so, `bytes` is increased by its size.
pub(super) fn is_needed(bytes: &mut u64, excess: u64, piece: &Piece) -> bool {
    let is_needed = *bytes < excess;
    *bytes += piece.size;
    is_needed
}
