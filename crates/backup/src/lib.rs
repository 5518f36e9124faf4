//! The sealed archive of a backup: bytes in chunks, each authenticated for its place, under a key that a passphrase or a
//! private key opens. What the bytes are is whoever's writes them; the layout is in `docs/backup.md`.
//!
//! A reader never hands out a byte that has not been authenticated, and knows only at the end, in [`Reader::finish`], that
//! the archive is whole.
#![forbid(unsafe_code)]

mod error;
mod header;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use error::ArchiveError;
pub use header::{LockTo, Opened, Unlock};
pub use reader::Reader;
pub use writer::Writer;

/// Bytes of a chunk before it is sealed; the last one may have fewer.
pub const CHUNK: usize = 1024 * 1024;

/// Where a chunk belongs: this archive, by its whole header, the place in it, and whether it is the last.
fn place(header: &[u8], index: u64, last: bool) -> Vec<u8> {
    jadeseal_crypto::place(&[b"jadeseal backup chunk", header, &index.to_be_bytes(), &[u8::from(last)]])
}

/// For the fuzz target: the body of an archive whose key is known, of any bytes.
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    // A header with a passphrase would cost a derivation for each input; the parser before it is the same.
    let _ = header::Header::read(&mut &*bytes);
    let Ok(mut reader) = Reader::fuzzed(bytes) else { return };
    let mut out = Vec::new();
    let _ = std::io::Read::read_to_end(&mut reader, &mut out);
}
