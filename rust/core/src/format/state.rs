//! The state file of an ingest: the data that a resume relies on.
//!
//! ```text
//! 0                    header, written once: magic, lengths, started_at, ref, checksum
//! base (4096-aligned)  holder: pid and since of the last writer; informational, never synced
//! base + 4096          slot 0 ┐ written alternately in place, each with a sequence number and a checksum:
//! base + 8192          slot 1 ┘ a torn write spoils one, and the other counts
//! ```
//!
//! All numbers are little-endian. A checksum is BLAKE3 of everything before it in its block. The checksums of the holder and the
//! slots also cover the header's checksum, so that a block from another ingest's file is never accepted.
//! Decoding accepts any bytes: a part that is not intact is absent, never guessed.

use crate::digest::{Algorithm, Digest};

mod codec;

pub use codec::BLOCK;
use codec::{Reader, seal, seal_of, unseal};

/// The longest ref in bytes of UTF-8.
pub const REF_LIMIT: usize = 1 << 20;
/// The longest hash state that a slot can hold.
pub const HASH_STATE_LIMIT: usize = 3072;
/// The largest state file that can be valid.
pub const SIZE_LIMIT: usize = (HEADER_FIXED + REF_LIMIT).next_multiple_of(BLOCK) + 3 * BLOCK;

const MAGIC: &[u8; 8] = b"STYDING1";
const HEADER_FIXED: usize = 8 + 8 + 8 + codec::SEAL;

/// The part of a state file that never changes: the identity of the ingest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The caller's name of the ingest.
    pub ref_: String,
    /// When it was begun, in nanoseconds since the epoch.
    pub started_ns: i64,
}

/// The writer that has, or last had, the ingest open. This is only shown to people; the lock decides who may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// When it took the ingest, in nanoseconds since the epoch.
    pub since_ns: i64,
}

/// A checkpoint: bytes that were durable before it was written, and the state that a resume needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The number of the checkpoint. Of two intact slots, the one with the higher number is used.
    pub sequence: u64,
    /// Durable length of the data in bytes.
    pub offset: u64,
    /// When bytes were last added or cut, in nanoseconds since the epoch.
    pub updated_ns: i64,
    /// The size that the caller announced.
    pub total: Option<u64>,
    /// The digest that the caller announced.
    pub expected: Option<Digest>,
    /// The algorithm of the hash state.
    pub algorithm: Algorithm,
    /// How many bytes the hash state covers, at most `offset`.
    pub hash_offset: u64,
    /// The hasher's saved state; empty if it has hashed no bytes.
    pub hash_state: Vec<u8>,
}

/// The progress of a writer after its last checkpoint. It has its own file, which is not synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The ID of the boot during which the bytes were written.
    pub boot: String,
    /// The device of the data's file system.
    pub device: u64,
    /// The inode number of the data's file.
    pub inode: u64,
    /// The bytes that the hash state covers.
    pub offset: u64,
    /// When the last of them were added, in nanoseconds since the epoch.
    pub updated_ns: i64,
    /// The hasher's saved state there, of the slot's algorithm.
    pub hash_state: Vec<u8>,
}

/// The positions of the blocks of one state file, and the checksum that binds them to its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    base: usize,
    key: [u8; codec::SEAL],
}

/// A decoded state file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The identity of the ingest.
    pub header: Header,
    /// The positions of its blocks.
    pub layout: Layout,
    /// The last writer, if its record is intact.
    pub holder: Option<Holder>,
    /// The slots that are intact.
    pub slots: [Option<Slot>; 2],
}

impl Header {
    /// Encode the header, padded to the first block after it. Also returns the positions of the blocks.
    pub fn encode(&self) -> (Vec<u8>, Layout) {
        debug_assert!(self.ref_.len() <= REF_LIMIT);
        let mut bytes = Vec::with_capacity(BLOCK);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(self.ref_.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&self.started_ns.to_le_bytes());
        bytes.extend_from_slice(self.ref_.as_bytes());
        let key = seal_of(&[], &bytes);
        bytes.extend_from_slice(&key);
        let base = bytes.len().next_multiple_of(BLOCK);
        bytes.resize(base, 0);
        (bytes, Layout { base, key })
    }

    fn decode(file: &[u8]) -> Option<(Self, Layout)> {
        let mut reader = Reader::new(file);
        if reader.take(MAGIC.len())? != MAGIC {
            return None;
        }
        let length = usize::try_from(reader.u64()?).ok().filter(|&n| n <= REF_LIMIT)?;
        let started_ns = reader.i64()?;
        let text = reader.take(length)?;
        let sealed = reader.position();
        let key: [u8; codec::SEAL] = reader.take(codec::SEAL)?.try_into().ok()?;
        if seal_of(&[], &file[..sealed]) != key {
            return None;
        }
        let base = reader.position().next_multiple_of(BLOCK);
        let ref_ = std::str::from_utf8(text).ok()?.to_owned();
        Some((Self { ref_, started_ns }, Layout { base, key }))
    }
}

impl Layout {
    /// The position of the holder's record.
    pub fn holder_at(&self) -> u64 {
        self.base as u64
    }

