//! One interface to the decoders of all libraries.

use flate2::{Decompress, FlushDecompress, Status};
use liblzma::stream::{self, Stream, TELL_UNSUPPORTED_CHECK};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_error_name};

use super::Format;

/// The result of one step.
pub(super) struct Step {
    pub(super) read: usize,
    pub(super) written: usize,
    /// Whether a member, frame or stream ended. Only another one may follow.
    pub(super) ended: bool,
}

/// A decoder of one format, at the beginning of a stream or in one.
pub(super) enum Codec {
    Plain,
    Gzip(Box<Decompress>),
    Zstd(DCtx<'static>),
    Xz(Stream),
}

/// The window of gzip always has 32 KiB.
const GZIP_WINDOW_BITS: u8 = 15;

impl Codec {
    pub(super) fn new(format: Format, memory: u64) -> Result<Self, String> {
        Ok(match format {
            Format::Plain => Self::Plain,
            Format::Gzip => Self::Gzip(Box::new(Decompress::new_gzip(GZIP_WINDOW_BITS))),
            Format::Zstd => Self::Zstd(zstd(memory)?),
            Format::Xz => {
                Self::Xz(Stream::new_stream_decoder(memory, TELL_UNSUPPORTED_CHECK).map_err(|error| error.to_string())?)
            }
            Format::Bzip2 => return Err("bzip2 is not supported".to_owned()),
        })
    }

    /// Begin another member, frame or stream after one that ended.
    pub(super) fn restart(&mut self, memory: u64) -> Result<(), String> {
        match self {
            Self::Plain | Self::Zstd(_) => Ok(()),
            Self::Gzip(decoder) => {
                decoder.reset(true);
                Ok(())
            }
            Self::Xz(_) => Self::new(Format::Xz, memory).map(|codec| *self = codec),
        }
    }

    /// Decode a piece. An error is the library's text about the fault of the input.
    pub(super) fn step(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, String> {
        match self {
            Self::Plain => {
                let count = input.len().min(output.len());
                output[..count].copy_from_slice(&input[..count]);
                Ok(Step { read: count, written: count, ended: false })
            }
            Self::Gzip(decoder) => {
                let before = (decoder.total_in(), decoder.total_out());
                let status = decoder.decompress(input, output, FlushDecompress::None);
                let ended = status.map_err(|error| error.to_string())? == Status::StreamEnd;
                Ok(Step {
                    read: distance(before.0, decoder.total_in()),
                    written: distance(before.1, decoder.total_out()),
                    ended,
                })
            }
            Self::Zstd(decoder) => {
                let (mut from, mut to) = (InBuffer::around(input), OutBuffer::around(output));
                let hint = decoder.decompress_stream(&mut to, &mut from);
                let ended = hint.map_err(|code| get_error_name(code).to_owned())? == 0;
                Ok(Step { read: from.pos(), written: to.pos(), ended })
            }
            Self::Xz(decoder) => {
                let before = (decoder.total_in(), decoder.total_out());
                let status = decoder.process(input, output, stream::Action::Run).map_err(|error| error.to_string())?;
                Ok(Step {
                    read: distance(before.0, decoder.total_in()),
                    written: distance(before.1, decoder.total_out()),
                    ended: status == stream::Status::StreamEnd,
                })
            }
        }
    }
}

/// Make a zstd decoder. The window is its only memory whose size the input decides, so the window is limited.
fn zstd(memory: u64) -> Result<DCtx<'static>, String> {
    const LEAST: u32 = 10;
    let mut decoder = DCtx::try_create().ok_or("no memory for a zstd decoder")?;
    let window = memory.checked_ilog2().unwrap_or(LEAST).clamp(LEAST, 31);
    decoder.set_parameter(DParameter::WindowLogMax(window)).map_err(|code| get_error_name(code).to_owned())?;
    Ok(decoder)
}

/// The difference of two counts, which is at most the length of a slice.
pub(super) fn distance(before: u64, after: u64) -> usize {
    usize::try_from(after - before).unwrap_or(usize::MAX)
}
