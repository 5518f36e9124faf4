//! The system calls that the log makes, in one place so that tests can make them fail.

use crate::error::{AuditError, is_full};
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::Path,
};

/// Writing and flushing. Carries injected faults in tests, nothing otherwise.
#[derive(Default)]
pub(crate) struct Disk {
    #[cfg(test)]
    pub faults: faults::Faults,
}

impl Disk {
    /// Writes all of `bytes` at `offset`, or fails having written any part of them.
    pub fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.before_write(file, bytes, offset)?;
        file.write_all_at(bytes, offset)
    }

    /// Cuts the file at `len`.
    pub fn cut(&self, file: &File, len: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.before_cut()?;
        file.set_len(len)
    }

    /// `fdatasync`.
    pub fn flush(&self, file: &File) -> io::Result<()> {
        #[cfg(test)]
        return self.faults.flush(file);
        #[cfg(not(test))]
        file.sync_data()
    }

    /// Sets blocks aside without changing the file's length. File systems that cannot are let
    /// pass; a full disk is an error.
    pub fn reserve(&self, file: &File, bytes: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.before_reserve()?;
        match fallocate(file, FallocateFlags::KEEP_SIZE, 0, bytes).map_err(io::Error::from) {
            Err(e) if is_full(&e) => Err(e),
            _ => Ok(()),
        }
    }
}

/// Makes the directory (mode 0700) if it is missing, and takes its lock.
pub(crate) fn lock_dir(dir: &Path, lock: &Path) -> Result<File, AuditError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| AuditError::io("create", dir, e))?;
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(lock)
        .map_err(|e| AuditError::io("open", lock, e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(AuditError::Locked(dir.into())),
        Err(e) => Err(AuditError::io("lock", lock, e.into())),
    }
}

/// Makes names in the directory durable.
pub(crate) fn flush_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Puts a small file (mode 0600) in the place of what has its name, whole or not at all, after a
/// power cut too. With `durable` its name is on stable storage when this returns.
pub(crate) fn replace(dir: &Path, name: &str, bytes: &[u8], durable: bool) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    let file = create(&temporary)?;
    file.write_all_at(bytes, 0)?;
    file.sync_data()?;
    std::fs::rename(&temporary, dir.join(name))?;
    if durable { flush_dir(dir) } else { Ok(()) }
}

/// An empty file with mode 0600; what was there is cut.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// An existing file, for writing.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

#[cfg(test)]
pub(crate) mod faults {
    use parking_lot::{Condvar, Mutex};
    use std::{
        collections::HashMap,
        fs::{self, File},
        io,
        os::unix::fs::{FileExt, MetadataExt},
        path::Path,
        time::Duration,
    };

    /// Faults to come, and a count of what happened.
    #[derive(Default)]
    pub(crate) struct Faults {
        state: Mutex<State>,
        gate: Condvar,
    }

    #[derive(Default)]
    struct State {
        fail_flush: bool,
        hold_flush: bool,
        flushes: u64,
        full: bool,
        reservations: u64,
        /// Nothing can be changed.
        read_only: bool,
        /// Bytes of the next write that reach the file before it fails.
        short_write: Option<usize>,
        /// How long each takes.
        slow_write: Duration,
        slow_flush: Duration,
        writes: u64,
        /// What flushes have brought to stable storage, by the file's number; kept once that is asked for.
        stable: Option<HashMap<u64, Vec<u8>>>,
    }

    impl State {
        fn writable(&self) -> io::Result<()> {
            if self.read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
        }
    }

    impl Faults {
        pub fn fail_next_flush(&self) {
            self.state.lock().fail_flush = true;
        }

        /// While held, flushes begin but do not end.
        pub fn hold_flushes(&self, hold: bool) {
            self.state.lock().hold_flush = hold;
            self.gate.notify_all();
        }

        /// While full, nothing can be reserved.
        pub fn set_full(&self, full: bool) {
            self.state.lock().full = full;
        }

        /// While read-only, writes, cuts and reservations fail.
        pub fn set_read_only(&self, read_only: bool) {
            self.state.lock().read_only = read_only;
        }

        pub fn short_write(&self, bytes: usize) {
            self.state.lock().short_write = Some(bytes);
        }

        /// From now on each write and each flush takes this long.
        pub fn set_slow(&self, write: Duration, flush: Duration) {
            let mut state = self.state.lock();
            (state.slow_write, state.slow_flush) = (write, flush);
        }

        /// Begins to remember what is on stable storage.
        pub fn remember_stable(&self) {
            self.state.lock().stable.get_or_insert_default();
        }

        /// Makes of a copy of the log's directory what a power cut would leave: of each file named here what a flush
        /// that has ended brought to stable storage, and no byte more.
        pub fn cut_power(&self, files: impl Iterator<Item = (u64, impl AsRef<Path>)>) {
            let state = self.state.lock();
            let stable = state.stable.as_ref().unwrap();
            for (number, copy) in files {
                fs::write(copy, stable.get(&number).map_or(&[][..], Vec::as_slice)).unwrap();
            }
        }

        /// Writes begun so far.
        pub fn writes(&self) -> u64 {
            self.state.lock().writes
        }

        /// Flushes begun so far.
        pub fn flushes(&self) -> u64 {
            self.state.lock().flushes
        }

        /// Reservations begun so far.
        pub fn reservations(&self) -> u64 {
            self.state.lock().reservations
        }

        pub fn flush(&self, file: &File) -> io::Result<()> {
            let (slow, stable) = {
                let mut state = self.state.lock();
                state.flushes += 1;
                self.gate.wait_while(&mut state, |s| s.hold_flush);
                if std::mem::take(&mut state.fail_flush) {
                    return Err(io::ErrorKind::Other.into());
                }
                (state.slow_flush, state.stable.is_some())
            };
            // What is written while it runs is not promised.
            let promised = if stable { Some(content(file)?) } else { None };
            std::thread::sleep(slow);
            file.sync_data()?;
            if let (Some((number, bytes)), Some(stable)) = (promised, &mut self.state.lock().stable) {
                stable.insert(number, bytes);
            }
            Ok(())
        }

        pub fn before_reserve(&self) -> io::Result<()> {
            let mut state = self.state.lock();
            state.reservations += 1;
            state.writable()?;
            if state.full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }

        pub fn before_cut(&self) -> io::Result<()> {
            self.state.lock().writable()
        }

        pub fn before_write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
            let (part, slow) = {
                let mut state = self.state.lock();
                state.writes += 1;
                (state.short_write.take(), state.slow_write)
            };
            std::thread::sleep(slow);
            let Some(part) = part else { return self.state.lock().writable() };
            file.write_all_at(&bytes[..part.min(bytes.len())], offset)?;
            self.state.lock().writable()?;
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    /// Number and bytes of a file.
    fn content(file: &File) -> io::Result<(u64, Vec<u8>)> {
        let metadata = file.metadata()?;
        let mut bytes = vec![0; usize::try_from(metadata.len()).unwrap()];
        file.read_exact_at(&mut bytes, 0)?;
        Ok((metadata.ino(), bytes))
    }
}
