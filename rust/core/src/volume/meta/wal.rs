//! The header of SQLite's write-ahead log.
//!
//! SQLite treats a log with an unknown header as empty, and overwrites it: acknowledged labels would be lost silently. So the store
//! checks the header first.
//!
//! Spec: "The Write-Ahead Log" in SQLite's description of its file format, section 4.1.

use std::io;
use std::os::fd::AsFd;

use super::place::Place;
use crate::error::{At, Result};
use crate::format::names::META_WAL;
use crate::sys::read_full_at;

const HEADER: usize = 32;
const MAGIC: u32 = 0x377f_0682;

/// Whether SQLite can have written the log; `None` if there is no log. A log that ends within its header, or whose header is all zeros,
/// was left by a crash right after its creation, and contains nothing.
///
/// Another process may remove the log at any moment: the last one that closes the file has copied the log into it.
pub(super) fn is_log(place: Place<'_>) -> Result<Option<bool>> {
    // Another process may be writing the header during the read; this happens once per checkpoint.
    for _ in 0..3 {
        let mut header = [0; HEADER];
        let path = || place.path.with_file_name(META_WAL);
        let file = match place.sys.open(place.dir, META_WAL, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.at("open metadata log", path)?,
        };
        let read = read_full_at(place.sys, file.as_fd(), &mut header, 0).at("read metadata log", path)?;
        if read < HEADER || header == [0; HEADER] || is_header(&header) {
            return Ok(Some(true));
        }
    }
    Ok(Some(false))
}

fn is_header(header: &[u8; HEADER]) -> bool {
    let word = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
    let stored = |at| u32::from_be_bytes(word(at));
    let magic = stored(0);
    if magic & !1 != MAGIC {
        return false;
    }
    // The last bit is the byte order of the checksums.
    let native = |at| {
        if magic & 1 == 1 { u32::from_be_bytes(word(at)) } else { u32::from_le_bytes(word(at)) }
    };
    let mut sums = (0_u32, 0_u32);
    for at in (0..24).step_by(8) {
        sums.0 = sums.0.wrapping_add(native(at)).wrapping_add(sums.1);
        sums.1 = sums.1.wrapping_add(native(at + 4)).wrapping_add(sums.0);
    }
    sums == (stored(24), stored(28))
}
