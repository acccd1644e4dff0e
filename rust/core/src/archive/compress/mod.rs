//! The compression of an archive: gzip, zstd or xz, detected by the first bytes.
//!
//! The codecs are libraries: zlib-rs, which is Rust, and the reference implementations of zstd and xz. They are compiled in, so
//! nothing else needs to be installed. Input and output are processed in pieces, and memory is bounded whatever the input
//! declares. The input must consist of one or more complete streams of one format: an input that ends early, or has bytes after
//! its end, is refused. As the xz format allows, zero bytes in multiples of four may follow each xz stream.

mod codec;
mod compressor;
mod decompressor;

pub use compressor::Compressor;
pub use decompressor::{Bounds, Decompressor};

use crate::error::{Error, Result};

/// A format of compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// No compression.
    Plain,
    /// gzip members with Deflate, RFC 1952.
    Gzip,
    /// Zstandard frames, RFC 8878.
    Zstd,
    /// xz streams.
    Xz,
    /// bzip2, which is detected only so that the error can name it.
    Bzip2,
}

/// The first bytes of each format. A zstd stream may also begin with one of sixteen kinds of skippable frames.
const MAGIC: [(&[u8], Format); 3] =
    [(&[0x1f, 0x8b], Format::Gzip), (&[0x28, 0xb5, 0x2f, 0xfd], Format::Zstd), (b"\xfd7zXZ\0", Format::Xz)];
const SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];

impl Format {
    /// The number of bytes that identify the format.
    pub const HEAD: usize = 6;

    /// Return the format of an input that begins with `head`. If `head` has fewer than [`Self::HEAD`] bytes, it is the whole input.
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

    /// Parse the name of a format.
    pub fn parse(name: &str) -> Result<Self> {
        let all = [Self::Plain, Self::Gzip, Self::Zstd, Self::Xz, Self::Bzip2];
        all.into_iter().find(|format| format.name() == name).ok_or_else(|| Error::InvalidArgument {
            message: format!("compression {name:?}: plain, gzip, zstd and xz are known"),
        })
    }

    /// The name of the format in the Python API.
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
