//! A private directory that is removed on every way out.

use super::io;
use jadeseal_types::{ApiError, error::Result};
use rustix::fs::FlockOperation;
use std::{
    fs::{self, DirBuilder, File},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

const PREFIX: &str = ".jadeseal-scratch-";

/// The directory (mode 0700). What lies in it is wrapped as in the store, so that removing the files is enough.
pub(super) struct Scratch {
    path: PathBuf,
    /// Held, so that another process does not take it for one that a killed process left.
    _lock: File,
}

impl Scratch {
    /// Makes one in a directory, and removes those of processes that were killed.
    pub fn make(within: &Path) -> Result<Self> {
        sweep(within);
        let name = jadeseal_crypto::random::identifier().map_err(ApiError::internal)?;
        let name: String = name.iter().take(8).map(|b| format!("{b:02x}")).collect();
        let path = within.join(format!("{PREFIX}{name}"));
        DirBuilder::new().mode(0o700).create(&path).map_err(io("make", &path))?;
        let lock = File::open(&path).map_err(io("open", &path))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|e| io("lock", &path)(e.into()))?;
        Ok(Scratch { path, _lock: lock })
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.path) {
            tracing::error!(error = %e, path = %self.path.display(), "a directory of a backup could not be removed");
        }
    }
}

fn sweep(within: &Path) {
    for entry in fs::read_dir(within).into_iter().flatten().flatten() {
        // The directory may be one that others write to as well.
        let own = |meta: fs::Metadata| meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw();
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
            && entry.path().symlink_metadata().is_ok_and(own);
        let Some(lock) = Some(entry.path()).filter(|_| ours).and_then(|path| File::open(path).ok()) else { continue };
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // Another process may be faster.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_goes_and_what_is_in_use_stays() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join(".jadeseal-scratch-dead");
        fs::create_dir(&left).unwrap();
        fs::write(left.join("f"), b"x").unwrap();
        let one = Scratch::make(dir.path()).unwrap();
        assert!(!left.exists());
        fs::write(one.file("f"), b"x").unwrap();
        let two = Scratch::make(dir.path()).unwrap();
        assert!(one.file("f").exists());
        drop((one, two));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
