//! Writing.

use crate::{
    CHUNK,
    error::ArchiveError,
    header::{LockTo, Opened},
    place,
};
use jadeseal_crypto::wrap::WrapKey;
use jadeseal_types::{SecretBytes, Suite};
use std::io::{self, Write};

/// Seals what is written to it. Nothing is whole before [`Writer::finish`].
pub struct Writer<W: Write> {
    out: W,
    key: WrapKey,
    opened: Opened,
    index: u64,
    buffer: SecretBytes,
    filled: usize,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn new(mut out: W, suite: Suite, to: &LockTo<'_>) -> Result<Self, ArchiveError> {
        let opened = Opened::make(suite, to)?;
        out.write_all(&opened.bytes)?;
        Ok(Writer { out, key: opened.wrap_key()?, opened, index: 0, buffer: SecretBytes::zeroed(CHUNK), filled: 0 })
    }

    /// Writes the last chunk. Flushing to stable storage is the caller's.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn finish(mut self) -> Result<(W, Opened), ArchiveError> {
        self.chunk(true)?;
        self.out.flush()?;
        Ok((self.out, self.opened))
    }

    fn chunk(&mut self, last: bool) -> Result<(), ArchiveError> {
        let text = self.buffer.expose().get(..self.filled).unwrap_or_default();
        let sealed = self.key.seal(0, &place(&self.opened.bytes, self.index, last), text)?;
        let length = u32::try_from(sealed.len()).map_err(|_| ArchiveError::Crypto("a chunk is too long"))?;
        self.out.write_all(&[u8::from(last)])?;
        self.out.write_all(&length.to_be_bytes())?;
        self.out.write_all(&sealed)?;
        self.index += 1;
        self.filled = 0;
        Ok(())
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Not when it becomes full: the last chunk is known as such only then.
        if self.filled == CHUNK {
            self.chunk(false)?;
        }
        let free = self.buffer.expose_mut().get_mut(self.filled..).unwrap_or_default();
        let taken = free.len().min(bytes.len());
        let (to, from) = (free.get_mut(..taken).unwrap_or_default(), bytes.get(..taken).unwrap_or_default());
        to.copy_from_slice(from);
        self.filled += taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
