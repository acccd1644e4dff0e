//! A few buffers that go round between the thread that fills them and the threads that hash them.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use crate::hash::{Algorithm, Hash, PIECE};
use crate::share::start;

const BUFFERS: usize = 8;

/// A buffer and how much of it is filled.
pub(crate) struct Piece {
    buffer: Vec<u8>,
    filled: usize,
}

impl Piece {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }
}

/// The end of the thread that fills.
pub(crate) struct Ring {
    hashers: Vec<Sender<Arc<Piece>>>,
    free: Receiver<Vec<u8>>,
    given_back: Sender<Vec<u8>>,
}

impl Ring {
    /// Fill a buffer and let it be hashed; returns it for reading, or None when `fill` gave nothing.
    pub(crate) fn next(&self, fill: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Option<Arc<Piece>>> {
        let mut buffer = self.free.recv().expect("a sender of it is in the ring");
        let filled = fill(&mut buffer)?;
        if filled == 0 {
            return Ok(None);
        }
        let piece = Arc::new(Piece { buffer, filled });
        for hasher in &self.hashers {
            hasher.send(Arc::clone(&piece)).expect("a hasher lives as long as the ring");
        }
        Ok(Some(piece))
    }

    /// Done with a piece.
    pub(crate) fn give_back(&self, piece: Arc<Piece>) {
        give_back(&self.given_back, piece);
    }
}

/// The last thread that is done with a piece frees its buffer.
fn give_back(free: &Sender<Vec<u8>>, piece: Arc<Piece>) {
    if let Some(piece) = Arc::into_inner(piece) {
        // No thread waits for it once the ring is gone.
        drop(free.send(piece.buffer));
    }
}

/// Run `fill` with a ring, with a thread for each hash that does nothing else; return the digests in hexadecimal.
pub(crate) fn hashed(algorithms: &[Algorithm], fill: impl FnOnce(&Ring) -> io::Result<()>) -> io::Result<Vec<String>> {
    let (given_back, free) = channel();
    for _ in 0..BUFFERS {
        given_back.send(vec![0; PIECE]).expect("the other end is here");
    }
    thread::scope(|scope| {
        // A refused thread ends the others: their ends of the channels are dropped.
        let started: io::Result<Vec<_>> = algorithms
            .iter()
            .map(|&algorithm| {
                let (hasher, pieces) = channel::<Arc<Piece>>();
                let given_back = given_back.clone();
                let work = move || {
                    let mut hash = Hash::new(algorithm);
                    for piece in pieces {
                        hash.update(piece.bytes());
                        give_back(&given_back, piece);
                    }
                    hash.encoded()
                };
                Ok((hasher, start(scope, work)?))
            })
            .collect();
        let (hashers, threads): (Vec<_>, Vec<_>) = started?.into_iter().unzip();
        let ring = Ring { hashers, free, given_back };
        let filled = fill(&ring);
        drop(ring);
        let digests = threads.into_iter().map(|thread| thread.join().expect("a hasher does not panic")).collect();
        filled.map(|()| digests)
    })
}
