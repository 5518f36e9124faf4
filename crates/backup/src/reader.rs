//! Reading.

use crate::{
    CHUNK,
    error::ArchiveError,
    header::{Header, Opened, Unlock},
    place,
};
use jadeseal_crypto::wrap::{OVERHEAD, WrapKey};
use jadeseal_types::{SecretBytes, Suite};
use std::io::{self, ErrorKind, Read};

/// Opens an archive as it reads it. An error of [`Read::read`] is an [`ArchiveError`] inside an [`io::Error`].
pub struct Reader<R: Read> {
    input: R,
    key: WrapKey,
    header: Vec<u8>,
    suite: Suite,
    /// Of the next chunk.
    index: u64,
    last: bool,
    chunk: SecretBytes,
    used: usize,
}

impl<R: Read> Reader<R> {
    /// Reads the header and opens it.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn new(mut input: R, with: &Unlock<'_>) -> Result<Self, ArchiveError> {
        let opened = Header::read(&mut input)?.open(with)?;
        Self::opened(input, opened)
    }

    fn opened(input: R, opened: Opened) -> Result<Self, ArchiveError> {
        Ok(Reader {
            input,
            key: opened.wrap_key()?,
            suite: opened.suite,
            header: opened.bytes,
            index: 0,
            last: false,
            chunk: SecretBytes::zeroed(0),
            used: 0,
        })
    }

    /// The suite that sealed it.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Whether everything was read, to the last chunk, and nothing follows it.
    ///
    /// # Errors
    /// [`ArchiveError::End`] where not, and what is wrong with the rest.
    pub fn finish(mut self) -> Result<(), ArchiveError> {
        if self.used < self.chunk.len() {
            return Err(ArchiveError::End);
        }
        if !self.last {
            self.next()?;
        }
        let more = self.input.read(&mut [0])?;
        if self.last && self.used == self.chunk.len() && more == 0 { Ok(()) } else { Err(ArchiveError::End) }
    }

    fn next(&mut self) -> Result<(), ArchiveError> {
        let index = self.index;
        let cut = |e: io::Error| match e.kind() {
            ErrorKind::UnexpectedEof => ArchiveError::CutOff(index),
            _ => ArchiveError::Io(e),
        };
        let mut head = [0; 5];
        self.input.read_exact(&mut head).map_err(cut)?;
        let [last, length @ ..] = head;
        let length = u32::from_be_bytes(length) as usize;
        let text = length.checked_sub(OVERHEAD).filter(|text| *text <= CHUNK).ok_or(ArchiveError::Damaged(index))?;
        if last > 1 || (last == 0 && text != CHUNK) {
            return Err(ArchiveError::Damaged(index));
        }
        let mut sealed = vec![0; length];
        self.input.read_exact(&mut sealed).map_err(cut)?;
        let opened = self.key.open(&sealed, &place(&self.header, index, last == 1));
        self.chunk = opened.map_err(|_| ArchiveError::Damaged(index))?;
        self.used = 0;
        self.last = last == 1;
        self.index += 1;
        Ok(())
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.used == self.chunk.len() {
            if self.last || out.is_empty() {
                return Ok(0);
            }
            self.next()?;
        }
        let rest = self.chunk.expose().get(self.used..).unwrap_or_default();
        let taken = rest.len().min(out.len());
        let (to, from) = (out.get_mut(..taken).unwrap_or_default(), rest.get(..taken).unwrap_or_default());
        to.copy_from_slice(from);
        self.used += taken;
        Ok(taken)
    }
}

impl<'a> Reader<&'a [u8]> {
    /// Any bytes behind a header of their own, under a key that is known.
    pub(crate) fn fuzzed(bytes: &'a [u8]) -> Result<Self, ArchiveError> {
        let key = SecretBytes::zeroed(jadeseal_crypto::public_seal::CONTENT_KEY);
        Self::opened(bytes, Opened { key, suite: Suite::Aes256, bytes: Vec::new() })
    }
}
