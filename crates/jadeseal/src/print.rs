//! Printing to standard output without a panic where nobody reads it any more.
//!
//! `println!` and `print!` of the standard library panic when they cannot write, and `jadeseal key list | head -1` is no mistake. The
//! macros here have their names, so that no command uses the others by mistake. A command whose reader is gone goes on to its
//! end, with the status that it has earned; whatever else keeps it from printing (a full disk) makes it fail.

use anyhow::{Context as _, Result};
use std::{
    fmt,
    io::{self, ErrorKind, Write as _},
    sync::Mutex,
};

/// The first error but that of a reader who is gone.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// As the standard library's, see above.
macro_rules! println {
    () => { $crate::print::line(format_args!("")) };
    ($($text:tt)*) => { $crate::print::line(format_args!($($text)*)) };
}

/// As the standard library's, see above.
macro_rules! print {
    ($($text:tt)*) => { $crate::print::text(format_args!($($text)*)) };
}

pub fn line(text: fmt::Arguments<'_>) {
    self::text(format_args!("{text}\n"));
}

pub fn text(text: fmt::Arguments<'_>) {
    if let Err(e) = io::stdout().lock().write_fmt(text) {
        note(e);
    }
}

/// What became of everything that was printed.
pub fn outcome() -> Result<()> {
    if let Err(e) = io::stdout().lock().flush() {
        note(e);
    }
    let failed = FAILED.lock().map_or(None, |mut failed| failed.take());
    failed.map_or(Ok(()), Err).context("cannot write to standard output")
}

/// Status of a command that ended because nobody read on: that of a program which the signal ends.
pub const UNREAD: u8 = 128 + 13;

/// Whether a command that wrote by itself failed because its reader is gone.
pub fn is_unread(e: &anyhow::Error) -> bool {
    e.downcast_ref::<io::Error>().is_some_and(is_gone)
}

fn is_gone(e: &io::Error) -> bool {
    e.kind() == ErrorKind::BrokenPipe
}

fn note(e: io::Error) {
    if !is_gone(&e)
        && let Ok(mut failed) = FAILED.lock()
    {
        failed.get_or_insert(e);
    }
}
