//! The compression of an archive: gzip, zstd or xz, detected by the first bytes.
//!
//! The codecs are libraries: zlib-rs, which is Rust, and the reference implementations of zstd and xz, compiled in, so a
//! bare machine needs nothing. Bytes go in and come out in pieces; memory is bounded whatever the input declares. All of
//! the input has to be one or more whole streams of one format: an input that ends early, or has bytes after its end, is
//! refused. Between xz streams, and after the last, there may be zero bytes, four or a multiple of it, as its format has it.

mod codec;
mod compressor;
mod decompressor;

pub use compressor::Compressor;
pub use decompressor::{Bounds, Decompressor};

use crate::error::{Error, Result};

/// A format of compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// None: the bytes as they are.
    Plain,
    /// Deflate in gzip's members, RFC 1952.
    Gzip,
    /// Zstandard frames, RFC 8878.
    Zstd,
    /// xz streams.
    Xz,
    /// bzip2, which is detected only so that the error can name it.
    Bzip2,
}

/// The first bytes of each format; a zstd stream may begin with one of sixteen kinds of frames to skip.
const MAGIC: [(&[u8], Format); 3] =
    [(&[0x1f, 0x8b], Format::Gzip), (&[0x28, 0xb5, 0x2f, 0xfd], Format::Zstd), (b"\xfd7zXZ\0", Format::Xz)];
const SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

impl Format {
    /// The number of bytes that identify the format.
    pub const HEAD: usize = 6;

    /// Return the format of what begins with `head`; fewer than [`Self::HEAD`] bytes are taken for the whole input.
    pub fn detect(head: &[u8]) -> Self {
        if let [first, rest @ ..] = head
            && first & 0xf0 == 0x50
            && rest.starts_with(&SKIPPABLE)
        {
            return Self::Zstd;
        }
        if let [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, ..] = head
        {
            return Self::Bzip2;
        }
        let found = MAGIC.iter().find(|(magic, _)| head.starts_with(magic));
        found.map_or(Self::Plain, |(_, format)| *format)
    }

    /// Parse its name.
    pub fn parse(name: &str) -> Result<Self> {
        let all = [Self::Plain, Self::Gzip, Self::Zstd, Self::Xz, Self::Bzip2];
        all.into_iter().find(|format| format.name() == name).ok_or_else(|| Error::InvalidArgument {
            message: format!("compression {name:?}: plain, gzip, zstd and xz are known"),
        })
    }

    /// Its name, as Python has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        }
    }
}
