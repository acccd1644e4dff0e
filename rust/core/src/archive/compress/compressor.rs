//! The compressor: the same bytes and level always produce the same output.
//!
//! The header of gzip has no time, no name and a fixed system. zstd runs on one thread and adds a checksum of the content. As
//! in every program, the output depends on the version of the library, but not on the machine or on how the input is cut.

use std::mem;

use flate2::{Compress, Compression, FlushCompress, Status};
use zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, get_error_name};

use super::Format;
use super::codec::distance;
use crate::error::{Error, Result};

/// Compresses an input that is fed in pieces.
///
/// The output of zlib-rs depends on how its input and its output buffer are cut. So it always gets pieces of the same size and a
/// large enough output buffer; the rest waits here.
pub struct Compressor {
    coder: Coder,
    /// Input that is not yet a whole piece.
    waiting: Vec<u8>,
    /// Output. The caller has the first `given` bytes of it.
    ready: Vec<u8>,
    given: usize,
    ended: bool,
}

/// The bytes that are compressed in one step.
const STEP: usize = 256 << 10;

enum Coder {
    Gzip(Box<Compress>),
    Zstd(CCtx<'static>),
}

impl Compressor {
    /// The default level of gzip.
    pub const GZIP_LEVEL: i32 = 6;
    /// The default level of zstd.
    pub const ZSTD_LEVEL: i32 = 3;

    /// Return a compressor: gzip with levels from 1 to 9, or zstd from 1 to 19.
    pub fn new(format: Format, level: Option<i32>) -> Result<Self> {
        let invalid = |message| Error::InvalidArgument { message };
        let (least, usual, most) = match format {
            Format::Gzip => (1, Self::GZIP_LEVEL, 9),
            Format::Zstd => (1, Self::ZSTD_LEVEL, 19),
            other => return Err(invalid(format!("compression {:?}: gzip and zstd are written", other.name()))),
        };
        let level = level.unwrap_or(usual);
        if !(least..=most).contains(&level) {
            return Err(invalid(format!("{} level {level}: {least} to {most} are known", format.name())));
        }
        if format == Format::Gzip {
            let level = Compression::new(level.unsigned_abs());
            return Ok(Self::with(Coder::Gzip(Box::new(Compress::new_gzip(level, 15)))));
        }
        let mut coder = CCtx::try_create().ok_or_else(|| failed("no memory for a zstd encoder"))?;
        for parameter in [CParameter::CompressionLevel(level), CParameter::ChecksumFlag(true)] {
            coder.set_parameter(parameter).map_err(|code| failed(get_error_name(code)))?;
        }
        Ok(Self::with(Coder::Zstd(coder)))
    }

    fn with(coder: Coder) -> Self {
        Self { coder, waiting: Vec::new(), ready: Vec::new(), given: 0, ended: false }
    }

    /// Consume bytes from the front of `input` and fill `output`. Returns the number of bytes written; if `output` is not full, all
    /// input was consumed.
    pub fn run(&mut self, input: &mut &[u8], output: &mut [u8]) -> Result<usize> {
        let mut filled = self.give(output);
        while filled < output.len() && !input.is_empty() {
            if self.waiting.is_empty()
                && let Some((piece, rest)) = input.split_at_checked(STEP)
            {
                *input = rest;
                self.encode(piece, false)?;
            } else {
                let (more, rest) = input.split_at(input.len().min(STEP - self.waiting.len()));
                *input = rest;
                self.waiting.extend_from_slice(more);
                if self.waiting.len() == STEP {
                    self.encode_waiting()?;
                }
            }
            filled += self.give(&mut output[filled..]);
        }
        Ok(filled)
    }

    /// End the stream. Fills `output` and returns the number of bytes written; if `output` is not full, the stream is complete.
    pub fn finish(&mut self, output: &mut [u8]) -> Result<usize> {
        let mut filled = self.give(output);
        if filled < output.len() && !self.waiting.is_empty() {
            self.encode_waiting()?;
            filled += self.give(&mut output[filled..]);
        }
        if filled < output.len() && !self.ended {
            self.encode(&[], true)?;
            self.ended = true;
            filled += self.give(&mut output[filled..]);
        }
        Ok(filled)
    }

    /// Give the caller the output that is ready.
    fn give(&mut self, output: &mut [u8]) -> usize {
        let rest = &self.ready[self.given..];
        let count = rest.len().min(output.len());
        output[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        count
    }

    fn encode_waiting(&mut self) -> Result<()> {
        let piece = mem::take(&mut self.waiting);
        let done = self.encode(&piece, false);
        self.waiting = piece;
        self.waiting.clear();
        done
    }

    /// Compress a piece, or end the stream. The caller must have taken all ready output before.
    fn encode(&mut self, mut piece: &[u8], end: bool) -> Result<()> {
        debug_assert_eq!(self.given, self.ready.len(), "what is ready would be lost");
        let mut written = 0;
        loop {
            self.ready.resize(written + STEP, 0);
            let mut room = mem::take(&mut self.ready);
            let (read, more, done) = self.step(piece, &mut room[written..], end)?;
            self.ready = room;
            piece = &piece[read..];
            written += more;
            if if end { done } else { piece.is_empty() } {
                break;
            }
        }
        self.ready.truncate(written);
        self.given = 0;
        Ok(())
    }

    fn step(&mut self, input: &[u8], output: &mut [u8], end: bool) -> Result<(usize, usize, bool)> {
        match &mut self.coder {
            Coder::Gzip(coder) => {
                let before = (coder.total_in(), coder.total_out());
                let flush = if end { FlushCompress::Finish } else { FlushCompress::None };
                let status = coder.compress(input, output, flush).map_err(|error| failed(&error.to_string()))?;
                let (read, written) = (distance(before.0, coder.total_in()), distance(before.1, coder.total_out()));
                Ok((read, written, status == Status::StreamEnd))
            }
            Coder::Zstd(coder) => {
                // The end is always declared in a separate call after the last bytes: zstd compresses differently if it knows the size.
                let (mut from, mut to) = (InBuffer::around(input), OutBuffer::around(output));
                let way = if end { ZSTD_EndDirective::ZSTD_e_end } else { ZSTD_EndDirective::ZSTD_e_continue };
                let left = coder.compress_stream2(&mut to, &mut from, way);
                let left = left.map_err(|code| failed(get_error_name(code)))?;
                Ok((from.pos(), to.pos(), end && left == 0))
            }
        }
    }
}

fn failed(words: &str) -> Error {
    Error::FailedPrecondition { message: format!("compression failed: {words}") }
}