    /// The position of the slot with this index (0 or 1).
    pub fn slot_at(&self, index: usize) -> u64 {
        debug_assert!(index < 2);
        (self.base + (1 + index) * BLOCK) as u64
    }

    /// Encode a holder's record, one block long.
    pub fn encode_holder(&self, holder: Holder) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BLOCK);
        bytes.extend_from_slice(b"hold");
        bytes.extend_from_slice(&holder.pid.to_le_bytes());
        bytes.extend_from_slice(&holder.since_ns.to_le_bytes());
        seal(&self.key, bytes)
    }

    /// Encode a slot, one block long.
    pub fn encode_slot(&self, slot: &Slot) -> Vec<u8> {
        debug_assert!(slot.hash_offset <= slot.offset && slot.hash_state.len() <= HASH_STATE_LIMIT);
        let expected = slot.expected.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut bytes = Vec::with_capacity(BLOCK);
        bytes.extend_from_slice(b"slot");
        bytes.extend_from_slice(&u32::from(slot.total.is_some()).to_le_bytes());
        bytes.extend_from_slice(&slot.sequence.to_le_bytes());
        bytes.extend_from_slice(&slot.offset.to_le_bytes());
        bytes.extend_from_slice(&slot.updated_ns.to_le_bytes());
        bytes.extend_from_slice(&slot.total.unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(&slot.hash_offset.to_le_bytes());
        codec::put_bytes(&mut bytes, expected.as_bytes());
        codec::put_bytes(&mut bytes, slot.algorithm.name().as_bytes());
        codec::put_bytes(&mut bytes, &slot.hash_state);
        seal(&self.key, bytes)
    }

    /// Encode the record of a tail, one block long.
    pub fn encode_tail(&self, tail: &Tail) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BLOCK);
        bytes.extend_from_slice(b"tail");
        bytes.extend_from_slice(&tail.device.to_le_bytes());
        bytes.extend_from_slice(&tail.inode.to_le_bytes());
        bytes.extend_from_slice(&tail.offset.to_le_bytes());
        bytes.extend_from_slice(&tail.updated_ns.to_le_bytes());
        codec::put_bytes(&mut bytes, tail.boot.as_bytes());
        codec::put_bytes(&mut bytes, &tail.hash_state);
        seal(&self.key, bytes)
    }

    /// Decode the record of a tail; `None` unless it is intact and belongs to this ingest.
    pub fn decode_tail(&self, block: &[u8]) -> Option<Tail> {
        let mut reader = Reader::new(unseal(&self.key, block)?);
        if reader.take(4)? != b"tail" {
            return None;
        }
        let (device, inode, offset, updated_ns) = (reader.u64()?, reader.u64()?, reader.u64()?, reader.i64()?);
        let boot = reader.text()?.to_owned();
        let hash_state = reader.bytes()?.to_vec();
        Some(Tail { boot, device, inode, offset, updated_ns, hash_state })
    }

    fn decode_holder(&self, file: &[u8]) -> Option<Holder> {
        let mut reader = Reader::new(unseal(&self.key, file.get(self.base..)?)?);
        if reader.take(4)? != b"hold" {
            return None;
        }
        Some(Holder { pid: reader.u32()?, since_ns: reader.i64()? })
    }

    fn decode_slot(&self, file: &[u8], index: usize) -> Option<Slot> {
        let mut reader = Reader::new(unseal(&self.key, file.get(self.base + (1 + index) * BLOCK..)?)?);
        if reader.take(4)? != b"slot" {
            return None;
        }
        let has_total = reader.u32()? != 0;
        let (sequence, offset) = (reader.u64()?, reader.u64()?);
        let (updated_ns, total, hash_offset) = (reader.i64()?, reader.u64()?, reader.u64()?);
        let expected = match reader.text()? {
            "" => None,
            text => Some(Digest::parse(text).ok()?),
        };
        let algorithm = Algorithm::parse(reader.text()?).ok()?;
        let hash_state = reader.bytes()?.to_vec();
        let total = has_total.then_some(total);
        let slot = Slot { sequence, offset, updated_ns, total, expected, algorithm, hash_offset, hash_state };
        (slot.hash_offset <= slot.offset).then_some(slot)
    }
}

impl State {
    /// Decode a state file; `None` if its header is damaged. Any other damaged part is `None` in the result.
    pub fn decode(file: &[u8]) -> Option<Self> {
        let (header, layout) = Header::decode(file)?;
        let holder = layout.decode_holder(file);
        let slots = [layout.decode_slot(file, 0), layout.decode_slot(file, 1)];
        Some(Self { header, layout, holder, slots })
    }

    /// The index of the newest intact slot whose bytes all exist, given the size of the data.
    pub fn usable(&self, data_size: u64) -> Option<usize> {
        let sequence = |index: &usize| self.slots[*index].as_ref().map(|slot| slot.sequence);
        let there = |index: &usize| self.slots[*index].as_ref().is_some_and(|slot| slot.offset <= data_size);
        (0..2).filter(there).max_by_key(sequence)
    }
}
