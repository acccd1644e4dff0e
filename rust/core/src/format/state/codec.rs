//! The bytes of the state file's blocks: sealing with a checksum, and reading that never passes the end.

/// Unit of the blocks after the header; a slot is written in one piece of this size.
pub const BLOCK: usize = 4096;

/// Length of a block's checksum.
pub(super) const SEAL: usize = 32;

/// BLAKE3 of `key` and `bytes`. With its 256 bits, damage does not go unnoticed.
pub(super) fn seal_of(key: &[u8], bytes: &[u8]) -> [u8; SEAL] {
    *blake3::Hasher::new().update(key).update(bytes).finalize().as_bytes()
}

/// Pad to one block that ends in its checksum.
pub(super) fn seal(key: &[u8; SEAL], mut bytes: Vec<u8>) -> Vec<u8> {
    assert!(bytes.len() <= BLOCK - SEAL, "a block's content has a fixed limit");
    bytes.resize(BLOCK - SEAL, 0);
    let sum = seal_of(key, &bytes);
    bytes.extend_from_slice(&sum);
    bytes
}

/// The content of the block at the start of `bytes`, if it is intact.
pub(super) fn unseal<'a>(key: &[u8; SEAL], bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (content, sum) = bytes.get(..BLOCK)?.split_at(BLOCK - SEAL);
    (seal_of(key, content) == sum).then_some(content)
}

/// Append the length of `bytes`, and the bytes.
pub(super) fn put_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).expect("a block's content has a fixed limit");
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(bytes);
}

/// Reads values from the front of some bytes; `None` after their end.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.position.checked_add(length)?;
        let taken = self.bytes.get(self.position..end)?;
        self.position = end;
        Some(taken)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = u16::from_le_bytes(self.take(2)?.try_into().ok()?);
        self.take(usize::from(length))
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}
