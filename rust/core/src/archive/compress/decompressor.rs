//! The decompressor: accepts one or more complete streams of one format, and nothing else.

use super::Format;
use super::codec::Codec;
use crate::error::{Error, Result};

/// The ratio is checked from this number of output bytes on.
const RATIO_FROM: u64 = 1 << 20;

/// The limits of decompression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The most bytes of output per byte of input, if there is a limit. It is checked from 1 MiB of output on.
    pub ratio: Option<u64>,
    /// The most bytes of memory of a window or dictionary.
    pub memory: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        // The most that `zstd` and `xz -9` need by default.
        Self { ratio: None, memory: 128 << 20 }
    }
}

/// Decompresses an input that is fed in pieces.
pub struct Decompressor {
    format: Format,
    bounds: Bounds,
    codec: Codec,
    state: State,
    read: u64,
    written: u64,
    /// Zero bytes since the last xz stream.
    padding: u64,
}

enum State {
    /// Nothing was read yet.
    Begin,
    Inside,
    /// A member, frame or stream has ended; there may be another one, or the end of the input.
    Between,
    Failed(Error),
}

impl Decompressor {
    /// Return a decompressor of one format.
    pub fn new(format: Format, bounds: Bounds) -> Result<Self> {
        if format == Format::Bzip2 {
            let expected = "gzip, zstd, xz or no compression".to_owned();
            let found = "bzip2, which is not supported: decompress it first, for example with bunzip2".to_owned();
            return Err(Error::InvalidArchive { entry: None, expected, found, offset: None });
        }
        let codec = Codec::new(format, bounds.memory).map_err(|message| Error::FailedPrecondition { message })?;
        let state = if format == Format::Plain { State::Between } else { State::Begin };
        Ok(Self { format, bounds, codec, state, read: 0, written: 0, padding: 0 })
    }

    /// The bytes of input consumed and the bytes of output returned.
    pub fn counts(&self) -> (u64, u64) {
        (self.read, self.written)
    }

    /// Allow any ratio from here on.
    pub fn lift_ratio(&mut self) {
        self.bounds.ratio = None;
    }

    /// Consume bytes from the front of `input` and fill `output`. Returns the number of bytes written.
    ///
    /// If `output` is not full, this input yields no more. After an error every further call fails with the same error.
    pub fn run(&mut self, input: &mut &[u8], output: &mut [u8]) -> Result<usize> {
        if let State::Failed(error) = &self.state {
            return Err(error.clone());
        }
        let result = self.fill(input, output);
        if let Err(error) = &result {
            self.state = State::Failed(error.clone());
        }
        result
    }

    /// Declare the end of the input, after `run` has returned all output. Fails if the input is incomplete.
    pub fn finish(&self) -> Result<()> {
        match &self.state {
            State::Between => self.check_padding(),
            State::Failed(error) => Err(error.clone()),
            State::Begin => Err(self.invalid("nothing")),
            State::Inside => Err(self.invalid(&format!("its end after {} bytes", self.read))),
        }
    }

    fn fill(&mut self, input: &mut &[u8], output: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < output.len() {
            if !matches!(self.state, State::Inside) {
                self.pass_padding(input);
                if input.is_empty() {
                    break;
                }
                self.begin()?;
            }
            let step = self.codec.step(input, &mut output[filled..]).map_err(|words| self.broken(&words))?;
            *input = &input[step.read..];
            filled += step.written;
            self.read += step.read as u64;
            self.written += step.written as u64;
            if step.ended {
                self.state = State::Between;
            } else if step.read == 0 && step.written == 0 {
                if input.is_empty() {
                    break;
                }
                return Err(self.broken("it goes no further"));
            }
            self.check_ratio()?;
        }
        Ok(filled)
    }

    /// Enter a member, frame or stream. The codec is restarted if one has ended before.
    fn begin(&mut self) -> Result<()> {
        self.check_padding()?;
        self.padding = 0;
        let restart = matches!(self.state, State::Between).then(|| self.codec.restart(self.bounds.memory));
        if let Some(Err(message)) = restart {
            return Err(Error::FailedPrecondition { message });
        }
        if self.format != Format::Plain {
            self.state = State::Inside;
        }
        Ok(())
    }

    /// Remove the zero bytes after an xz stream from the front of `input`.
    fn pass_padding(&mut self, input: &mut &[u8]) {
        if self.format != Format::Xz || !matches!(self.state, State::Between) {
            return;
        }
        let zeros = input.iter().take_while(|byte| **byte == 0).count();
        *input = &input[zeros..];
        self.padding += zeros as u64;
        self.read += zeros as u64;
    }

    fn check_padding(&self) -> Result<()> {
        if self.padding.is_multiple_of(4) {
            return Ok(());
        }
        Err(self.invalid(&format!("{} bytes of padding, which is no multiple of four", self.padding)))
    }

    fn check_ratio(&self) -> Result<()> {
        let Some(allowed) = self.bounds.ratio else {
            return Ok(());
        };
        if self.written <= RATIO_FROM || self.written <= allowed.saturating_mul(self.read) {
            return Ok(());
        }
        let (name, found) = (format!("{} stream", self.format.name()), self.written.div_ceil(self.read.max(1)));
        Err(Error::LimitExceeded { name, limit: "ratio", allowed, found: Some(found) })
    }

    fn broken(&self, words: &str) -> Error {
        let (begin, end) = (self.read, self.written);
        self.invalid(&format!("damage about byte {begin}, after {end} bytes of output: {words}"))
    }

    fn invalid(&self, found: &str) -> Error {
        let expected = format!("one or more whole {} streams", self.format.name());
        Error::InvalidArchive { entry: None, expected, found: found.to_owned(), offset: None }
    }
}
