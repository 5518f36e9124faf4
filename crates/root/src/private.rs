//! Reading and making files that hold secrets.

use crate::error::RootError;
use jadeseal_types::SecretBytes;
use rustix::{fs::OFlags, process::geteuid};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

/// Largest file or stream that can be a secret of ours, bytes.
const MAX_BYTES: usize = 4096;

/// Reads a small secret file that only the effective user can read. Looks at the opened file, not
/// at the name, so it cannot be exchanged in between; a symbolic link is not a regular file.
pub(crate) fn read_owned(path: &Path) -> Result<SecretBytes, RootError> {
    read_private_file(path, MAX_BYTES)
}

/// As [`read_owned`], of at most `max` bytes: a private key in PEM is longer than other secrets.
pub fn read_private_file(path: &Path, max: usize) -> Result<SecretBytes, RootError> {
    let file = open_regular(path)?;
    let meta = file.metadata().map_err(|e| RootError::io("look at", path, e))?;
    let refuse = |what| Err(RootError::Unprotected { path: path.into(), what });
    if meta.uid() != geteuid().as_raw() {
        return refuse("must be owned by the user that runs Jadeseal");
    }
    if meta.mode() & 0o077 != 0 {
        return refuse("must not be accessible by group or others (chmod 600)");
    }
    read_small(file, path, max)
}

/// Reads a small secret file that the service manager placed: it may belong to root and be readable
/// by a group, but not by everybody.
pub(crate) fn read_placed(path: &Path) -> Result<SecretBytes, RootError> {
    let file = open_regular(path)?;
    let meta = file.metadata().map_err(|e| RootError::io("look at", path, e))?;
    let what = "must not be accessible by others";
    if meta.mode() & 0o007 != 0 {
        return Err(RootError::Unprotected { path: path.into(), what });
    }
    read_small(file, path, MAX_BYTES)
}

/// Reads everything behind an open descriptor, to its end.
pub(crate) fn read_descriptor(number: u32) -> Result<SecretBytes, RootError> {
    let path = Path::new("/proc/self/fd").join(number.to_string());
    let file = File::open(&path).map_err(|e| RootError::io("open", &path, e))?;
    read_small(file, &path, MAX_BYTES)
}

/// Makes a new file with mode 0600; it and its name are on stable storage when this returns. An
/// existing file is never touched: it may be the only copy of a key.
pub(crate) fn create(path: &Path, content: &SecretBytes) -> Result<(), RootError> {
    let failed = |e| RootError::io("create", path, e);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let written = file.write_all(content.expose()).and_then(|()| file.sync_all()).and_then(|()| flush_parent(path));
    written.map_err(|e| {
        // Half a key file would be in the way of the next attempt; it has never been used.
        std::fs::remove_file(path).unwrap_or_default();
        failed(e)
    })
}

fn open_regular(path: &Path) -> Result<File, RootError> {
    let refuse = || RootError::Unprotected { path: path.into(), what: "must be a regular file" };
    // NONBLOCK: opening a pipe must not hang a start.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path);
    let file = opened.map_err(|e| match e.raw_os_error() {
        Some(code) if code == rustix::io::Errno::LOOP.raw_os_error() => refuse(),
        _ => RootError::io("open", path, e),
    })?;
    let meta = file.metadata().map_err(|e| RootError::io("look at", path, e))?;
    if meta.is_file() { Ok(file) } else { Err(refuse()) }
}

/// Reads into memory that never moves, so that no unwiped copy is left.
fn read_small(mut file: File, path: &Path, max: usize) -> Result<SecretBytes, RootError> {
    let failed = |e| RootError::io("read", path, e);
    let mut buffer = SecretBytes::zeroed(max + 1);
    let mut filled = 0;
    loop {
        let Some(free) = buffer.expose_mut().get_mut(filled..).filter(|f| !f.is_empty()) else {
            return Err(RootError::malformed(path.display().to_string(), "is too large for a secret"));
        };
        match file.read(free) {
            Ok(0) => return Ok(SecretBytes::copy_from(buffer.expose().get(..filled).unwrap_or_default())),
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(e)),
        }
    }
}

fn flush_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}
