//! The blobs that no root keeps: how large they are, and what they name.

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

/// All of them, by their numbers until [`Order`](super::order::Order) has put the pieces in order.
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
}
